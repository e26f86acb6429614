"""Program `fast` (tcx ingress): repeats for a packet what was decided about its flow, or leaves it to the ordinary way.

A packet is repeated if all of this is so. Whatever is not leaves the packet as it came, and the ordinary way takes it.

1. It has no tag of a VLAN, and is IPv4 without options and no fragment, or IPv6 without an extension header.
2. There is an entry for its addresses (if there may be any at all, `control`), or it is UDP, or TCP without SYN, FIN and RST,
   and there is one for its addresses, protocol and ports; the entry is not over, of the present generation, and for packets
   that come by this device.
3. The frame is addressed to this host; or to another one, if it came by a container's device or is to be bridged.
4. It is not longer than the MTU of the device by which it goes; if it stands for several segments, none of these is.
5. If it is to be routed: its TTL or hop limit is more than 1.

Then one hop is counted, if it is to be routed; it gets the Ethernet header that packets of its flow have on that device; and it
goes by this device, or into the namespace behind it.
"""

from __future__ import annotations

from weft.bpf import frame
from weft.bpf.assembler import (
    CHANGE_HEAD,
    CHANGE_TYPE,
    CSUM_UPDATE,
    MAP_LOOKUP,
    REDIRECT,
    REDIRECT_PEER,
    TIME_COARSE,
    Code,
    Program,
)
from weft.bpf.frame import CONTEXT, ETHER, FIXED, FRAME, TCP, UDP
from weft.bpf.layout import CONTROL, COUNT_AT, COUNTS, ENTRY_AT, FROM_PORT, ROUTED, TO_PEER

NEXT, SHOT = -1, 2
"""Verdicts (linux/bpf.h): TCX_NEXT, TCX_DROP."""
_ENTRY = 9
_SCRATCH = -48
_HOST, _OTHER_HOST = 0, 3
"""Types of packets (linux/if_packet.h)."""
_TTL_AT = {4: 8, 6: 7}
_HEADER_CHECKSUM_AT = 10


def program(at: int = ETHER) -> Code:
    """`at`: where the IP header begins in the packets of the device."""
    p = Program()
    p.copy(CONTEXT, 1)
    frame.begin(p, "slow")
    for family, other in ((4, "six"), (6, "slow")):
        p.jump_if(1, "!=", frame.as_read(frame.ETHERTYPE[family]), other)
        _found(p, family, at)
        p.label(f"repeat{family}")
        _fits(p, family, at)
        _hop(p, family, at)
        p.jump("go")
        _segments(p, family, at)
        p.label(other)
    p.end(NEXT)
    p.label("go")
    _count(p)
    _header(p, at)
    _go(p)
    return p.code()


def _found(p: Program, family: int, at: int) -> None:
    """`_ENTRY` has one that counts."""
    frame.addresses(p, family, at, "slow")
    p.map_value(1, CONTROL)
    p.load(1, 1, 4, 4)
    p.jump_if(1, "==", 0, f"one{family}")
    frame.any_protocol(p, family, at, f"one{family}")
    _counts(p, family, f"one{family}")
    p.jump(f"repeat{family}")
    p.label(f"one{family}")
    frame.ports(p, family, at, "slow")
    _counts(p, family, "slow")


def _counts(p: Program, family: int, otherwise: str) -> None:
    frame.look_up(p, family)
    p.jump_if(0, "==", 0, otherwise)
    p.copy(_ENTRY, 0)
    p.load(1, CONTEXT, frame.DEVICE, 4)
    p.load(2, _ENTRY, ENTRY_AT["came_by"], 4)
    p.jump_if_register(1, "!=", 2, otherwise)
    p.map_value(1, CONTROL)
    p.load(1, 1, 0, 4)
    p.load(2, _ENTRY, ENTRY_AT["generation"], 4)
    p.jump_if_register(1, "!=", 2, otherwise)
    p.call(TIME_COARSE)
    p.load(1, _ENTRY, ENTRY_AT["until"])
    p.jump_if_register(0, ">", 1, otherwise)


def _fits(p: Program, family: int, at: int) -> None:
    """For this host or from a port, and not too long. Register 5 has the flags then."""
    p.load(5, _ENTRY, ENTRY_AT["flags"], 2)
    p.load(1, CONTEXT, frame.PKT_TYPE, 4)
    p.jump_if(1, "==", _HOST, f"ours{family}")
    p.jump_if(1, "!=", _OTHER_HOST, "slow")
    p.jump_if(5, "&", FROM_PORT, f"ours{family}")
    p.jump("slow")
    p.label(f"ours{family}")
    p.load(1, CONTEXT, frame.LENGTH, 4)
    p.load(2, _ENTRY, ENTRY_AT["mtu"], 2)
    p.calculate(2, "+", at)
    p.jump_if_register(1, ">", 2, f"long{family}")
    p.label(f"fits{family}")


