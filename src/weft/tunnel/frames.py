"""Frames of TAP devices between hosts of a mesh (docs/adr/0049-sleeve.md): what both directions have in common.

One UDP port is for all networks: a datagram says of which one its frame is, which host sent it, and which it is for. Both
directions know all devices of this host. The one that receives tells the other what concerns it: answers to its questions.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import msgspec

from weft.tunnel import counters, sleeve, table
from weft.tunnel.sleeve import HOSTS, Sleeve
from weft.tunnel.stations import Hosts, Stations
from weft.tunnel.worker import Worker


class Device(msgspec.Struct, frozen=True):
    """`count`: its own counters, where others are those of the host."""

    name: str
    fd: int
    table: Sleeve
    stations: Stations
    count: memoryview


class Frames(Worker):
    """Of the devices whose tables are in `folder`. By `control` the pump's first process hands over their descriptors, each
    with its device's name; a name alone is of one that is no more. `box`: from the direction that receives to the other."""

    def __init__(self, folder: Path, sock: socket.socket, control: socket.socket, box: socket.socket) -> None:
        super().__init__(sock)
        self.folder, self.box = folder, box
        self.hosts = Hosts({})
        self.secrets: list[bytes] = []
        self.devices: tuple[Device, ...] = ()
        self.of_host = self.count = self._counters(HOSTS)
        self._control = control
        control.setblocking(False)
        self._port = int(sock.getsockname()[1])
        self._fds: dict[str, int] = {}
        self._tables: dict[str, Sleeve] = {}
        self._counts: dict[str, memoryview] = {}
        self._gone: list[int] = []

    @property
    def port(self) -> int:
        return self._port

    def reread(self) -> None:
        """What cannot be read stays as it was."""
        self._receive()
        with suppress(OSError, ValueError):
            self.hosts = Hosts(sleeve.hosts(self.folder))
        with suppress(OSError, ValueError):
            self.secrets = sleeve.keys(self.folder)
        for name in self._fds:
            with suppress(OSError, ValueError):
                self._tables[name] = sleeve.parse((self.folder / name).read_text())
        self.devices = tuple(
            Device(name, fd, self._tables[name], Stations(self._tables[name], self.hosts), self._counts[name])
            for name, fd in self._fds.items()
            if name in self._tables
        )
        self.changed()

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            while True:
                name, fds, _, _ = socket.recv_fds(self._control, 64, 1)
                if not name:
                    return
                self._put(name.decode(), fds)

    def _put(self, name: str, fds: list[int]) -> None:
        if name in self._fds:
            self._gone.append(self._fds.pop(name))
            self._tables.pop(name, None)
        for fd in fds:
            self._fds[name] = fd
            self._counts[name] = self._counters(name)

    def _counters(self, name: str) -> memoryview:
        return counters.opened(table.beside(self.folder / name, table.COUNTERS))

    def bury(self) -> None:
        """Closes what nobody uses any more: a signal may come while it is used."""
        while self._gone:
            os.close(self._gone.pop())

    def changed(self) -> None:
        """`hosts`, `secrets` or `devices` are other ones."""
        raise NotImplementedError
