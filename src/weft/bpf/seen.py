"""Program `seen` (tcx egress): keeps how a packet goes on that rules have marked, so that `fast` can repeat it.

Each packet is left to go its way. One that was made on this host itself (it came in by no device) keeps its mark, which is
somebody else's. If the mark of another has ONE_FLOW or ANY_FLOW, it loses all bits of ours; and there is an entry then, for
some seconds, unless the packet is none that `fast` would repeat (its point 1, and of its point 2 what it says of protocols;
`weft.bpf.frame`).

The entry says: packets of this flow, by the container's device if their source is a container of this host, else by the
device by which this packet came in, go on by this device; straight into the namespace behind it, if that is where their
destination is; with this Ethernet header; one hop is counted unless they are bridged.
"""

from __future__ import annotations

import sys

from weft.bpf import frame
from weft.bpf.assembler import CHECK_MTU, MAP_LOOKUP, MAP_UPDATE, STACK, TIME_COARSE, Code, Program
from weft.bpf.fast import NEXT
from weft.bpf.frame import CONTEXT, ETHER, FRAME, KEY
from weft.bpf.layout import (
    ANY_FLOW,
    BRIDGED,
    CONTROL,
    COUNT_AT,
    COUNTS,
    ENTRY,
    ENTRY_AT,
    FLOWS,
    FROM_PORT,
    HOME_AT,
    HOMES,
    LIFE,
    ONE_FLOW,
    ROUTED,
    SLOTS,
    TO_PEER,
)

_FLAGS, _MARK = 8, 9
"""Registers, beside those of `weft.bpf.frame`; where the packet ends is not asked for once its key is known."""
_ENTRY = KEY - ENTRY.size
_ADDRESS = _ENTRY - 16
_SCRATCH = _ADDRESS - 8
_AT = {name: _ENTRY + offset for name, offset in ENTRY_AT.items()}
_MAPPED = int.from_bytes(b"\0\0\xff\xff", sys.byteorder, signed=True)
"""What stands between ten octets of zeros less two and an IPv4 address (::ffff:0:0/96)."""
_BITS = ONE_FLOW | ANY_FLOW


def program(at: int = ETHER) -> Code:
    """`at`: where the IP header begins in the packets of the device."""
    p = Program()
    p.copy(CONTEXT, 1)
    _marked(p)
    frame.begin(p, "next")
    for family, other in ((4, "six"), (6, "next")):
        p.jump_if(1, "!=", frame.as_read(frame.ETHERTYPE[family]), other)
        _key(p, family, at)
        _entry(p, family, at)
        _homes(p, family, at)
        _store(p, family)
        p.label(other)
    p.end(NEXT)
    return p.code()


def _marked(p: Program) -> None:
    p.load(_MARK, CONTEXT, frame.MARK, 4)
    p.jump_if(_MARK, "&", _BITS, "marked")
    p.end(NEXT)
    p.label("marked")
    p.load(1, CONTEXT, frame.INGRESS, 4)
    p.jump_if(1, "==", 0, "next")
    p.copy(1, _MARK)
    p.calculate(1, "&", ~(_BITS | BRIDGED))
    p.write(CONTEXT, frame.MARK, 1, 4)


def _key(p: Program, family: int, at: int) -> None:
    frame.addresses(p, family, at, "next")
    p.jump_if(_MARK, "&", ANY_FLOW, f"any{family}")
    frame.ports(p, family, at, "next")
    p.jump(f"key{family}")
    p.label(f"any{family}")
    frame.any_protocol(p, family, at, "next")
    p.label(f"key{family}")


