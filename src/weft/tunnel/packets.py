"""Packets of a TUN device, as driver udp has them: a datagram is one packet and nothing else.

The pump is a router of its own: where a packet goes it finds by the destination address, it takes one from the time to live,
and tells the sender what it cannot deliver. What comes in has to come from the host that holds its source, and go to what is
here.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from weft.tunnel import counters, icmp, packet, table
from weft.tunnel.batch import Batch, in_fragments, path_mtu
from weft.tunnel.checksum import finished, total
from weft.tunnel.cut import cut, finish
from weft.tunnel.join import joined
from weft.tunnel.packet import GSO_ECN, GSO_UDP, NEEDS_CSUM, PLAIN, VNET
from weft.tunnel.receiving import Receiving
from weft.tunnel.sending import Sending
from weft.tunnel.ways import WIDTH, Sender, Ways, within
from weft.tunnel.worker import Worker

_V4 = struct.Struct(">BxH4xB3x8s")
"""Version and header's size, length, TTL, both addresses."""
_ENDS = slice(12, 24)
"""What two packets of a flow have in common and of others mostly not: IPv4 addresses and ports, or most of IPv6 addresses."""


class Packets(Worker):
    """Of the device whose table is at `path`; `tun`: its descriptor."""

    def __init__(self, path: Path, tun: int, sock: socket.socket) -> None:
        super().__init__(sock)
        self.path, self.tun = path, tun
        self.table = table.read(path)
        self.ways = Ways(self.table)
        self.count = counters.opened(table.beside(path, table.COUNTERS))
        self._errors: dict[int, socket.socket] = {}

    @property
    def port(self) -> int:
        return self.ways.port

    def reread(self) -> None:
        with suppress(OSError, ValueError):  # then by what is known
            found = table.read(self.path)
            ways = Ways(found)
            self.table, self.ways = found, ways
            self._errors.clear()  # they may be bound to an address that was this tunnel's

    def tell(self, kind: dict[int, tuple[int, int]], about: memoryview, mtu: int = 0) -> None:
        """The sender of a packet why it goes no further, from the tunnel's own address. The device would not take such a
        packet in, because its source is the host's own; so it is sent as the host's."""
        version = about[0] >> 4
        if version not in self.ways.base or not icmp.may_be_told(about) or self.told_enough():
            return
        message = icmp.message(kind[version], about, mtu)
        target = bytes(about[12:16] if version == 4 else about[8:24])
        if version == 4:
            message = message[:2] + finished(total(message)).to_bytes(2, "big") + message[4:]
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with suppress(OSError):
            self._error_socket(version).sendto(message, (socket.inet_ntop(family, target), 0))

    def _error_socket(self, version: int) -> socket.socket:
        found = self._errors.get(version)
        if found is None:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            found = socket.socket(family, socket.SOCK_RAW, packet.ICMP if version == 4 else packet.ICMP6)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # nobody reads what comes
            base = self.ways.base[version].to_bytes(WIDTH[version] // 8, "big")
            found.bind((socket.inet_ntop(family, base), 0))
            self._errors[version] = found
        return found


class Outward(Packets, Sending):
    def ready(self, _batch: Batch) -> Iterable[int]:
        """There is one, and reading it waits."""
        return (self.tun,)

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
        to = (remote, self.port)
        if packet.may_be_cut(one):
            try:
                in_fragments(self.sock, one, to)
            except OSError:
                self.drop("not sent")
        else:
            self.drop("larger than the path's MTU")
            self.tell(icmp.TOO_BIG, one, min(path_mtu(self.sock.family, to), self.table.mtu))


class Inward(Packets, Receiving):
    def take(self, received: memoryview, size: int, host: str, port: int) -> None:
        """Datagrams behind an empty virtio-net header. `size`: of each of them but the last."""
        found = received[len(PLAIN) :]
        octets = len(found)
        sender = self.ways.senders.get(host)
        if sender is None or port != self.ways.port:
            self.drop("sender unknown", -(-octets // size) if size else 1)
        elif octets > size:
            self._in_turn([found[at : at + size] for at in range(0, octets, size)], sender)
        elif self._good(found, sender):
            packet.pass_on(found, found[0] >> 4)
            self.write(self.tun, [received], 1)

    def _in_turn(self, packets: list[memoryview], sender: Sender) -> None:
        """A burst's headers agree with its first one's, so that one stands for all."""
        at = 0
        while at < len(packets):
            first = packets[at]
            if not self._good(first, sender):
                at += 1
                continue
            version = first[0] >> 4
            alike = at + 1 < len(packets) and first[_ENDS] == packets[at + 1][_ENDS]
            burst = joined(packets, at) if alike else None
            if burst is None:
                packet.pass_on(first, version)
                self.write(self.tun, [PLAIN, first], 1)
                at += 1
            else:
                packet.pass_on(memoryview(burst.header), version)
                self.write(self.tun, [burst.vnet, burst.header, *burst.payload], len(burst.payload))
                at += len(burst.payload)

    def _good(self, one: memoryview, sender: Sender) -> bool:
        """Whether it may come in."""
        if len(one) >= packet.V4_HEADER:
            first, octets, ttl, ends = _V4.unpack_from(one)
            if first == 0x45 and octets == len(one) and ttl > 1 and ends in sender.proven:
                return True
        return self._examined(one, sender)

    def _examined(self, one: memoryview, sender: Sender) -> bool:
        if packet.length(one) != len(one) or not len(one):
            self.drop("malformed")
            return False
        version = one[0] >> 4
        if not within(packet.source(one, version), sender.networks[version]):
            self.drop("source not the sender's")
        elif not within(packet.destination(one, version), self.ways.own[version]):
            self.drop("destination not here")
        elif not packet.lives_on(one, version):
            self.drop("time to live exceeded on arrival")
            self.tell(icmp.EXPIRED, one)
        else:
            if version == 4:
                sender.prove(bytes(one[12:20]))
            return True
        return False
