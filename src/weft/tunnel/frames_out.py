"""Frames from this host's TAP devices to other hosts: to the one that has the station, or to all that get what is for many.

What is encrypted waits, a few frames of it, until the other host has said what its keys are made of (`weft.tunnel.hello`).
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from weft.tunnel import frame, icmp, packet
from weft.tunnel.batch import Batch, in_fragments, path_mtu
from weft.tunnel.cut import cut, finish
from weft.tunnel.frame import ETHERNET, HEAD, SEALED
from weft.tunnel.frames import Device, Frames
from weft.tunnel.packet import GSO_ECN, GSO_UDP, NEEDS_CSUM, PLAIN, VNET
from weft.tunnel.sending import Sending
from weft.tunnel.stations import Way

if TYPE_CHECKING:  # what encrypts is loaded where something is to be encrypted
    from weft.tunnel.hello import Asking

_PLAIN = VNET.unpack(PLAIN)
_WAITING = 16
"""Frames for a host that has not answered yet."""


class Waiting(NamedTuple):
    device: Device
    found: bytes
    vnet: tuple[int, ...]
    way: Way


class Outward(Frames, Sending):
    """`here`: the device that is read now."""

    here: Device

    def __init__(self, folder: Path, sock: socket.socket, control: socket.socket, box: socket.socket) -> None:
        super().__init__(folder, sock, control, box)
        self._own = os.urandom(8)
        self._asking: dict[int, Asking] = {}
        self._waiting: dict[int, deque[Waiting]] = {}
        self._by_fd: dict[int, Device] = {}
        self._poll = select.epoll()
        self._poll.register(box, select.EPOLLIN)

    def changed(self) -> None:
        found = {device.fd: device for device in self.devices}
        for fd in self._by_fd.keys() - found.keys():
            with suppress(OSError):
                self._poll.unregister(fd)
        for fd in found.keys() - self._by_fd.keys():
            self._poll.register(fd, select.EPOLLIN)
        self._by_fd = found

    def ready(self, batch: Batch) -> Iterable[int]:
        self.bury()
        for fd, _ in self._poll.poll():
            device = self._by_fd.get(fd)
            if device is not None:
                self.here, self.count = device, device.count
                yield fd
            elif fd == self.box.fileno():
                self._hear(batch)

    def take(self, received: memoryview, batch: Batch) -> None:
        found, vnet = received[VNET.size :], VNET.unpack_from(received)
        ways = self.here.stations.find(bytes(found[:6]))
        if len(found) < ETHERNET or not ways:
            if not found or not found[0] & 1:  # what is for many is for nobody where there are no others: no loss
                self.drop("no host holds the destination")
            return
        if vnet[0] & NEEDS_CSUM and not vnet[1]:
            finish(found, vnet[4], vnet[5])
        if len(ways) == 1 and not (vnet[1] or ways[0].mtu or self.here.table.encrypted):
            received[: HEAD.size] = ways[0].head  # as long as what was there: a datagram in one piece
            batch.add(ways[0].remote, received)
            return
        for way in ways:
            if not way.mtu or not self._longer(found, vnet, way, batch):
                self._send(found, vnet, way, batch)

    def _send(self, found: memoryview, vnet: tuple[int, ...], way: Way, batch: Batch) -> None:
        if self.here.table.encrypted:
            self._seal(found, vnet, way, batch)
        elif not vnet[1]:
            batch.add_cut(way.remote, [way.head, found])
        elif parts := _cut(found, vnet, way.head):
            batch.add_cut(way.remote, parts)
        else:
            self.drop("not sent")

    # -- encrypted -----------------------------------------------------------------------------------------------------

    def _seal(self, found: memoryview, vnet: tuple[int, ...], way: Way, batch: Batch) -> None:
        now = time.monotonic()
        asking = self._asked(way, now)
        sealing = asking.sealing
        if not sealing.ready:
            waiting = self._waiting.setdefault(way.number, deque())
            if len(waiting) < _WAITING:
                waiting.append(Waiting(self.here, bytes(found), vnet, way))
            else:
                self.drop("no key agreed on yet")
            return
        sealing.refresh(now)
        if not vnet[1]:
            batch.add(way.remote, sealing.seal(way.head, way.quiet, found))
            return
        parts = _cut(found, vnet, b"")
        for header, payload in zip(parts[::2], parts[1::2], strict=True):
            batch.add(way.remote, sealing.seal(way.head, way.quiet, b"".join((header, payload))))

    def _asked(self, way: Way, now: float) -> Asking:
        """Who has the key for that host, or asks for what it is made of."""
        found = self._asking.get(way.number)
        if found is None:
            from weft.tunnel.hello import Asking

            found = self._asking[way.number] = Asking(self.here.table.number, way.number, self._own)
        for question in found.questions(self.secrets, now):
            with suppress(OSError):
                self.sock.sendto(question, (way.remote, self.port))
        return found

    def _hear(self, batch: Batch) -> None:
        """An answer."""
        with suppress(BlockingIOError):
            datagram = memoryview(self.box.recv(512, socket.MSG_DONTWAIT))
            number = int.from_bytes(datagram[2:4], "big")
            asking = self._asking.get(number)
            if asking is None:
                return
            asking.hear(datagram, self.secrets, time.monotonic())
            if asking.sealing.ready:
                for device, found, vnet, way in self._waiting.pop(number, ()):
                    self.here, self.count = device, device.count
                    self._send(memoryview(found), vnet, way, batch)
                    batch.flush()

    # -- what is too big -----------------------------------------------------------------------------------------------

    def _longer(self, found: memoryview, vnet: tuple[int, ...], way: Way, batch: Batch) -> bool:
        """Whether it is longer than what probes found to pass: then its sender was told, or it was sent in fragments."""
        begin, about = frame.l3(found), frame.packet(found)
        octets = vnet[2] + vnet[3] - begin if vnet[1] else len(about)
        if octets <= way.mtu or self._refused(found, way.mtu):
            return octets > way.mtu
        if vnet[1] or not packet.may_be_cut(about):
            return False
        for each in packet.fragments(about, way.mtu):
            self._send(memoryview(bytes(found[:begin]) + each), _PLAIN, way, batch)
        return True

    def too_big(self, remote: str, one: memoryview) -> None:
        """The path carries less than the uplink."""
        to, sealed = (remote, self.port), one[HEAD.size - 1] == SEALED
        found = one[HEAD.size :]
        try:
            if sealed:
                found = memoryview(self._asking[int.from_bytes(one[4:6], "big")].sealing.opened(one))
            ahead = ETHERNET + len(one) - len(found)
            if not self._refused(found, path_mtu(self.sock.family, to) - ahead):
                in_fragments(self.sock, one, to)
        except (OSError, ValueError):
            self.drop("not sent")

    def _refused(self, found: memoryview, mtu: int) -> bool:
        """The sender of a packet that may not be cut is told what fits; False: it may be, or is for many."""
        about = frame.packet(found)
        if not about or found[0] & 1 or packet.may_be_cut(about):
            return False
        self.drop("larger than the path's MTU")
        if icmp.may_be_told(about) and not self.told_enough():
            ethernet = bytes(found[6:12]) + bytes(found[:6]) + bytes(found[12 : frame.l3(found)])
            with suppress(OSError):
                os.writev(self.here.fd, [PLAIN, ethernet, icmp.answer(icmp.TOO_BIG, about, mtu)])
        return True


def _cut(found: memoryview, vnet: tuple[int, ...], ahead: bytes) -> list[bytes | memoryview]:
    """Frames, each with `ahead` before it: what that begins with, and the rest, in turn. None of what is no IP packet."""
    begin = frame.l3(found)
    if not begin:
        return []
    tcp = vnet[1] & ~GSO_ECN != GSO_UDP
    return cut(found[begin:], vnet[4] - begin, vnet[3], tcp=tcp, ahead=ahead + bytes(found[:begin]))
