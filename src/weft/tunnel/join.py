"""Packets of one flow that follow each other, joined into a super-packet: the reverse of `cut`.

Those of a burst have headers that are equal but for a few fields. As numbers, with these fields masked out, they are
compared at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import msgspec

from weft.tunnel.checksum import finished, total
from weft.tunnel.packet import GSO_TCP, GSO_UDP, NEEDS_CSUM, TCP, UDP, V4_HEADER, V6_HEADER, VNET

ACK, PSH = 0x10, 0x08
_LARGEST = 65535
"""Octets of an IP packet."""


class Shape(msgspec.Struct, frozen=True):
    """Of headers of one size. `mask`: what has to be equal. Then how far right a field has to be moved, in the header as a
    number, to be read."""

    mask: int
    length_at: int
    sequence_at: int


@cache
def _shape(version: int, l3: int, l4: int, header: int, tcp: bool) -> Shape:
    bits = 8 * header

    def field(at: int, octets: int) -> int:
        return ((1 << 8 * octets) - 1) << bits - 8 * (at + octets)

    differs = (
        field(l3 + 2, 4) | field(l3 + 10, 2) if version == 4 else field(l3 + 4, 2)
    )  # v4: length, identification, checksum
    if tcp:
        differs |= field(l4 + 4, 4) | field(l4 + 16, 2) | PSH << bits - 8 * (l4 + 14)
    else:
        differs |= field(l4 + 4, 4)
    length_at = bits - 8 * l3 - (32 if version == 4 else 48)
    return Shape((1 << bits) - 1 & ~differs, length_at, bits - 8 * (l4 + 8))


class Burst(msgspec.Struct):
    """`vnet`: the header for the TUN device; `header` and `payload` follow it. The payload is of as many packets as were
    joined."""

    vnet: bytes
    header: bytearray
    payload: list[memoryview]


def header_of(packet: memoryview) -> tuple[int, int, bool] | None:
    """(Where the TCP or UDP header begins, where the payload does, whether it is TCP) of a packet that can begin a burst. Its
    length is known to be right."""
    version = packet[0] >> 4
    if version == 4:
        if packet[0] != 0x45 or packet[6] & 0x3F or packet[7]:  # options, fragments
            return None
        if total(packet[:V4_HEADER]) % 65535:  # the kernel sees that it is wrong, as long as none is made anew
            return None
        l4, protocol = V4_HEADER, packet[9]
    else:
        l4, protocol = V6_HEADER, packet[6]
    if protocol == TCP:
        if len(packet) < l4 + 20 or packet[l4 + 13] != ACK:
            return None
        begin = l4 + (packet[l4 + 12] >> 4) * 4
        return (l4, begin, True) if l4 + 20 <= begin < len(packet) else None
    if protocol == UDP and len(packet) > l4 + 8 and (packet[l4 + 6] or packet[l4 + 7]):
        return l4, l4 + 8, False
    return None


def joined(packets: Sequence[memoryview], at: int, *, l3: int = 0, outer: int = 0) -> Burst | None:
    """The burst that begins with packets[at]; None where it would be alone. `packets` have their own length. `l3`: where the
    IP header begins; what is before it is the same in all. `outer`: octets of that which the burst is without."""
    first = packets[at]
    found = header_of(first[l3:])
    if found is None:
        return None
    l4, begin, tcp = found[0] + l3, found[1] + l3, found[2]
    version, size = first[l3] >> 4, len(first)
    shape = _shape(version, l3, l4, begin, tcp)
    number = int.from_bytes(first[:begin], "big")
    same, expected, step = number & shape.mask, number >> shape.sequence_at & 0xFFFFFFFF, size - begin
    ip_length = size - l3 - (0 if version == 4 else V6_HEADER)
    last, room, flags = at + 1, _LARGEST + l3 - size, 0
    mask, length_at, sequence_at, read = shape.mask, shape.length_at, shape.sequence_at, int.from_bytes
    for packet in packets[at + 1 :]:
        octets = len(packet)
        if octets > size or octets <= begin or octets - begin > room:
            break
        number = read(packet[:begin], "big")
        if number & mask != same or number >> length_at & 0xFFFF != ip_length - size + octets:
            break
        if tcp:
            expected = expected + step & 0xFFFFFFFF
            if number >> sequence_at & 0xFFFFFFFF != expected:
                break
            flags = packet[l4 + 13] & PSH
        elif packet[l4 + 4] << 8 | packet[l4 + 5] != octets - l4 or not (packet[l4 + 6] or packet[l4 + 7]):
            break
        last += 1
        room -= octets - begin
        if flags or octets < size:
            break
    if last == at + 1:
        return None
    burst = packets[at:last]
    header = bytearray(first[outer:begin])
    l3, l4 = l3 - outer, l4 - outer
    if tcp:
        header[l4 + 13] |= flags
    payload = sum(map(len, burst)) - begin * len(burst)
    vnet = _head(header, l3, l4, payload, step, tcp=tcp)
    return Burst(vnet, header, [packet[begin:] for packet in burst])


def _head(header: bytearray, l3: int, l4: int, payload: int, step: int, *, tcp: bool) -> bytes:
    """The virtio-net header; and lengths and checksums of the super-packet's own."""
    version, whole = header[l3] >> 4, len(header) - l3 + payload
    covered = whole - (l4 - l3)
    if version == 4:
        header[l3 + 2 : l3 + 4] = whole.to_bytes(2, "big")
        header[l3 + 10 : l3 + 12] = bytes(2)
        header[l3 + 10 : l3 + 12] = finished(total(header[l3:l4])).to_bytes(2, "big")
        addresses = header[l3 + 12 : l3 + 20]
    else:
        header[l3 + 4 : l3 + 6] = (whole - V6_HEADER).to_bytes(2, "big")
        addresses = header[l3 + 8 : l3 + 40]
    at = l4 + (16 if tcp else 6)
    if not tcp:
        header[l4 + 4 : l4 + 6] = covered.to_bytes(2, "big")
    pseudo = (total(addresses) + (TCP if tcp else UDP) + covered) % 65535
    header[at : at + 2] = pseudo.to_bytes(2, "big")
    gso = GSO_TCP[version] if tcp else GSO_UDP
    return VNET.pack(NEEDS_CSUM, gso, len(header), step, l4, at - l4)
