"""From other hosts to the TUN device.

One call gives up to 64 KB of datagrams from one host, all of one size but the last (UDP_GRO, Linux 5.0). Each is one IP packet.
Who sent it and where it goes is looked at before anything else; those that follow each other in a flow are written as one
super-packet.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from socket import CMSG_SPACE, SOL_UDP

from weft.tunnel import icmp, packet
from weft.tunnel.counters import SLOT
from weft.tunnel.join import joined
from weft.tunnel.packet import PLAIN
from weft.tunnel.ways import Sender, within
from weft.tunnel.worker import Worker

UDP_GRO = 104
"""linux/udp.h."""
_ROOM = 1 << 16
_V4 = struct.Struct(">BxH4xB3x8s")
"""Version and header's size, length, TTL, both addresses."""
_ENDS = slice(12, 24)
"""What two packets of a flow have in common and of others mostly not: IPv4 addresses and ports, or most of IPv6 addresses."""
_PACKETS, _OCTETS = SLOT["received packets"], SLOT["received octets"]


class Receiving(Worker):
    def run(self) -> None:
        """For ever. Raises OSError when the device is gone."""
        whole = memoryview(bytearray(len(PLAIN) + _ROOM))  # a single packet is written with its header in one piece
        buffer, space = [whole[len(PLAIN) :]], CMSG_SPACE(4)
        receive = self.sock.recvmsg_into
        while True:
            octets, ancillary, _, sender = receive(buffer, space)
            size = octets
            for level, kind, value in ancillary:
                if level == SOL_UDP and kind == UDP_GRO:
                    size = int.from_bytes(value, sys.byteorder)
            self.take(whole[: len(PLAIN) + octets], size, sender[0], sender[1])

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
            self._write([received], 1)

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
                self._write([PLAIN, first], 1)
                at += 1
            else:
                packet.pass_on(memoryview(burst.header), version)
                self._write([burst.vnet, burst.header, *burst.payload], len(burst.payload))
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

    def _write(self, parts: list[bytes | bytearray | memoryview], packets: int) -> None:
        try:
            octets = os.writev(self.tun, parts)
        except OSError as error:
            if error.errno == errno.EBADFD:
                raise
            self._refused(parts, packets)
            return
        self.count[_PACKETS] += packets
        self.count[_OCTETS] += octets - len(PLAIN)

    def _refused(self, parts: list[bytes | bytearray | memoryview], packets: int) -> None:
        """The device is down, or takes no super-packets of this kind."""
        self.drop("not taken by the device", packets)