def _segments(p: Program, family: int, at: int) -> None:
    """Too long for one packet; how long are the segments that it stands for? Register 2 has the MTU and `at`."""
    p.label(f"long{family}")
    p.load(3, CONTEXT, frame.SEGMENTS_OF, 4)
    p.jump_if(3, "==", 0, "slow")
    p.calculate(3, "+", at + FIXED[family])
    p.load(1, FRAME, at + frame.PROTOCOL_AT[family], 1)
    p.set(4, 8)
    p.jump_if(1, "==", UDP, f"segment{family}")
    p.jump_if(1, "!=", TCP, "slow")
    frame.holds(p, at + FIXED[family] + 13, "slow")
    p.load(4, FRAME, at + FIXED[family] + 12, 1)
    p.calculate(4, ">>", 4)
    p.calculate(4, "<<", 2)
    p.label(f"segment{family}")
    p.combine(3, "+", 4)
    p.jump_if_register(3, "<=", 2, f"fits{family}")
    p.jump("slow")


def _hop(p: Program, family: int, at: int) -> None:
    """The TTL is one less, and the checksum right again, as in the kernel's ip_decrease_ttl(). IPv6 has no checksum of its own,
    but a network card may have summed up the whole packet."""
    p.calculate(5, "&", ROUTED)
    p.jump_if(5, "==", 0, "go")
    p.load(1, FRAME, at + _TTL_AT[family], 1)
    p.jump_if(1, "<=", 1, "slow")
    p.calculate(1, "-", 1)
    p.write(FRAME, at + _TTL_AT[family], 1, 1)
    if family == 4:
        p.load(1, FRAME, at + _HEADER_CHECKSUM_AT, 2)
        p.calculate(1, "+", frame.as_read(0x0100))
        p.jump_if(1, "<", 0xFFFF, "summed")
        p.calculate(1, "+", 1)
        p.label("summed")
        p.write(FRAME, at + _HEADER_CHECKSUM_AT, 1, 2)
    else:
        p.copy(1, CONTEXT)
        p.set(2, frame.as_read(0xFFFE))
        p.call(CSUM_UPDATE)


def _count(p: Program) -> None:
    p.load(1, _ENTRY, ENTRY_AT["slot"], 2)
    p.store(_SCRATCH, 1, 4)
    p.map(1, COUNTS)
    p.on_stack(2, _SCRATCH)
    p.call(MAP_LOOKUP)
    p.jump_if(0, "==", 0, "counted")
    p.load(1, 0, COUNT_AT["packets"])
    p.calculate(1, "+", 1)
    p.write(0, COUNT_AT["packets"], 1, 8)
    p.load(1, 0, COUNT_AT["octets"])
    p.load(2, CONTEXT, frame.LENGTH, 4)
    p.combine(1, "+", 2)
    p.write(0, COUNT_AT["octets"], 1, 8)
    p.label("counted")


def _header(p: Program, at: int) -> None:
    """A packet without an Ethernet header gets room for one; the kernel takes it away again where the next device has none."""
    if not at:
        p.copy(1, CONTEXT)
        p.set(2, ETHER)
        p.set(3, 0)
        p.call(CHANGE_HEAD)
        p.jump_if(0, "!=", 0, "lost")
        frame.bounds(p)
        frame.holds(p, ETHER, "lost")
        p.jump("roomy")
        p.label("lost")
        p.end(SHOT)
        p.label("roomy")
    for octet, size in ((0, 8), (8, 4), (12, 2)):
        p.load(1, _ENTRY, ENTRY_AT["ether"] + octet, size)
        p.write(FRAME, octet, 1, size)


def _go(p: Program) -> None:
    p.load(1, _ENTRY, ENTRY_AT["flags"], 2)
    p.jump_if(1, "&", TO_PEER, "peer")
    p.load(1, _ENTRY, ENTRY_AT["out"], 4)
    p.set(2, 0)
    p.call(REDIRECT)
    p.leave()
    p.label("peer")
    p.load(1, CONTEXT, frame.PKT_TYPE, 4)
    p.jump_if(1, "==", _HOST, "inside")
    p.copy(1, CONTEXT)
    p.set(2, _HOST)
    p.call(CHANGE_TYPE)
    p.label("inside")
    p.load(1, _ENTRY, ENTRY_AT["out"], 4)
    p.set(2, 0)
    p.call(REDIRECT_PEER)
    p.leave()
