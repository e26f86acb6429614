"""What programs and agent tell each other: maps, their keys and values.

A namespace has maps and programs of its own (`weft.hoststate.bpf`), since numbers of devices mean something in one only.

    control          one value: which entries count, and whether any are by addresses alone
    flows4, flows6   what was decided: by addresses, protocol and ports, how packets of a flow go on
    homes            by address: behind which device of this host it is, and to which network it belongs
    counts           by network: how many packets went on so, and how many were asked about

An address is 16 octets everywhere but in `flows4`; of IPv4 as in RFC 4291, 2.5.5.2 (::ffff:a.b.c.d).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

FAST, SEEN = "weft_fast", "weft_seen"
"""How the names of the programs begin in the kernel."""
CONTROL, FLOWS, HOMES, COUNTS = "control", {4: "flows4", 6: "flows6"}, "homes", "counts"

ONE_FLOW, ANY_FLOW, BRIDGED = 0x0004_0000, 0x0008_0000, 0x0002_0000
"""Bits of a packet's mark by which rules tell the programs what they decided: it goes for all packets of its flow that neither
begin nor end it; it goes for all packets between its two addresses, whatever they are. With one of these: it is bridged, so
no hop is counted. `seen` takes them away."""
LIFE = 5
"""Seconds for which what was decided is repeated. Then the flow takes the ordinary way until it is told again."""

SLOTS = 1024
"""Networks that are counted, each for itself; further ones share the last."""

KEY4 = struct.Struct("!4s4sHHB3x")
"""Source, destination, their ports, protocol. Ports and protocol are 0 where any are meant."""
KEY6 = struct.Struct("!16s16sHHB3x")
CONTROL_VALUE = struct.Struct("=II")
"""Generation: entries of an older one do not count. Whether there may be entries by addresses alone."""
COUNT = struct.Struct("=QQQ")
COUNT_AT = {"packets": 0, "octets": 8, "asked": 16}
"""By CPU: packets and octets that went the short way, packets that took the ordinary one and made an entry."""

TO_PEER, ROUTED, FROM_PORT = 1, 2, 4
"""Flags of an entry: the packet goes straight into the namespace at the other end of the veth `out`; it was routed, so a hop
is to be counted; it came by the host's end of a container's veth or was bridged, so its frame need not be addressed to the
host."""


class Entry(NamedTuple):
    """`until`: in nanoseconds of the kernel's coarse monotonic clock. `came_by`: the device by which packets of the flow come
    in; from any other they are not believed. `out`: by which they go. `mtu`: that one's. `ether`: the Ethernet header that
    they have there. `slot`: of their network in `counts`."""

    until: int
    generation: int
    came_by: int
    out: int
    flags: int
    mtu: int
    ether: bytes
    slot: int


_FORMATS = ("Q", "I", "I", "I", "H", "H", "14s", "H")
ENTRY = struct.Struct("=" + "".join(_FORMATS))
ENTRY_AT = {name: struct.calcsize("=" + "".join(_FORMATS[:before])) for before, name in enumerate(Entry._fields)}
"""Where each field begins."""


class Home(NamedTuple):
    """`device`: the host's end of the container's veth. `slot`: of its network in `counts`."""

    device: int
    slot: int


HOME = struct.Struct("=II")
HOME_AT = {"device": 0, "slot": 4}
