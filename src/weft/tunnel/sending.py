"""From the TUN device to other hosts.

One read gives one packet, or a super-packet of up to 64 KB that the kernel leaves to be cut. Packets of one size for one host
go in one call: the kernel makes a datagram of each (UDP_SEGMENT, Linux 4.18). So neither costs a call for each packet.

A packet is sent as soon as it is read. What has come meanwhile is read without waiting, and sent together.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Sequence

from weft.tunnel import icmp, packet
from weft.tunnel.counters import SLOT
from weft.tunnel.cut import cut, finish
from weft.tunnel.packet import GSO_ECN, GSO_UDP, NEEDS_CSUM, VNET
from weft.tunnel.worker import Worker

UDP_SEGMENT = 103
"""linux/udp.h."""
MOST_SEGMENTS, MOST_OCTETS = 64, 65507
"""Of one call (UDP_MAX_SEGMENTS; RFC 768 in IPv4)."""
_BUFFERS, _ROOM = 32, VNET.size + 65535
_PATIENCE = 8
"""How many packets are read before it is looked again whether there are more of them, when there were none."""
_IP_MTU, _IP_MTU_DISCOVER, _DO, _DONT = 14, 10, 2, 0
_IPV6_MTU, _IPV6_MTU_DISCOVER = 24, 23

Part = bytes | memoryview


class Sending(Worker):
    def run(self) -> None:
        """For ever. Raises OSError when the device is gone."""
        buffers = [memoryview(bytearray(_ROOM)) for _ in range(_BUFFERS)]
        first, batch = buffers[0], Batch(self)
        alone, patience = 0, 1
        while True:
            octets = os.readv(self.tun, [first])
            self.take(first[:octets], batch)
            batch.flush()
            alone += 1
            if alone >= patience:  # to look in vain each time would cost half as much again
                alone, patience = 0, 1 if self._meanwhile(buffers, batch) else _PATIENCE

    def _meanwhile(self, buffers: list[memoryview], batch: Batch) -> bool:
        """What has come since, as long as there is something; whether there was anything."""
        found = 0
        while True:
            before = found
            try:
                for buffer in buffers:
                    octets = os.preadv(self.tun, [buffer], -1, os.RWF_NOWAIT)
                    found += 1
                    self.take(buffer[:octets], batch)
            except BlockingIOError:
                pass
            batch.flush()
            if found - before < len(buffers):
                return found > 0

    def take(self, received: memoryview, batch: Batch) -> None:
        """As it was read. The kernel makes only packets that are whole; what a program put into the device may be anything."""
        found = received[VNET.size :]
        version = found[0] >> 4 if found else 0
        destination = bytes(found[16:20] if version == 4 else found[24:40])
        remote = self.ways.known.get(destination) or self.ways.find(destination, version)
        if remote is None:
            self._nowhere(found, destination, version)
        elif not packet.lives_on(found, version):
            self.drop("time to live exceeded")
            self.tell(icmp.EXPIRED, found)
        else:
            packet.pass_on(found, version)
            self._pack(found, remote, batch, VNET.unpack_from(received))

    def _pack(self, found: memoryview, remote: str, batch: Batch, vnet: tuple[int, ...]) -> None:
        flags, gso, _, size, start, offset = vnet
        if gso:
            if parts := cut(found, start, size, tcp=gso & ~GSO_ECN != GSO_UDP):
                batch.add_cut(remote, parts)
            return
        if flags & NEEDS_CSUM:
            finish(found, start, offset)
        batch.add(remote, found)

    # -- what cannot be sent -------------------------------------------------------------------------------------------

    def _nowhere(self, one: memoryview, destination: bytes, version: int) -> None:
        """The host's own kernel speaks IPv6's multicast on every device; that nobody takes it is no loss to count."""
        if version == 6 and destination[:1] == b"\xff":
            return
        self.drop("no host holds the destination")
        if packet.length(one):
            self.tell(icmp.NO_ROUTE, one)

    def too_big(self, remote: str, one: memoryview) -> None:
        """The path carries less than the uplink. A packet that may be cut is sent in fragments, as a router would; of others
        the sender is told what fits."""
        version = one[0] >> 4
        if version == 4 and not one[6] & 0x40:
            self._discover(_DONT)
            try:
                self.sock.sendto(one, (remote, self.ways.port))
                return
            except OSError:
                self.drop("not sent")
            finally:
                self._discover(_DO)
        else:
            self.drop("larger than the path's MTU")
            self.tell(icmp.TOO_BIG, one, self._path_mtu(remote))

    def _discover(self, how: int) -> None:
        discover(self.sock, how)

    def _path_mtu(self, remote: str) -> int:
        """What is left of it for packets."""
        v6 = self.sock.family == socket.AF_INET6
        with socket.socket(self.sock.family, socket.SOCK_DGRAM) as probe:
            probe.connect((remote, self.ways.port))
            level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if v6 else (socket.IPPROTO_IP, _IP_MTU)
            return min(probe.getsockopt(level, option) - (48 if v6 else 28), self.table.mtu)


def discover(sock: socket.socket, how: int = _DO) -> None:
    """Whether datagrams may be cut on their way (ip(7), IP_MTU_DISCOVER)."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, how)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, how)


class Batch:
    """Packets for one host, of one size but for the last, which may be smaller: they go in one call."""

    def __init__(self, worker: Sending) -> None:
        self._worker, self._sock = worker, worker.sock
        self._count, self._port = worker.count, worker.table.port
        self._remote, self._size, self._octets, self._packets = "", 0, 0, 0
        self._parts: list[Part] = []
        self._open = False

    def add(self, remote: str, one: memoryview) -> None:
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
                self._sock.sendto(self._parts[0], (self._remote, self._port))
            else:
                self._sock.sendmsg(self._parts, ancillary, 0, (self._remote, self._port))
            self._count[_SENT] += packets
            self._count[_SENT_OCTETS] += self._octets
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
                    self._sock.sendmsg([one], (), 0, (self._remote, self._port))
                    self._count[_SENT] += 1
                    self._count[_SENT_OCTETS] += len(one)
                    continue
            except OSError as again:
                error = again
            if error.errno == errno.EMSGSIZE:
                self._worker.too_big(self._remote, one)
            else:
                self._worker.drop("not sent")


_SENT, _SENT_OCTETS = SLOT["sent packets"], SLOT["sent octets"]
