"""The pump's first process: by the tables in its folder it has devices, sockets, and processes that carry between these
(`weft.tunnel.carried`); of each table that is amiss it tells why."""

from __future__ import annotations

import ctypes
import os
import select
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from weft.tunnel import sleeve, table
from weft.tunnel.carried import PAUSE, Carried, Sleeves, Tunnel
from weft.tunnel.stations import Hosts
from weft.tunnel.ways import Ways, canonical

_IN_CLOSE_WRITE, _IN_MOVED_TO, _IN_DELETE = 0x8, 0x80, 0x200
_GONE = struct.pack("iIII", 1, 0x8000, 0, 0)
"""The last event of a folder that was removed: IN_IGNORED, of an inotify's first watch."""


class Manager:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tunnels: dict[Path, Tunnel] = {}
        self.sleeves: dict[tuple[str, int], Sleeves] = {}
        self._seen: set[Path] = set()

    def run(self) -> None:
        """For ever."""
        changes, watched = watch(self.folder), inode(self.folder)
        poll = select.poll()
        poll.register(changes, select.POLLIN)
        while True:
            failed = self.look()
            workers = [w for each in self._carried() for w in each.workers.values() if w.returncode is None]
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
            self._give_up(path)
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
        text = path.read_text()
        if path.name == sleeve.HOSTS:
            Hosts(sleeve.parse_hosts(text))
        elif text.startswith(sleeve.FIRST):
            self._bring_frames(path, sleeve.parse(text))
        else:
            self._bring_packets(path, table.parse(text))

    def _bring_frames(self, path: Path, found: sleeve.Sleeve) -> None:
        """Raises OSError, ValueError."""
        canonical(found.local)
        if found.encrypted and not sleeve.keys(self.folder):
            raise ValueError("it is to be encrypted, and there is no key yet")
        for runs_on in self.sleeves.keys() - {found.runs_on}:
            self._leave(runs_on, path)
        group = self.sleeves.get(found.runs_on)
        if group is None:
            group = self.sleeves[found.runs_on] = Sleeves(self.folder, found)
        try:
            group.take(path, (found, *map(_content, (self.folder / sleeve.HOSTS, self.folder / sleeve.KEY))))
        except OSError:
            self._leave(found.runs_on, path)
            raise
        group.tend()

    def _leave(self, runs_on: tuple[str, int], path: Path) -> None:
        group = self.sleeves[runs_on]
        group.give_up(path)
        if not group.devices:
            self.sleeves.pop(runs_on).close()

    def _give_up(self, path: Path) -> None:
        if tunnel := self.tunnels.pop(path, None):
            tunnel.close()
        for runs_on in list(self.sleeves):
            self._leave(runs_on, path)

    def _carried(self) -> Iterable[Carried]:
        return (*self.tunnels.values(), *self.sleeves.values())

    def _bring_packets(self, path: Path, found: table.Table) -> None:
        """Raises OSError, ValueError."""
        tunnel = self.tunnels.get(path)
        Ways(found)  # what cannot be read is told by what it says, and a tunnel that runs goes on by what it knows
        if tunnel is not None and (tunnel.table.runs_on != found.runs_on or not tunnel.usable()):
            self.tunnels.pop(path).close()
            tunnel = None
        if tunnel is None:
            tunnel = self.tunnels[path] = Tunnel(path, found)
        tunnel.take(found)
        tunnel.tend()


def _content(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""


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
