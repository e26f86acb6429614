"""A super-packet cut into the packets that it stands for, as the kernel or a network card would (net/ipv4/tcp_offload.c).

What a packet's header says is one number, in which those fields are 0 that differ from packet to packet: a header is that
number and these fields added to it. The sums behind the checksums are made in the same way, so only the payload's has to be
made for each.
"""

from __future__ import annotations

from weft.tunnel.checksum import finished, halves, sums, total
from weft.tunnel.packet import TCP, UDP, V6_HEADER

FIN, PSH, CWR = 0x01, 0x08, 0x80
_LAST = FIN | PSH
"""Flags that only the last packet has; CWR is the first one's."""


def finish(packet: memoryview, start: int, offset: int) -> None:
    """The checksum of a packet that is not cut: in its place is the pseudo header's sum (csum_start, csum_offset)."""
    at = start + offset
    packet[at : at + 2] = finished(total(packet[start:], halves(len(packet) - start))).to_bytes(2, "big")


def cut(packet: memoryview, l4: int, size: int, *, tcp: bool, ahead: bytes = b"") -> list[bytes | memoryview]:
    """Header and payload of each packet in turn, `size` octets of payload in all but the last. `l4`: where the TCP or UDP
    header begins. `ahead`: what each header begins with, before IP's."""
    same = _Same(packet, l4, tcp=tcp)
    payload = packet[same.octets :]
    v4, octets, check_at, ip_check_at = same.v4, same.octets, same.check_at, same.ip_check_at
    sequence, step, ident, length = same.sequence, size if tcp else 0, same.ident, len(payload)
    value, ip, rest = same.of(min(length, size), first=True, last=size >= length)
    found: list[bytes | memoryview] = []
    before, octets = int.from_bytes(ahead, "big") << 8 * octets, octets + len(ahead)
    end = 0
    for summed in sums(payload, size):
        at, end = end, end + size
        if end >= length > size:
            value, ip, rest = same.of(length - at, last=True)
        elif at == size:  # what has all but the first and the last
            value, ip, rest = same.of(size)
        header = before + value + ((sequence << 80) + 65535 - (rest + sequence + summed) % 65535 << check_at)
        if v4:
            header += (ident << 48) + 65535 - (ip + ident) % 65535 << ip_check_at
            ident = ident + 1 & 0xFFFF
        found += header.to_bytes(octets, "big"), payload[at:end]
        sequence = sequence + step & 0xFFFFFFFF
    return found


class _Same:
    """What headers of a flow have in common. `value`: the header as a number. `ip`, `l4`: the sums that its checksums begin
    with. How far left the fields are that are to be added, in that number, is what ends in `_at`."""

    def __init__(self, packet: memoryview, l4: int, *, tcp: bool) -> None:
        self.octets = octets = l4 + ((packet[l4 + 12] >> 4) * 4 if tcp else 8)
        header = bytearray(packet[:octets])
        self.tcp, self.v4 = tcp, header[0] >> 4 == 4
        self.flags = header[l4 + 13] if tcp else 0
        self.sequence = int.from_bytes(header[l4 + 4 : l4 + 8], "big") if tcp else 0
        self.ident = int.from_bytes(header[4:6], "big")
        _clear(header, l4, tcp=tcp, v4=self.v4)
        self.value = int.from_bytes(header, "big")
        addresses = header[12:20] if self.v4 else header[8:40]
        self.ip = total(header[:l4]) % 65535
        self.l4 = (total(header[l4:]) + total(addresses) + (TCP if tcp else UDP)) % 65535
        self.ip_check_at, self.length_at = 8 * (octets - 12), 8 * (octets - (4 if self.v4 else 6))
        self.beyond = 0 if self.v4 else V6_HEADER  # what the length in the IP header leaves out
        self.ahead = octets - l4
        self.flags_at, self.check_at = 8 * (octets - l4 - 14), 8 * (octets - l4 - (18 if tcp else 8))

    def of(self, payload: int, *, first: bool = False, last: bool = False) -> tuple[int, int, int]:
        """(Value, sum for the IP header, sum for the checksum of the whole) with so many octets of payload, but for what
        each packet has of its own."""
        whole, covered = self.octets + payload, self.ahead + payload
        value = self.value + (whole - self.beyond << self.length_at)
        if not self.tcp:
            return value + (covered << 16), self.ip + whole, self.l4 + 2 * covered
        flags = self.flags & ((CWR if first else 0) | (_LAST if last else 0))
        return value + (flags << self.flags_at), self.ip + whole, self.l4 + covered + flags


def _clear(header: bytearray, l4: int, *, tcp: bool, v4: bool) -> None:
    """The fields that differ."""
    header[4:6] = bytes(2)
    if v4:
        header[2:4] = bytes(2)
        header[10:12] = bytes(2)
    header[l4 + 4 : l4 + 8] = bytes(4)
    if tcp:
        header[l4 + 13] &= ~(_LAST | CWR)
        header[l4 + 16 : l4 + 18] = bytes(2)
