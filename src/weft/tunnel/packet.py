"""IP packets, as far as a router looks at them; and the virtio-net header that a TUN device puts before each (IFF_VNET_HDR,
linux/virtio_net.h): that it is a super-packet, which stands for several of one flow, or has a checksum yet to be made."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from weft.tunnel.checksum import finished, total

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58

VNET = struct.Struct("=BBHHHH")
"""flags, gso_type, hdr_len, gso_size, csum_start, csum_offset."""
PLAIN = bytes(VNET.size)
NEEDS_CSUM = 1
GSO_TCP = {4: 1, 6: 4}
GSO_UDP = 5
GSO_ECN = 0x80

V4_HEADER, V6_HEADER = 20, 40
_MORE = 0x2000
"""Among the flags of IPv4: further fragments follow."""
_TTL = struct.Struct(">I")
"""In IPv4: with the protocol and the header's checksum."""


def length(packet: memoryview) -> int:
    """By its own account; 0 for what is no IP packet, or has no complete header."""
    if len(packet) < V4_HEADER:
        return 0
    version = packet[0] >> 4
    if version == 4:
        header = (packet[0] & 15) * 4
        claimed = packet[2] << 8 | packet[3]
        return claimed if V4_HEADER <= header <= claimed else 0
    if version == 6 and len(packet) >= V6_HEADER:
        return V6_HEADER + (packet[4] << 8 | packet[5])
    return 0


def source(packet: memoryview, version: int) -> int:
    return int.from_bytes(packet[12:16] if version == 4 else packet[8:24], "big")


def destination(packet: memoryview, version: int) -> int:
    return int.from_bytes(packet[16:20] if version == 4 else packet[24:40], "big")


def lives_on(packet: memoryview, version: int) -> bool:
    """Whether it may pass one more router."""
    return packet[8 if version == 4 else 7] > 1


def pass_on(packet: memoryview, version: int) -> None:
    """One hop less to live. (RFC 1624: the checksum is patched.)"""
    if version == 6:
        packet[7] -= 1
        return
    (word,) = _TTL.unpack_from(packet, 8)
    word += 0x100 - 0x1000000 if word & 0xFFFF < 0xFF00 else 0x101 - 0x1010000
    _TTL.pack_into(packet, 8, word)


def may_be_cut(packet: memoryview) -> bool:
    """Whether a router may send it in fragments."""
    return packet[0] >> 4 == 4 and not packet[6] & 0x40


def fragments(packet: memoryview, mtu: int) -> Iterator[bytes]:
    """Of an IPv4 packet that may be cut (RFC 791 section 3.2). Options are in each of them."""
    header = (packet[0] & 15) * 4
    room, place = (mtu - header) & ~7, packet[6] << 8 | packet[7]
    for at in range(header, len(packet), room):
        piece = packet[at : at + room]
        more = place & _MORE if at + room >= len(packet) else _MORE
        head = bytearray(packet[:header])
        head[2:4] = (header + len(piece)).to_bytes(2, "big")
        head[6:8] = ((place & ~_MORE) + (at - header) // 8 | more).to_bytes(2, "big")
        head[10:12] = bytes(2)
        head[10:12] = finished(total(head)).to_bytes(2, "big")
        yield bytes(head) + bytes(piece)
