"""A super-packet cut into the packets that it stands for, as the kernel or a network card would (net/ipv4/tcp_offload.c).

What a packet's header says is one number, in which those fields are 0 that differ from packet to packet: a header is that
number and these fields added to it. The sums behind the checksums are made in the same way, so only the payload's has to be
made for each.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.tunnel.checksum import finished, halves, total
from weft.tunnel.packet import TCP, UDP, V6_HEADER

FIN, PSH, CWR = 0x01, 0x08, 0x80
_LAST = FIN | PSH
"""Flags that only the last packet has; CWR is the first one's."""


def finish(packet: memoryview, start: int, offset: int) -> None:
    """The checksum of a packet that is not cut: in its place is the pseudo header's sum (csum_start, csum_offset)."""
    at = start + offset
    packet[at : at + 2] = finished(total(packet[start:], halves(len(packet) - start))).to_bytes(2, "big")


def cut(packet: memoryview, l4: int, size: int, *, tcp: bool) -> Iterator[tuple[bytes, memoryview]]:
    """Header and payload of each packet, `size` octets of payload in all but the last. `l4`: where the TCP or UDP header
    begins."""
    same = _Same(packet, l4, tcp=tcp)
    begin, end, folds = same.octets, len(packet), halves(size)
    ident, sequence = same.ident, same.sequence
    make = same.tcp if tcp else same.udp
    for at in range(begin, end, size):
        payload = packet[at : at + size]
        flags = (same.flags & CWR if at == begin else 0) | (same.flags & _LAST if at + size >= end else 0)
        yield make(ident, sequence, flags, len(payload), total(payload, folds)), payload
        ident, sequence = ident + 1 & 0xFFFF, sequence + size & 0xFFFFFFFF


class _Same:
    """What headers of a flow have in common. `value`: the header as a number. `ip`, `l4`: the sums that its checksums begin
    with. How far left the fields are that are to be added, in that number, is what ends in `_at`."""

    def __init__(self, packet: memoryview, l4: int, *, tcp: bool) -> None:
        self.octets = octets = l4 + ((packet[l4 + 12] >> 4) * 4 if tcp else 8)
        header = bytearray(packet[:octets])
        self.v4 = header[0] >> 4 == 4
        self.flags = header[l4 + 13] if tcp else 0
        self.sequence = int.from_bytes(header[l4 + 4 : l4 + 8], "big")
        self.ident = int.from_bytes(header[4:6], "big")
        _clear(header, l4, tcp=tcp, v4=self.v4)
        self.value = int.from_bytes(header, "big")
        addresses = header[12:20] if self.v4 else header[8:40]
        self.ip, self.l4 = total(header[:l4]), total(header[l4:]) + total(addresses) + (TCP if tcp else UDP)
        self.ip_check_at, self.length_at = 8 * (octets - 12), 8 * (octets - (4 if self.v4 else 6))
        self.beyond = 0 if self.v4 else V6_HEADER  # what the length in the IP header leaves out
        self.ahead = octets - l4
        self.flags_at, self.check_at = 8 * (octets - l4 - 14), 8 * (octets - l4 - (18 if tcp else 8))

    def _ip(self, ident: int, payload: int) -> int:
        whole = self.octets + payload
        value = self.value + (whole - self.beyond << self.length_at)
        return value + ((ident << 48) + finished(self.ip + whole + ident) << self.ip_check_at) if self.v4 else value

    def tcp(self, ident: int, sequence: int, flags: int, payload: int, summed: int) -> bytes:
        check = finished(self.l4 + self.ahead + payload + sequence + flags + summed)
        value = self._ip(ident, payload) + ((sequence << 80) + check << self.check_at) + (flags << self.flags_at)
        return value.to_bytes(self.octets, "big")

    def udp(self, ident: int, _sequence: int, _flags: int, payload: int, summed: int) -> bytes:
        covered = self.ahead + payload
        check = finished(self.l4 + 2 * covered + summed)
        return (self._ip(ident, payload) + ((covered << 16) + check)).to_bytes(self.octets, "big")


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
