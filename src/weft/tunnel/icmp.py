"""What a router tells the sender of a packet that it drops (RFC 792, RFC 1812 section 4.3; RFC 4443)."""

from __future__ import annotations

from weft.tunnel.checksum import finished, total
from weft.tunnel.packet import ICMP, ICMP6, V4_HEADER, V6_HEADER

_V4_ERRORS = frozenset((3, 4, 5, 11, 12))
_V4_MOST, _V6_MOST = V4_HEADER + 60 + 8, 1232
"""Octets of the packet that are quoted: of IPv4 its header and 8 more, of IPv6 what fits into 1280."""

NO_ROUTE = {4: (3, 0), 6: (1, 0)}
EXPIRED = {4: (11, 0), 6: (3, 0)}
TOO_BIG = {4: (3, 4), 6: (2, 0)}
"""(Type, code) by IP version."""


def may_be_told(packet: memoryview) -> bool:
    """Never of an ICMP error, of later fragments, or of what was not sent by one host to one host."""
    if packet[0] >> 4 == 4:
        header = (packet[0] & 15) * 4
        if (packet[6] << 8 | packet[7]) & 0x1FFF or packet[16] >= 224 or packet[12] in (0, 127) or packet[12] >= 224:
            return False
        return packet[9] != ICMP or (len(packet) > header and packet[header] not in _V4_ERRORS)
    if packet[24] == 0xFF or packet[8] == 0xFF or bytes(packet[8:24]) == bytes(16):
        return False
    return packet[6] != ICMP6 or (len(packet) > V6_HEADER and packet[V6_HEADER] >= 128)


def message(kind: tuple[int, int], packet: memoryview, mtu: int = 0) -> bytes:
    """The ICMP message, without a checksum. `mtu`: of a message that it was too big."""
    if packet[0] >> 4 == 4:
        quoted = packet[: min((packet[0] & 15) * 4 + 8, _V4_MOST)]
        rest = mtu.to_bytes(4, "big")
    else:
        quoted, rest = packet[:_V6_MOST], mtu.to_bytes(4, "big")
    return bytes((*kind, 0, 0)) + rest + bytes(quoted)


def answer(kind: dict[int, tuple[int, int]], about: memoryview, mtu: int = 0) -> bytes:
    """The whole packet that tells the sender of one, where no router is: from whom that was sent to."""
    version = about[0] >> 4
    said = message(kind[version], about, mtu)
    if version == 4:
        ends = bytes(about[16:20]) + bytes(about[12:16])
        head = b"\x45\0" + (V4_HEADER + len(said)).to_bytes(2, "big") + b"\0\0\0\0\x40\1"
        return head + finished(total(head + ends)).to_bytes(2, "big") + ends + _checked(said, 0)
    ends = bytes(about[24:40]) + bytes(about[8:24])
    pseudo = total(ends + len(said).to_bytes(2, "big")) + ICMP6
    return b"\x60\0\0\0" + len(said).to_bytes(2, "big") + bytes((ICMP6, 64)) + ends + _checked(said, pseudo)


def _checked(said: bytes, more: int) -> bytes:
    return said[:2] + finished(total(said) + more).to_bytes(2, "big") + said[4:]
