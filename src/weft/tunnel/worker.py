"""What both directions have in common: a table that is read again upon a signal, counters, ICMP messages."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from weft.tunnel import counters, icmp, packet, table
from weft.tunnel.checksum import finished, total
from weft.tunnel.counters import SLOT
from weft.tunnel.ways import WIDTH, Ways

_PR_SET_PDEATHSIG = 1
_NICE = -10
"""As the kernel's own forwarding, packets go before what the host's processes do, as far as that can be said of a process."""
_RARELY = 100_000
"""New objects until unreachable ones are looked for: a packet leaves none."""
_TOLD_PER_SECOND = 200
"""ICMP messages: a flood of packets to nowhere is not answered one by one."""


class Worker:
    """`tun`, `sock`: the device's descriptor, and the UDP socket, which both directions share."""

    def __init__(self, path: Path, tun: int, sock: socket.socket) -> None:
        self.path, self.tun, self.sock = path, tun, sock
        self.table = table.read(path)
        self.ways = Ways(self.table)
        self.count = counters.opened(table.beside(path, table.COUNTERS))
        self._errors: dict[int, socket.socket] = {}
        self._second, self._told = 0, 0

    def obey(self, parent: int) -> None:
        """Ends with the process that started this one; reads the table again upon SIGHUP, which was blocked until now."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit("its parent has ended")
        with suppress(OSError):  # it may be forbidden
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        gc.freeze()
        gc.set_threshold(_RARELY)
        signal.signal(signal.SIGHUP, lambda *_: self.reread())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
        self.reread()

    def reread(self) -> None:
        """The table, upon a change."""
        with suppress(OSError, ValueError):  # then by what is known
            found = table.read(self.path)
            ways = Ways(found)
            self.table, self.ways = found, ways
            self._errors.clear()  # they may be bound to an address that was this tunnel's

    def drop(self, reason: str, octets: int = 1) -> None:
        self.count[SLOT[reason]] += octets

    def tell(self, kind: dict[int, tuple[int, int]], about: memoryview, mtu: int = 0) -> None:
        """The sender of a packet why it goes no further, from the tunnel's own address. The device would not take such a
        packet in, because its source is the host's own; so it is sent as the host's."""
        version = about[0] >> 4
        if version not in self.ways.base or not icmp.may_be_told(about) or self._enough():
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

    def _enough(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._told = second, 0
        self._told += 1
        return self._told > _TOLD_PER_SECOND
