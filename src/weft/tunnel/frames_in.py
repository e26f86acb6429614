"""Frames from other hosts to this host's TAP devices; and those for other hosts, which are passed on.

What comes has to come from the address of the host that it names, or from a host that passed it on; it has to be for a network
that is here, in clear or sealed as that one is, and must not be from a station that is elsewhere.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from weft.tunnel import frame
from weft.tunnel.batch import Batch, in_fragments
from weft.tunnel.frame import CLEAR, ETHERNET, HEAD, HELLO, HOPS, SEALED, STALE, TTL_AT, VERSION
from weft.tunnel.frames import Device, Frames
from weft.tunnel.join import joined
from weft.tunnel.packet import PLAIN, length
from weft.tunnel.receiving import Receiving

if TYPE_CHECKING:  # what encrypts is loaded where something is encrypted
    from weft.tunnel.seal import Opening

_PAUSE = 0.1
"""Seconds between two times that a host is told to ask again."""
_ENDS = slice(12, 24)
"""Of an IP header: what two packets of a flow have in common and of others mostly not."""


class Inward(Frames, Receiving):
    def __init__(self, folder: Path, sock: socket.socket, control: socket.socket, box: socket.socket) -> None:
        super().__init__(folder, sock, control, box)
        self._networks: dict[int, Device] = {}
        self._numbers: frozenset[int] = frozenset()
        self._opening: Opening | None = None
        self._told_again: dict[int, float] = {}
        self._onward = Batch(self)

    def changed(self) -> None:
        self._networks = {device.table.network: device for device in self.devices}
        self._numbers = frozenset(device.table.number for device in self.devices)
        if self.secrets and self._opening is None:
            from weft.tunnel.seal import Opening

            self._opening = Opening()
        if self._opening is not None:
            self._opening.secrets = tuple(self.secrets)

    def take(self, received: memoryview, size: int, host: str, port: int) -> None:
        self.bury()
        found = received[len(PLAIN) :]
        octets, at = len(found), 0
        packets = [found[begin : begin + size] for begin in range(0, octets, size)] if octets else [found]
        while at < len(packets):
            self.count = self.of_host
            at += self._next(packets, at, host, port)

    def _next(self, packets: list[memoryview], at: int, host: str, port: int) -> int:
        """How many were dealt with: those that follow the first one, as far as they are of its kind, are it with it."""
        first = packets[at]
        if len(first) < HEAD.size or first[0] != VERSION:
            return self._dropped("malformed")
        _, hops, source, destination, about = HEAD.unpack_from(first)
        if port != self.port or not self.hosts.sent(source, host, straight=hops == HOPS):
            return self._dropped("sender unknown")
        if destination not in self._numbers:
            return self._pass_on(packets, at, destination, hops)
        kind, device = about & 0xFF, self._networks.get(about >> 8)
        if kind not in (CLEAR, SEALED):
            return self._greeted(first, source, destination)
        if device is None:
            return self._dropped("destination not here")
        if kind == SEALED:
            return self._open(packets, at, device, source)
        if device.table.encrypted:
            self.count = device.count
            return self._dropped("clear")
        return self._come_in(packets, at, device, source, HEAD.size)

    def _dropped(self, reason: str) -> int:
        self.drop(reason)
        return 1

    def _come_in(self, packets: list[memoryview], at: int, device: Device, source: int, outer: int) -> int:
        """As one where those that follow are of its flow: their headers agree with the first one's, which stands for all.
        `outer`: octets ahead of each frame."""
        first, l3 = packets[at], outer + ETHERNET
        self.count = device.count
        if len(first) < l3:
            return self._dropped("malformed")
        if device.stations.places.get(bytes(first[outer + 6 : outer + 12]), source) != source:
            return self._dropped("source not the sender's")
        burst = None
        if at + 1 < len(packets):
            packet, follower = first[l3:], packets[at + 1][l3:]
            alike = bytes(packet[_ENDS]) == bytes(follower[_ENDS]) and frame.l3(first[outer:]) == ETHERNET
            if alike and length(packet) == len(packet):
                burst = joined(packets, at, l3=l3, outer=outer)
        if burst is None:
            if outer:
                first[:outer] = PLAIN  # as long as what was there: written in one piece
            self.write(device.fd, [first] if outer else [PLAIN, first], 1)
            return 1
        self.write(device.fd, [burst.vnet, burst.header, *burst.payload], len(burst.payload))
        return len(burst.payload)

    # -- passed on -----------------------------------------------------------------------------------------------------

    def _alike(self, packets: list[memoryview], at: int) -> list[memoryview]:
        """Those from there on that have the same ahead of them."""
        head, end = bytes(packets[at][: HEAD.size]), at + 1
        while end < len(packets) and bytes(packets[end][: HEAD.size]) == head:
            end += 1
        return packets[at:end]

    def _pass_on(self, packets: list[memoryview], at: int, destination: int, hops: int) -> int:
        group = self._alike(packets, at)
        remote = self.hosts.onward(destination)
        if not remote or hops < HOPS:
            self.drop("not to be passed on", len(group))
            return len(group)
        for one in group:
            one[TTL_AT] = hops - 1
            self._onward.add(remote, one)
        self._onward.flush()
        return len(group)

    def too_big(self, remote: str, one: memoryview) -> None:
        """Of what is passed on, nobody here can tell whose it is."""
        try:
            in_fragments(self.sock, one, (remote, self.port))
        except OSError:
            self.drop("not sent")

    # -- encrypted -----------------------------------------------------------------------------------------------------

    def _open(self, packets: list[memoryview], at: int, device: Device, source: int) -> int:
        group, found = self._alike(packets, at), []
        if self._opening is None:
            self.drop("forged", len(group))
            return len(group)
        from weft.tunnel.seal import EARLIER, Refused

        for one in group:
            try:
                found.append(memoryview(self._opening.open(one)))
            except Refused as refused:
                self.drop(refused.reason)
                if refused.reason == EARLIER:
                    self._ask_again(source, device.table.number)
        at = 0
        while at < len(found):
            at += self._come_in(found, at, device, source, 0)
        return len(group)

    def _ask_again(self, source: int, number: int) -> None:
        """What it seals by is what was told it by a process that is no more."""
        from weft.tunnel.hello import told

        now = time.monotonic()
        if now < self._told_again.get(source, 0.0):
            return
        self._told_again[source] = now + _PAUSE
        for secret in self.secrets:
            self._answer(told(STALE, number, source, secret, b""), source)

    def _greeted(self, datagram: memoryview, source: int, number: int) -> int:
        """What hosts tell each other before they encrypt."""
        if self._opening is None:
            return self._dropped("of another secret")
        from weft.tunnel.hello import heard, welcome

        if datagram[HEAD.size - 1] == HELLO:
            answer = welcome(number, datagram, self.secrets, self._opening.own)
            if answer is None:
                return self._dropped("of another secret")
            self._answer(answer, source)
        elif heard(datagram, self.secrets) is None:
            return self._dropped("of another secret")
        else:
            with suppress(OSError):
                self.box.send(datagram, socket.MSG_DONTWAIT)
        return 1

    def _answer(self, datagram: bytes, source: int) -> None:
        with suppress(OSError):
            self.sock.sendto(datagram, (self.hosts.next(source), self.port))
