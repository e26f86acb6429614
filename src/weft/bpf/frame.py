"""What both programs read of a packet: whether it is one that can be repeated at all, and the key of its flow.

Written into a program; what is not met leads to a label. Registers: `CONTEXT`, `FRAME` where the packet begins, `END` where
what can be read of it ends. The key is on the stack at `KEY`.
"""

from __future__ import annotations

import sys

from weft.bpf.assembler import MAP_LOOKUP, Program
from weft.bpf.layout import FLOWS, KEY4, KEY6

CONTEXT, FRAME, END = 6, 7, 8
KEY = -40

ETHER = 14
"""Octets of an Ethernet header. Where a device has none (IP in IP), a packet begins with the IP header."""

LENGTH, PKT_TYPE, MARK, PROTOCOL, VLAN, INGRESS, DEVICE = 0, 4, 8, 16, 20, 36, 40
DATA, DATA_END, SEGMENTS_OF = 76, 80, 176
"""Offsets in struct __sk_buff (linux/bpf.h): len, pkt_type, mark, protocol, vlan_present, ingress_ifindex, ifindex; data,
data_end, gso_size."""

TCP, UDP = 6, 17
FIXED = {4: 20, 6: 40}
"""Octets of an IP header without options."""
ETHERTYPE = {4: 0x0800, 6: 0x86DD}
PROTOCOL_AT, _ADDRESSES_AT = {4: 9, 6: 6}, {4: 12, 6: 8}
PROTOCOL_AT, ADDRESSES_AT, ADDRESS = {4: 9, 6: 6}, {4: 12, 6: 8}, {4: 4, 6: 16}
_TCP_FLAGS_AT, _SYN_FIN_RST = 13, 0x07
_EXTENSIONS = (0, 43, 44, 60)
"""IPv6's hop-by-hop options, routing header, fragment header, destination options (RFC 8200, 4.1)."""
_NOT_DONT_FRAGMENT = 0xBFFF
KEY_SIZE = {4: KEY4.size, 6: KEY6.size}


def as_read(number: int) -> int:
    """What a register has that was loaded with this number of 16 bits, which a packet has in network order."""
    return int.from_bytes(number.to_bytes(2, "big"), sys.byteorder)


def begin(p: Program, otherwise: str) -> None:
    """Where the packet begins and ends; register 1 has its EtherType then. A tag of a VLAN is not part of what is repeated."""
    p.load(1, CONTEXT, VLAN, 4)
    p.jump_if(1, "!=", 0, otherwise)
    bounds(p)
    p.load(1, CONTEXT, PROTOCOL, 4)


def bounds(p: Program) -> None:
    """Asked for again when a helper may have moved the packet."""
    p.load(FRAME, CONTEXT, DATA, 4)
    p.load(END, CONTEXT, DATA_END, 4)


def holds(p: Program, octets: int, otherwise: str) -> None:
    """The packet has as many octets that can be read."""
    p.copy(1, FRAME)
    p.calculate(1, "+", octets)
    p.jump_if_register(1, ">", END, otherwise)


def addresses(p: Program, family: int, at: int, otherwise: str) -> None:
    """The key has the addresses, and zeros behind. `at`: where the IP header begins. Neither options nor fragments of IPv4."""
    holds(p, at + FIXED[family], otherwise)
    p.load(1, FRAME, at, 1)
    if family == 4:
        p.jump_if(1, "!=", 0x45, otherwise)
        p.load(1, FRAME, at + 6, 2)
        p.jump_if(1, "&", as_read(_NOT_DONT_FRAGMENT), otherwise)
    else:
        p.calculate(1, ">>", 4)
        p.jump_if(1, "!=", 6, otherwise)
    for octet in range(0, KEY_SIZE[family] - 8, 8):
        p.load(1, FRAME, at + ADDRESSES_AT[family] + octet)
        p.store(KEY + octet, 1)


def any_protocol(p: Program, family: int, at: int, otherwise: str) -> None:
    """The key goes for all packets between the two addresses, but those with extension headers (IPv6)."""
    if family == 6:
        p.load(1, FRAME, at + PROTOCOL_AT[family], 1)
        for extension in _EXTENSIONS:
            p.jump_if(1, "==", extension, otherwise)
    p.set(1, 0)
    p.store(KEY + KEY_SIZE[family] - 8, 1)


def ports(p: Program, family: int, at: int, otherwise: str) -> None:
    """The key has ports and protocol, too: UDP, or TCP that neither begins nor ends a connection."""
    behind, label = at + FIXED[family], f"udp{family}"
    holds(p, behind + 8, otherwise)
    p.load(2, FRAME, at + PROTOCOL_AT[family], 1)
    p.jump_if(2, "==", UDP, label)
    p.jump_if(2, "!=", TCP, otherwise)
    holds(p, behind + _TCP_FLAGS_AT + 1, otherwise)
    p.load(1, FRAME, behind + _TCP_FLAGS_AT, 1)
    p.jump_if(1, "&", _SYN_FIN_RST, otherwise)
    p.label(label)
    p.load(1, FRAME, behind, 4)
    p.calculate(2, "<<", 32)
    p.combine(1, "|", 2)
    p.store(KEY + KEY_SIZE[family] - 8, 1)


def look_up(p: Program, family: int) -> None:
    """Register 0: address of the flow's entry, or 0."""
    p.map(1, FLOWS[family])
    p.on_stack(2, KEY)
    p.call(MAP_LOOKUP)
