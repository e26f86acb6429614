"""Packets as octets, with the headers that a flow's first packet, or an answer to it, has on the wire."""

from __future__ import annotations

import struct

from weft.base.net import IPAddress
from weft.filters.headers import ICMP, ICMPV6, SCTP, TCP, UDP
from weft.filters.model import Tuple

_IP = struct.Struct(">BBHHHBBH")
_TCP = struct.Struct(">HHIIBBHHH")
_SYN = 2
_FOUR = struct.Struct(">HHHH")
_SCTP = struct.Struct(">HHIIBBHIIHHI")
_ARP = struct.Struct(">HHBBH6s4s6s4s")
_ECHO = {ICMP: (8, 0), ICMPV6: (128, 129)}
"""Types of request and reply."""


def packet(what: Tuple, *, ttl: int = 64, flags: int = 2, answer: bool = False, size: int = 0) -> bytes:
    """From the network header on. `flags`: TCP's (2 is SYN). `answer`: of ICMP and SCTP, the reply. `size`: of the
    whole packet in octets, if that is more than its headers take. Other protocols than TCP, UDP, SCTP and ICMP have
    nothing after the network header."""
    carried = _transport(what, flags, answer)
    head = 20 if what.src.version == 4 else 40
    carried += bytes(max(0, size - head - len(carried)))
    carried = _summed(what, carried)
    if what.src.version == 6:
        first = struct.pack(">IHBB", 6 << 28, len(carried), what.protocol, ttl)
        return first + what.src.packed + what.dst.packed + carried
    unsummed = (
        _IP.pack(0x45, 0, head + len(carried), 0, 0x4000, ttl, what.protocol, 0) + what.src.packed + what.dst.packed
    )
    return unsummed[:10] + checksum(unsummed).to_bytes(2, "big") + unsummed[12:] + carried


def _transport(what: Tuple, flags: int, answer: bool) -> bytes:
    if what.protocol == TCP:
        options = _options(what) if flags & _SYN else b""
        words = (_TCP.size + len(options)) // 4
        return _TCP.pack(what.sport, what.dport, 1, 2 if flags & 16 else 0, words << 4, flags, 64240, 0, 0) + options
    if what.protocol == UDP:
        return _FOUR.pack(what.sport, what.dport, 8, 0)
    if what.protocol == SCTP:  # INIT, or its acknowledgement (RFC 9260); the checksum is left out
        return _SCTP.pack(what.sport, what.dport, 0, 0, 2 if answer else 1, 0, 20, 1, 65536, 10, 10, 1)
    if what.protocol in _ECHO:
        return struct.pack(">BBHHH", _ECHO[what.protocol][answer], 0, 0, what.sport, 1)
    return b""


def _options(what: Tuple) -> bytes:
    """Of a SYN, in Linux's order (tcp_options_write): largest segment, as of Ethernet; SACK; timestamps; window scale."""
    segment = 1460 if what.src.version == 4 else 1440
    return struct.pack(">BBHBBBBIIBBBB", 2, 4, segment, 4, 2, 8, 10, 1, 0, 1, 3, 3, 7)


_SUM = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}


def _summed(what: Tuple, carried: bytes) -> bytes:
    """With UDP's length, and the checksum over the pseudo-header."""
    at = _SUM.get(what.protocol)
    if at is None:
        return carried
    if what.protocol == UDP:
        carried = carried[:4] + struct.pack(">H", len(carried)) + carried[6:]
    pseudo = b"" if what.protocol == ICMP else _pseudo(what, len(carried))
    found = checksum(pseudo + carried) or (0xFFFF if what.protocol == UDP else 0)  # of UDP, 0 says that there is none
    return carried[:at] + found.to_bytes(2, "big") + carried[at + 2 :]


def _pseudo(what: Tuple, length: int) -> bytes:
    return what.src.packed + what.dst.packed + struct.pack(">IBBBB", length, 0, 0, 0, what.protocol)


def checksum(octets: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{(len(octets) + 1) // 2}H", octets + bytes(len(octets) & 1)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp(sender: IPAddress, asked: IPAddress, mac: bytes = bytes(6), *, reply: bool = False) -> bytes:
    """Who has `asked`, asked by `sender`, which is at `mac`; or the other way round. Both IPv4."""
    return _ARP.pack(1, 0x0800, 6, 4, 2 if reply else 1, mac, sender.packed, bytes(6), asked.packed)


def ethernet(dst: str, src: str, protocol: int) -> bytes:
    """The header of a frame, MAC addresses as text."""
    return bytes.fromhex(dst.replace(":", "")) + bytes.fromhex(src.replace(":", "")) + protocol.to_bytes(2, "big")
