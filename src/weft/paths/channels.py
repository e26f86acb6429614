"""What is probed between two hosts, and the numbers of it.

A *way* is a device, and a probe is a frame on it. Each way is probed by several *channels*, each counted by itself: with
small frames, with frames as large as a container's packets may become, and, only while large ones get lost, with sizes in
between. A channel has two directions, and each end judges the one that comes to it.

Time is counted in ticks of the prober, not in seconds: a host that is too busy to look, looks later, and does not take its
own lateness for silence of the others.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

TICK = 0.2
"""Seconds between two ticks."""
PACE, HASTE, IDLE = 2, 1, 50
"""Ticks between two rounds of probes to a host: one with which this host shares a network; where something may be amiss; any
other."""
LARGE = 5
"""Rounds between two large probes on a way where these pass."""
LOST, PATIENCE = 4, 8
"""A direction is down once so many probes in a row were lost, the first of them so many ticks ago."""
WELL, MOST_WELL = 12, 200
"""Probes that come before a direction is up again: at first, and at most, where it keeps going down."""
STEADY, PARDONED = 300, 3
"""Ticks: what stood for so long before it went down was no flapping. How often a direction may fall without it."""
SILENT = 11
"""Ticks in which nothing at all comes of a host, on whose probes this one waits: then others are asked whether it lives."""
FRESH = 6
"""Ticks for which a host that was heard counts as just heard."""


class Way(IntEnum):
    """The best first. By a relay no probe goes: it is as good as the two sleeves that it joins, which are probed."""

    KERNEL = 0
    SLEEVE = 1
    RELAY = 2


class Channel(IntEnum):
    """Its number is what probes call it by: three for each way."""

    KERNEL = 0
    KERNEL_FULL = 1
    KERNEL_TRIED = 2
    SLEEVE = 3
    SLEEVE_FULL = 4
    SLEEVE_TRIED = 5

    @property
    def way(self) -> Way:
        return Way(self // 3)


SMALL = {Way.KERNEL: Channel.KERNEL, Way.SLEEVE: Channel.SLEEVE}
FULL = {Way.KERNEL: Channel.KERNEL_FULL, Way.SLEEVE: Channel.SLEEVE_FULL}
TRIED = {Way.KERNEL: Channel.KERNEL_TRIED, Way.SLEEVE: Channel.SLEEVE_TRIED}
STRAIGHT = (Way.KERNEL, Way.SLEEVE)


class Peer(msgspec.Struct, frozen=True):
    """Another host, as the cluster knows it. `number`: the node's. `active`: this host shares a network with it. `full`: by
    way, the largest packet of a container that both ends' devices carry; a way that is missing is not there."""

    number: int
    active: bool
    full: dict[Way, int]
