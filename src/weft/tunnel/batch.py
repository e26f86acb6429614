"""Datagrams to other hosts: those of one size for one host go in one call, and the kernel makes them of it (UDP_SEGMENT, Linux
4.18)."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Sequence
from typing import Protocol

from weft.tunnel.counters import SLOT

UDP_SEGMENT = 103
"""linux/udp.h."""
MOST_SEGMENTS, MOST_OCTETS = 64, 65507
"""Of one call (UDP_MAX_SEGMENTS; RFC 768 in IPv4)."""
_IP_MTU, _IP_MTU_DISCOVER, _DO, _DONT = 14, 10, 2, 0
_IPV6_MTU, _IPV6_MTU_DISCOVER = 24, 23

Part = bytes | memoryview


class Sender(Protocol):
    """Whose datagrams these are. `port`: where all hosts take them. `count`: what is counted now."""

    sock: socket.socket
    count: memoryview

    @property
    def port(self) -> int: ...

    def drop(self, reason: str) -> None: ...

    def too_big(self, remote: str, one: memoryview) -> None:
        """What becomes of a datagram that the path does not carry."""


def discover(sock: socket.socket, how: int = _DO) -> None:
    """Whether datagrams may be cut on their way (ip(7), IP_MTU_DISCOVER)."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, how)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, how)


def in_fragments(sock: socket.socket, one: memoryview, to: tuple[str, int]) -> None:
    """A datagram that may be cut on its way. Raises OSError."""
    discover(sock, _DONT)
    try:
        sock.sendto(one, to)
    finally:
        discover(sock, _DO)


def path_mtu(family: int, to: tuple[str, int]) -> int:
    """What fits into a datagram, as far as the kernel knows. Raises OSError."""
    v6 = family == socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(to)
        level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if v6 else (socket.IPPROTO_IP, _IP_MTU)
        return probe.getsockopt(level, option) - (48 if v6 else 28)


class Batch:
    """Packets for one host, of one size but for the last, which may be smaller: they go in one call."""

    def __init__(self, worker: Sender) -> None:
        self._worker, self._sock = worker, worker.sock
        self._remote, self._size, self._octets, self._packets = "", 0, 0, 0
        self._parts: list[Part] = []
        self._open = False

    def add(self, remote: str, one: Part) -> None:
        octets = len(one)
        self._room(remote, octets)
        self._put([one], 1, octets)
        self._open = octets == self._size

    def add_cut(self, remote: str, parts: list[Part]) -> None:
        """Header and payload in turn, of packets of one size but for the last, which may be smaller."""
        size, last = len(parts[0]) + len(parts[1]), len(parts[-2]) + len(parts[-1])
        at, count = 0, len(parts) // 2
        while at < count:
            fit = min(count - at, self._room(remote, size if at < count - 1 else last))
            tail = last if at + fit == count else size
            self._put(parts[2 * at : 2 * (at + fit)], fit, (fit - 1) * size + tail)
            self._open = tail == self._size
            at += fit

    def _room(self, remote: str, octets: int) -> int:
        """How many packets of that size can be added; what has been added is sent where none can."""
        if self._open and remote == self._remote and octets <= self._size:
            fit = min(MOST_SEGMENTS - self._packets, (MOST_OCTETS - self._octets) // octets)
            if fit > 0:
                return fit if octets == self._size else 1
        self.flush()
        self._remote, self._size = remote, octets
        return min(MOST_SEGMENTS, MOST_OCTETS // octets)

    def _put(self, parts: Sequence[Part], packets: int, octets: int) -> None:
        self._parts += parts
        self._packets += packets
        self._octets += octets

    def flush(self) -> None:
        packets = self._packets
        if not packets:
            return
        ancillary: tuple[tuple[int, int, bytes], ...] = ()
        if packets > 1:
            ancillary = ((socket.SOL_UDP, UDP_SEGMENT, self._size.to_bytes(2, sys.byteorder)),)
        try:
            if len(self._parts) == 1:  # as most packets that somebody waits for
                self._sock.sendto(self._parts[0], (self._remote, self._worker.port))
            else:
                self._sock.sendmsg(self._parts, ancillary, 0, (self._remote, self._worker.port))
            self._worker.count[_SENT] += packets
            self._worker.count[_SENT_OCTETS] += self._octets
        except OSError as error:
            self._one_by_one(error)
        self._parts, self._packets, self._octets, self._open = [], 0, 0, False

    def _one_by_one(self, error: OSError) -> None:
        """Where the kernel does not take them together, or not at all."""
        whole = memoryview(bytearray(b"".join(self._parts)))
        for at in range(0, len(whole), self._size):
            one = whole[at : at + self._size]
            try:
                if self._packets > 1:
                    self._sock.sendmsg([one], (), 0, (self._remote, self._worker.port))
                    self._worker.count[_SENT] += 1
                    self._worker.count[_SENT_OCTETS] += len(one)
                    continue
            except OSError as again:
                error = again
            if error.errno == errno.EMSGSIZE:
                self._worker.too_big(self._remote, one)
            else:
                self._worker.drop("not sent")


_SENT, _SENT_OCTETS = SLOT["sent packets"], SLOT["sent octets"]
