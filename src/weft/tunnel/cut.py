"""A super-packet cut into the packets that it stands for, as the kernel or a network card would (net/ipv4/tcp_offload.c).

What a packet's header says is one number, in which those fields are 0 that differ from packet to packet: a header is that
number and these fields added to it. The sums behind the checksums are made in the same way, so only the payload's has to be
made for each.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from weft.tunnel.checksum import finished, halves, total
from weft.tunnel.packet import TCP, UDP

FIN, PSH, CWR = 0x01, 0x08, 0x80
_LATER = FIN | PSH
"""Flags that only the last packet has; CWR is the first one's."""


class _Header(msgspec.Struct):
    """`value`: the header as a number, and `size` its octets. `ip`, `l4`: sums of what the two checksums cover of it.
    `places`: how far left the fields are that are to be added."""

    value: int
    size: int
    ip: int
    l4: int


def finish(packet: memoryview, start: int, offset: int) -> None:
    """The checksum of a packet that is not cut: in its place is the pseudo header's sum (csum_start, csum_offset)."""
    at = start + offset
    packet[at : at + 2] = finished(total(packet[start:], halves(len(packet) - start))).to_bytes(2, "big")


def cut(packet: memoryview, l4: int, size: int, *, tcp: bool) -> Iterator[tuple[bytes, memoryview]]:
    """Header and payload of each packet, `size` octets of payload in all but the last. `l4`: where the TCP or UDP header
    begins."""
    begin = l4 + ((packet[l4 + 12] >> 4) * 4 if tcp else 8)
    version, end, folds = packet[0] >> 4, len(packet), halves(size)
    header = bytearray(packet[:begin])
    flags = header[l4 + 13] if tcp else 0
    sequence = int.from_bytes(header[l4 + 4 : l4 + 8], "big") if tcp else 0
    ident = int.from_bytes(header[4:6], "big") if version == 4 else 0
    _clear(header, version, l4, tcp=tcp)
    if tcp:
        header[l4 + 13] = flags & ~(_LATER | CWR)
    value = int.from_bytes(header, "big")
    addresses = header[12:20] if version == 4 else header[8:40]
    ip_sum, l4_sum = total(header[:l4]), total(header[l4:]) + total(addresses) + (TCP if tcp else UDP)
    octets, bits = begin, 8 * begin
    # How far left each field is, in the header as a number.
    length_at, ident_at, ip_check_at = bits - (32 if version == 4 else 48), bits - 48, bits - 96
    flags_at, sequence_at = bits - 8 * (l4 + 14), bits - 8 * (l4 + 8)
    check_at, udp_length_at = bits - 8 * (l4 + (18 if tcp else 8)), bits - 8 * (l4 + 6)
    beyond = 0 if version == 4 else 40
    for at in range(begin, end, size):
        payload = packet[at : at + size]
        last = at + size >= end
        whole = octets + len(payload)
        covered = whole - l4
        extra = (flags & _LATER if last else 0) | (flags & CWR if at == begin else 0)
        made = value + (whole - beyond << length_at)
        if version == 4:
            made += (ident << ident_at) + (finished(ip_sum + whole + ident) << ip_check_at)
            ident = ident + 1 & 0xFFFF
        if tcp:
            check = finished(l4_sum + covered + sequence + extra + total(payload, folds))
            made += (extra << flags_at) + (sequence << sequence_at) + (check << check_at)
            sequence = sequence + size & 0xFFFFFFFF
        else:
            check = finished(l4_sum + 2 * covered + total(payload, folds))
            made += (covered << udp_length_at) + (check << check_at)
        yield made.to_bytes(octets, "big"), payload


def _clear(header: bytearray, version: int, l4: int, *, tcp: bool) -> None:
    """The fields that differ."""
    if version == 4:
        header[2:6] = bytes(4)
        header[10:12] = bytes(2)
    else:
        header[4:6] = bytes(2)
    if tcp:
        header[l4 + 4 : l4 + 8] = bytes(4)
        header[l4 + 16 : l4 + 18] = bytes(2)
    else:
        header[l4 + 4 : l4 + 8] = bytes(4)
