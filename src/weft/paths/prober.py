"""The half with I/O: it lets time go on, sends probes and takes them in, in the agent's loop.

What is known of the ways is kept in a file of the run directory, so that an agent that is started anew sends containers'
packets as the last one did.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path as File

import msgspec

from weft.base import events
from weft.base.errors import Invalid
from weft.cluster.view import View
from weft.compile import paths as wanted
from weft.datapaths.driver import Host, Path
from weft.paths import probe
from weft.paths.channels import TICK, Peer, Way
from weft.paths.frames import Frames
from weft.paths.machine import Machine, Round
from weft.paths.pair import Memory

log = logging.getLogger(__name__)

FILE = "paths.json"
LOOK = 5
"""Ticks between two looks at what the cluster says, and at the devices."""
_memories = msgspec.json.Decoder(dict[str, Memory])


class Prober:
    """`host`: what is known of this one. `key`: of the mesh secret; empty where there is none. `changed`: told of nodes to
    which the path is another one now."""

    def __init__(
        self,
        view: View,
        host: Callable[[], Host | None],
        run_dir: File,
        key: bytes,
        changed: Callable[[set[str]], None],
    ) -> None:
        self._view, self._host, self._key, self._changed = view, host, key, changed
        self._file = run_dir / FILE
        self._kept = _load(self._file)
        self.machine = Machine(view.me, secrets.randbits(63) | 1, self._kept)
        own = wanted.mac(view.me)
        self._frames = {
            way: Frames(dev, own) for way, dev in zip((Way.KERNEL, Way.SLEEVE), wanted.DEVICES, strict=True)
        }
        self._macs: dict[str, bytes] = {}
        self.refused = 0
        """Frames that were no probes of this cluster."""
        self.why_refused = ""
        self._logged: dict[str, Path] = {}

    async def run(self) -> None:
        """For ever."""
        clock = asyncio.get_running_loop().time
        try:
            due = clock()
            while True:
                if self.machine.tick_ % LOOK == 0:
                    self._look()
                self._tick()
                due = max(due + TICK, clock())  # what was missed is not made up for: see `weft.paths.channels`
                await asyncio.sleep(due - clock())
        finally:
            self._end()

    def _look(self) -> None:
        self.machine.know(self._peers())
        loop = asyncio.get_running_loop()
        for way, frames in self._frames.items():

            def opened(sock: socket.socket, way: Way = way) -> None:
                loop.add_reader(sock, self._take, way)

            frames.look(opened, loop.remove_reader)
        self._keep()

    def _peers(self) -> dict[str, Peer]:
        """None while there is no network that needs this."""
        host, networks = self._host(), wanted.networks(self._view)
        if host is None or not networks:
            return {}
        partners, me = wanted.partners(self._view), self._view.nodes.get(self._view.me, host.node)
        found: dict[str, Peer] = {}
        for name, node in self._view.nodes.items():
            if name != self._view.me and (carried := wanted.carries(me, node, networks)):
                full = {way: carried[frames.dev] for way, frames in self._frames.items() if frames.dev in carried}
                active = name in partners and name in self._view.present
                found[name] = Peer(node.number, active, full)
        self._macs = {name: bytes.fromhex(wanted.mac(name).replace(":", "")) for name in found}
        return found

    def _tick(self) -> None:
        for turn in self.machine.tick(time.monotonic()):
            self._send(turn)
        if self.machine.changed:
            nodes, self.machine.changed = self.machine.changed, set()
            for name in sorted(nodes & self.machine.pairs.keys()):
                self._log(name, self.machine.pairs[name].path)
            self._keep()
            self._changed(nodes)

    def _log(self, name: str, path: Path) -> None:
        if self._logged.get(name, Path()) == path:
            return
        self._logged[name] = path
        via, mtu = f" over {path.via}" if path.via else "", f", up to {path.mtu} octets" if path.mtu else ""
        log.info("%s is reached by %s%s%s", name, path.way, via, mtu, extra=events.PATH_CHANGED)

    def _send(self, turn: Round) -> None:
        message, mac = probe.seal(turn.probe), self._macs[turn.probe.to]
        for channel, size in turn.channels:
            self._frames[channel.way].send(mac, probe.frame(message, channel, size, self._key))

    def _take(self, way: Way) -> None:
        now = time.monotonic()
        for data in self._frames[way].received():
            try:
                channel, found = probe.read(data, self._key)
            except Invalid as error:
                self.refused, self.why_refused = self.refused + 1, str(error)
                continue
            if channel.way is way:
                self.machine.heard(channel, found, now)

    def _keep(self) -> None:
        """What cannot be written down is found out again."""
        memory = self.machine.memory()
        if memory == self._kept:
            return
        self._kept = memory
        with contextlib.suppress(OSError):
            fresh = self._file.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(memory))
            fresh.replace(self._file)

    def _end(self) -> None:
        loop = asyncio.get_running_loop()
        for frames in self._frames.values():
            frames.end(loop.remove_reader)


def _load(file: File) -> dict[str, Memory]:
    try:
        return _memories.decode(file.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return {}
