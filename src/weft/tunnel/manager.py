"""The pump's first process: for each table in its folder it opens the device and a UDP socket, and has two processes, one for
each direction, so that a bulk transfer one way and its acknowledgements the other do not wait for each other.

The descriptors stay open here. A process that ends is started again with the same ones; what waits in the device and in the
socket meanwhile is not lost.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from weft.tunnel import device, table
from weft.tunnel.receiving import UDP_GRO
from weft.tunnel.sending import discover
from weft.tunnel.table import Table
from weft.tunnel.ways import Ways

PAUSE = 0.5
"""Seconds between two attempts at what has failed."""
_RCVBUF, _SNDBUF = 16 << 20, 4 << 20
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_IN_CLOSE_WRITE, _IN_MOVED_TO, _IN_DELETE = 0x8, 0x80, 0x200
_GONE = struct.pack("iIII", 1, 0x8000, 0, 0)
"""The last event of a folder that was removed: IN_IGNORED, of an inotify's first watch."""
DIRECTIONS = ("send", "receive")


class Tunnel:
    """One device, its socket, and the processes that use them."""

    def __init__(self, path: Path, found: Table) -> None:
        """Raises OSError."""
        self.path, self.table = path, found
        self.sock = udp_socket(found)
        try:
            self.tun = device.super_packets(path.name)
        except OSError:
            self.sock.close()
            raise
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}

    def close(self) -> None:
        for worker in self.workers.values():
            worker.kill()
            worker.wait()
        self.sock.close()
        os.close(self.tun)

    def usable(self) -> bool:
        """Whether the descriptor still has its device: one that was removed and made again is another."""
        return device.lasts(self.tun)

    def tend(self) -> None:
        """Has both processes running. Raises OSError."""
        for direction in DIRECTIONS:
            worker = self.workers.get(direction)
            if worker is None or worker.poll() is not None:
                if time.monotonic() < self._started.get(direction, 0.0) + PAUSE:
                    raise OSError(0, f"the process that is to {direction} ended soon after its start")
                self._started[direction] = time.monotonic()
                self.workers[direction] = self._start(direction)

    def _start(self, direction: str) -> subprocess.Popen[bytes]:
        given = (direction, str(self.path), str(os.getpid()), str(self.tun), str(self.sock.fileno()))
        descriptors = (self.tun, self.sock.fileno())
        return subprocess.Popen([sys.executable, "-m", "weft.tunnel", *given], pass_fds=descriptors)

    def reread(self, found: Table) -> None:
        self.table = found
        for worker in self.workers.values():
            worker.send_signal(signal.SIGHUP)


def udp_socket(found: Table) -> socket.socket:
    """Raises OSError."""
    v6 = ":" in found.local
    sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        for option, size in ((_SO_RCVBUFFORCE, _RCVBUF), (_SO_SNDBUFFORCE, _SNDBUF)):
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, size)
        with suppress(OSError):
            sock.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
        discover(sock)
        sock.bind((found.local, found.port))
    except OSError:
        sock.close()
        raise
    return sock


class Manager:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tunnels: dict[Path, Tunnel] = {}
        self._seen: set[Path] = set()

    def run(self) -> None:
        """For ever."""
        changes, watched = watch(self.folder), inode(self.folder)
        poll = select.poll()
        poll.register(changes, select.POLLIN)
        while True:
            failed = self.look()
            workers = [w for tunnel in self.tunnels.values() for w in tunnel.workers.values() if w.returncode is None]
            pidfds = [os.pidfd_open(worker.pid) for worker in workers]
            for fd in pidfds:
                poll.register(fd, select.POLLIN)
            ready = poll.poll(1000 * PAUSE if failed else None)
            for fd in pidfds:
                poll.unregister(fd)
                os.close(fd)
            if any(fd == changes for fd, _ in ready):
                events = os.read(changes, 1 << 16)
                if events.endswith(_GONE) or inode(self.folder) != watched:  # one made in its place may have its number
                    raise SystemExit(f"{self.folder} was removed")  # of another one nothing would be heard

    def look(self) -> bool:
        """All is as the tables say; whether something is not, and is to be tried again."""
        paths = set(table.files(self.folder))
        for path in self._seen - paths:
            if tunnel := self.tunnels.pop(path, None):
                tunnel.close()
            with suppress(OSError):
                table.remove(path)  # what was written beside it
        self._seen = paths
        tended = [self._tend(path) for path in sorted(paths)]
        return not all(tended)

    def _tend(self, path: Path) -> bool:
        try:
            self._bring(path)
        except FileNotFoundError:
            return True  # removed meanwhile
        except (OSError, ValueError) as error:
            _tell(path, str(getattr(error, "strerror", None) or error))
            return False
        _tell(path, "")
        return True

    def _bring(self, path: Path) -> None:
        """Raises OSError, ValueError."""
        found, tunnel = table.read(path), self.tunnels.get(path)
        Ways(found)  # what cannot be read is told by what it says, and a tunnel that runs goes on by what it knows
        if tunnel is not None and (tunnel.table.runs_on != found.runs_on or not tunnel.usable()):
            self.tunnels.pop(path).close()
            tunnel = None
        if tunnel is None:
            tunnel = self.tunnels[path] = Tunnel(path, found)
        elif tunnel.table != found:
            tunnel.reread(found)
        tunnel.tend()


def _tell(path: Path, trouble: str) -> None:
    """Why the tunnel does not work, for the agent."""
    told = table.beside(path, table.TROUBLE)
    with suppress(OSError):
        if not trouble:
            told.unlink(missing_ok=True)
        elif not told.exists() or told.read_text() != trouble:  # each change is heard here
            told.write_text(trouble)


def inode(folder: Path) -> int:
    """0 where there is none."""
    try:
        return folder.stat().st_ino
    except OSError:
        return 0


def watch(folder: Path) -> int:
    """Readable when a table was put into the folder or went (inotify(7)). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(folder), _IN_CLOSE_WRITE | _IN_MOVED_TO | _IN_DELETE) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    return int(fd)
