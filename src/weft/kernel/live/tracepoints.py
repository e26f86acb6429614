"""A marked packet, wherever in this kernel it comes by: at devices and at its end.

The mark is a token of 8 octets at the packet's very end. There it stays: in each namespace, under each header that a tunnel
puts before it, and in the ICMP error that quotes it. One program looks for it at four places in the kernel:

    netif_receive_skb     it came in by a device
    net_dev_queue         it goes out by a device, before that one's queue
    net_dev_start_xmit    it leaves that queue, to the wire or to a veth's other end
    kfree_skb             it ends here: why, and in which function

What the program reads of a `struct sk_buff` is found by the kernel's own description of its types (`btf`).
"""

from __future__ import annotations

import bisect
import contextlib
import os
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from weft.base.errors import Unsupported
from weft.bpf.assembler import RING_OUTPUT, TIME, Program
from weft.kernel.live import bpf, btf

POINTS = ("kfree_skb", "netif_receive_skb", "net_dev_queue", "net_dev_start_xmit")
"""Tracepoints, by the number that a record has of them."""
DROP = 0
TOKEN = 8
"""Octets."""
RING = 1 << 18
"""Octets: about a thousand records."""
HEAD = 128
"""Octets of the packet that are told: its headers, in whatever tunnel."""


class _Record(NamedTuple):
    """As the program writes it. `location`: the address that freeing returns to. `netns`, `socket`: the namespace's inode
    number, of the device and of the socket."""

    time: int
    location: int
    reason: int
    point: int
    length: int
    ifindex: int
    netns: int
    socket: int
    device: bytes
    head: bytes


_RECORD = struct.Struct("=QQIIIIII16s128s")
_SIZE = _RECORD.size
_AT = {name: struct.calcsize("=" + "QQIIIIII"[:i]) for i, name in enumerate(_Record._fields[:9])} | {"head": 56}
"""Where each field begins in it."""
_SCRATCH = -_SIZE - 8
_PREFIX = "SKB_DROP_REASON_"
_KALLSYMS = Path("/proc/kallsyms")


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """`at`: nanoseconds of the kernel's clock. `netns`: inode number of the network namespace, 0 where nothing tells. `head`:
    the first 128 octets from the network header on. `reason`, `function`: of a drop, "" where the kernel does not tell."""

    at: int
    point: str
    netns: int
    device: str
    ifindex: int
    length: int
    head: bytes
    reason: str = ""
    function: str = ""


class Layout(msgspec.Struct, frozen=True):
    """Offsets in octets, and the names of drop reasons, of one kernel."""

    skb: dict[str, int]
    device: dict[str, int]
    net: int
    socket: int
    reasons: dict[int, str]


def layout() -> Layout:
    """Of the running kernel. Raises Unsupported, Denied."""
    types = btf.kernel()
    reasons: dict[int, str] = {}
    with contextlib.suppress(Unsupported):  # before Linux 5.17 there were none
        reasons = {number: name.removeprefix(_PREFIX) for number, name in types.values("skb_drop_reason").items()}
    return Layout(
        skb={name: types.offset("sk_buff", name) for name in ("head", "tail", "len", "dev", "sk", "network_header")},
        device={name: types.offset("net_device", name) for name in ("ifindex", "name", "nd_net.net")},
        net=types.offset("net", "ns.inum"),
        socket=types.offset("sock", "__sk_common.skc_net.net"),
        reasons=reasons,
    )


