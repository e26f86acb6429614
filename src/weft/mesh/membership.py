"""Who is there: what the rest of Weft asks of whatever finds the hosts of a mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

import msgspec


class Standing(StrEnum):
    ALIVE = "alive"
    SUSPECT = "suspect"
    """It does not answer, and may yet."""
    DEAD = "dead"
    LEFT = "left"
    """It said that it goes."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One host, as this one knows it. `uid`: of one start of its agent. `facts`: what it says of itself, small, written by it
    alone: for example where its voter listens. `since`: seconds of `time.monotonic()` here. `reached`: whether this host itself
    reached it at the last attempt; others may where this one does not."""

    name: str
    address: IPv4Address | IPv6Address
    port: int
    uid: str
    standing: Standing
    facts: Mapping[str, str] = {}
    since: float = 0.0
    reached: bool = True


class Membership(Protocol):
    """One for each agent, in its event loop. Members are known by name."""

    @property
    def me(self) -> Member: ...

    def members(self) -> Sequence[Member]:
        """All that are known, this host among them, by name; dead ones and those that left for some time."""

    def say(self, facts: Mapping[str, str]) -> None:
        """What this host says of itself from now on, in place of what it said. 512 octets at most. Raises Invalid."""

    async def changed(self, seen: int = -1) -> int:
        """Returns as soon as `members`, or what one of them says, is another than at `seen`: what the last call returned. So
        any number of tasks may wait, each misses nothing, and a call may be given up at any time:

            seen = -1
            while True:
                seen = await membership.changed(seen)
                …  # look at members()
        """

    def troubles(self) -> Sequence[str]:
        """What is amiss, a line each: another host with this one's name, hosts with another secret, or of another cluster."""

    async def run(self) -> None:
        """Until it is cancelled. Raises Failed where its port is taken."""

    async def leave(self) -> None:
        """Tell the others that this host goes, so that they do not count it as dead."""