def _entry(p: Program, family: int, at: int) -> None:
    """All of it but what homes say."""
    p.load(1, CONTEXT, frame.INGRESS, 4)
    p.store(_AT["came_by"], 1, 4)
    p.load(1, CONTEXT, frame.DEVICE, 4)
    p.store(_AT["out"], 1, 4)
    p.map_value(1, CONTROL)
    p.load(1, 1, 0, 4)
    p.store(_AT["generation"], 1, 4)
    p.set(_FLAGS, ROUTED)
    p.jump_if(_MARK, "&", BRIDGED, f"bridged{family}")
    p.jump(f"flags{family}")
    p.label(f"bridged{family}")
    p.set(_FLAGS, FROM_PORT)
    p.label(f"flags{family}")
    _header(p, at)
    _mtu(p)
    p.call(TIME_COARSE)
    p.set_long(1, LIFE * 10**9)
    p.combine(0, "+", 1)
    p.store(_AT["until"], 0)


def _header(p: Program, at: int) -> None:
    """A device without an Ethernet header needs none."""
    p.set(1, 0)
    for octet, size in ((0, 8), (8, 4), (12, 2)):
        if at:
            p.load(1, FRAME, octet, size)
        p.store(_AT["ether"] + octet, 1, size)


def _mtu(p: Program) -> None:
    """Of the device by which the packet goes; its length (0) is not asked about."""
    p.set(1, 0)
    p.store(_SCRATCH, 1, 4)
    p.copy(1, CONTEXT)
    p.set(2, 0)
    p.on_stack(3, _SCRATCH)
    p.set(4, 0)
    p.set(5, 0)
    p.call(CHECK_MTU)
    p.load(1, STACK, _SCRATCH, 4)
    p.store(_AT["mtu"], 1, 2)


def _homes(p: Program, family: int, at: int) -> None:
    """What they say of the destination, and of the source. A flow is counted for the source's network, if that is known."""
    p.set(1, SLOTS - 1)
    p.store(_AT["slot"], 1, 2)
    size = frame.ADDRESS[family]
    _home(p, at + frame.ADDRESSES_AT[family] + size, size, f"elsewhere{family}")
    p.load(1, CONTEXT, frame.DEVICE, 4)
    p.load(2, 0, HOME_AT["device"], 4)
    p.jump_if_register(1, "!=", 2, f"elsewhere{family}")
    p.calculate(_FLAGS, "|", TO_PEER)
    p.label(f"elsewhere{family}")
    _home(p, at + frame.ADDRESSES_AT[family], size, f"from{family}")
    p.load(1, 0, HOME_AT["device"], 4)
    p.store(_AT["came_by"], 1, 4)
    p.calculate(_FLAGS, "|", FROM_PORT)
    p.label(f"from{family}")
    p.store(_AT["flags"], _FLAGS, 2)


def _home(p: Program, where: int, size: int, otherwise: str) -> None:
    """Register 0: the home of the packet's address at `where`. The entry gets its network."""
    if size == 4:
        p.zero(_ADDRESS, 8)
        p.set(1, _MAPPED)
        p.store(_ADDRESS + 8, 1, 4)
    for octet, width in ((12, 4),) if size == 4 else ((0, 8), (8, 8)):
        p.load(1, FRAME, where + (octet if size == 16 else 0), width)
        p.store(_ADDRESS + octet, 1, width)
    p.map(1, HOMES)
    p.on_stack(2, _ADDRESS)
    p.call(MAP_LOOKUP)
    p.jump_if(0, "==", 0, otherwise)
    p.load(1, 0, HOME_AT["slot"], 4)
    p.store(_AT["slot"], 1, 2)


def _store(p: Program, family: int) -> None:
    p.map(1, FLOWS[family])
    p.on_stack(2, KEY)
    p.on_stack(3, _ENTRY)
    p.set(4, 0)
    p.call(MAP_UPDATE)
    p.load(1, STACK, _AT["slot"], 2)
    p.store(_SCRATCH, 1, 4)
    p.map(1, COUNTS)
    p.on_stack(2, _SCRATCH)
    p.call(MAP_LOOKUP)
    p.jump_if(0, "==", 0, "next")
    p.load(1, 0, COUNT_AT["asked"])
    p.calculate(1, "+", 1)
    p.write(0, COUNT_AT["asked"], 1, 8)
    p.jump("next")