def program(point: int, token: bytes, where: Layout, ring: int) -> bytes:
    """`ring`: file descriptor. Registers: 6 the packet, 7 where its octets begin, 9 the tracepoint's arguments."""
    p = Program()
    p.copy(9, 1)
    p.load(6, 9, 0)
    p.fetch(7, 8, 6, where.skb["head"], _SCRATCH)
    p.fetch(8, 4, 6, where.skb["tail"], _SCRATCH)
    p.combine(8, "+", 7)
    p.fetch(1, TOKEN, 8, -TOKEN, _SCRATCH)
    p.set_long(2, int.from_bytes(token, "little"))
    p.jump_if_register(1, "!=", 2, "other")
    p.zero(-_SIZE, _SIZE)
    p.call(TIME)
    p.store(-_SIZE + _AT["time"], 0)
    p.set(1, point)
    p.store(-_SIZE + _AT["point"], 1, 4)
    if point == DROP:
        p.load(1, 9, 8)
        p.store(-_SIZE + _AT["location"], 1)
        if where.reasons:
            p.load(1, 9, 16)
            p.store(-_SIZE + _AT["reason"], 1, 4)
    p.read(-_SIZE + _AT["length"], 4, 6, where.skb["len"])
    _place(p, where)
    p.fetch(8, 2, 6, where.skb["network_header"], _SCRATCH)
    p.combine(8, "+", 7)
    p.read(-_SIZE + _AT["head"], HEAD, 8, 0)
    p.set_map(1, ring)
    p.on_stack(2, -_SIZE)
    p.set(3, _SIZE)
    p.set(4, 0)
    p.call(RING_OUTPUT)
    p.label("other")
    p.end()
    return p.octets()


def _place(p: Program, where: Layout) -> None:
    """The device and its namespace; and that of the socket, since what ends before it has a device is known by this alone."""
    p.fetch(8, 8, 6, where.skb["dev"], _SCRATCH)
    p.read(-_SIZE + _AT["ifindex"], 4, 8, where.device["ifindex"])
    p.read(-_SIZE + _AT["device"], 16, 8, where.device["name"])
    p.fetch(8, 8, 8, where.device["nd_net.net"], _SCRATCH)
    p.read(-_SIZE + _AT["netns"], 4, 8, where.net)
    p.fetch(8, 8, 6, where.skb["sk"], _SCRATCH)
    p.fetch(8, 8, 8, where.socket, _SCRATCH)
    p.read(-_SIZE + _AT["socket"], 4, 8, where.net)


class Tracepoints:
    """Looks for one token from when it is made until it is closed. Raises Unsupported, Denied."""

    def __init__(self, token: bytes) -> None:
        self._layout = layout()
        self._links: list[int] = []
        self._ring = bpf.Ring(RING)
        try:
            for point, name in enumerate(POINTS):
                self._links.append(bpf.attach(name, program(point, token, self._layout, self._ring.fd)))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for link in self._links:
            os.close(link)
        self._links.clear()
        self._ring.close()

    def read(self) -> list[Sighting]:
        """What was seen since the last call, in order of time."""
        records = sorted(_Record(*_RECORD.unpack(octets)) for octets in self._ring.read())
        functions = named({record.location for record in records if record.point == DROP})
        return [_sighting(record, self._layout.reasons, functions) for record in records]


def _sighting(record: _Record, reasons: dict[int, str], functions: dict[int, str]) -> Sighting:
    drop = record.point == DROP
    return Sighting(
        at=record.time,
        point=POINTS[record.point],
        netns=record.netns or record.socket,
        device=record.device.partition(b"\0")[0].decode(errors="replace"),
        ifindex=record.ifindex,
        length=record.length,
        head=_packet(record.head),
        reason=reasons.get(record.reason, str(record.reason)) if drop and reasons else "",
        function=functions.get(record.location, "") if drop else "",
    )


def _packet(head: bytes) -> bytes:
    """Without what stands behind the packet in the kernel's memory, as far as its header tells."""
    version = head[0] >> 4
    if version == 4:
        return head[: int.from_bytes(head[2:4], "big")]
    return head[: 40 + int.from_bytes(head[4:6], "big")] if version == 6 else b""


def named(addresses: Collection[int]) -> dict[int, str]:
    """The functions that these addresses are in. None where the kernel hides them: CAP_SYSLOG shows them (kernel
    Documentation/admin-guide/sysctl/kernel.rst, kptr_restrict)."""
    if not addresses:
        return {}
    starts = sorted(_functions())
    found = {}
    for address in addresses:
        place = bisect.bisect(starts, (address, "\U0010ffff")) - 1
        if place >= 0 and starts[place][0]:
            found[address] = starts[place][1].partition(".")[0]  # the compiler's variants: .isra.0, .constprop.0
    return found


def _functions() -> Iterator[tuple[int, str]]:
    with contextlib.suppress(OSError), _KALLSYMS.open() as lines:
        for line in lines:
            address, kind, name = line.split(maxsplit=3)[:3]
            if kind in "tTwW":
                yield int(address, 16), name
