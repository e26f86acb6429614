"""What the pump's first process holds for each of its sockets: the descriptors, and two processes that use them, one for each
direction, so that a bulk transfer one way and its acknowledgements the other do not wait for each other.

A process that ends is started again with the same descriptors: what waits in a device and in the socket meanwhile is not lost.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from weft.tunnel import device
from weft.tunnel.batch import discover
from weft.tunnel.receiving import UDP_GRO
from weft.tunnel.sleeve import HOSTS, Sleeve
from weft.tunnel.table import Table

PAUSE = 0.5
"""Seconds between two attempts at what has failed."""
_RCVBUF, _SNDBUF = 16 << 20, 4 << 20
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
PACKETS, FRAMES = ("send", "receive"), ("send-frames", "receive-frames")
"""What the directions are called, to those who carry them."""


class Carried:
    """A UDP socket, and the processes that use it. `path`: what they go by; `words`: what each is called."""

    def __init__(self, path: Path, local: str, port: int, words: Sequence[str]) -> None:
        """Raises OSError."""
        self.path, self._words = path, words
        self.sock = udp_socket(local, port)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}

    def close(self) -> None:
        for worker in self.workers.values():
            worker.kill()
            worker.wait()
        self.sock.close()

    def tend(self) -> None:
        """Has both processes running. Raises OSError."""
        for word in self._words:
            worker = self.workers.get(word)
            if worker is None or worker.poll() is not None:
                if time.monotonic() < self._started.get(word, 0.0) + PAUSE:
                    raise OSError(0, f"the process that is to {word.replace('-', ' ')} ended soon after its start")
                self._started[word] = time.monotonic()
                self.workers[word] = self._start(word)

    def _start(self, word: str) -> subprocess.Popen[bytes]:
        fds = self.given(word)
        given = (word, str(self.path), str(os.getpid()), *map(str, fds))
        return subprocess.Popen([sys.executable, "-m", "weft.tunnel", *given], pass_fds=fds)

    def given(self, word: str) -> tuple[int, ...]:
        """The descriptors for a process that is to be started. Raises OSError."""
        raise NotImplementedError

    def reread(self) -> None:
        for worker in self.workers.values():
            worker.send_signal(signal.SIGHUP)


class Tunnel(Carried):
    """Packets of one device."""

    def __init__(self, path: Path, found: Table) -> None:
        """Raises OSError."""
        self.table = found
        super().__init__(path, *found.runs_on, PACKETS)
        try:
            self.tun = device.super_packets(path.name)
        except OSError:
            self.sock.close()
            raise

    def close(self) -> None:
        super().close()
        os.close(self.tun)

    def given(self, word: str) -> tuple[int, ...]:
        return self.tun, self.sock.fileno()

    def usable(self) -> bool:
        """Whether the descriptor still has its device: one that was removed and made again is another."""
        return device.lasts(self.tun)

    def take(self, found: Table) -> None:
        if self.table != found:
            self.table = found
            self.reread()


class Sleeves(Carried):
    """Frames of all devices. They come and go while the processes run, which are handed their descriptors."""

    def __init__(self, folder: Path, found: Sleeve) -> None:
        """Raises OSError."""
        super().__init__(folder / HOSTS, *found.runs_on, FRAMES)  # whose word is the folder is the first process
        self.devices: dict[Path, int] = {}
        self._known: dict[Path, object] = {}
        self._controls: dict[str, tuple[socket.socket, socket.socket]] = {}
        self._box = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def close(self) -> None:
        super().close()
        for pair in (self._box, *self._controls.values()):
            for end in pair:
                end.close()
        for fd in self.devices.values():
            os.close(fd)

    def given(self, word: str) -> tuple[int, ...]:
        for end in self._controls.pop(word, ()):
            end.close()
        mine, theirs = self._controls[word] = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mine.setblocking(False)
        for path in self.devices:
            self._hand_over(mine, path)
        return self.sock.fileno(), theirs.fileno(), self._box[FRAMES.index(word)].fileno()

    def _hand_over(self, control: socket.socket, path: Path) -> None:
        fds = [self.devices[path]] if path in self.devices else []
        socket.send_fds(control, [path.name.encode()], fds)

    def take(self, path: Path, about: object) -> None:
        """A device. `about`: what the processes have to read again where it is another than before. Raises OSError."""
        if path in self.devices and not device.lasts(self.devices[path]):
            self.give_up(path)
        if path not in self.devices:
            self.devices[path] = device.super_packets(path.name, device.IFF_TAP)
            self._told(path)
        if self._known.get(path) != about:
            self._known[path] = about
            self.reread()

    def give_up(self, path: Path) -> None:
        fd = self.devices.pop(path, None)
        if fd is not None:
            self._known.pop(path, None)
            with suppress(OSError):
                self._told(path)
            os.close(fd)
            self.reread()

    def _told(self, path: Path) -> None:
        for control, _ in self._controls.values():
            self._hand_over(control, path)


def udp_socket(local: str, port: int) -> socket.socket:
    """Raises OSError."""
    v6 = ":" in local
    sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        for option, size in ((_SO_RCVBUFFORCE, _RCVBUF), (_SO_SNDBUFFORCE, _SNDBUF)):
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, size)
        with suppress(OSError):
            sock.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
        discover(sock)
        sock.bind((local, port))
    except OSError:
        sock.close()
        raise
    return sock
