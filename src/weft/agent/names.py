"""Containers of this host ask for names: who is asked in which namespace, and by whom.

In each namespace with an interface in a network that has names there are two sockets of this process
(`weft.kernel.host.resolvers`), and `weft.dns` answers at all of them. That namespace is one asker, however many interfaces are
in it. Rules lead questions there (`weft.compile.names`), once the sockets are told to the compiler.

    an endpoint comes, goes or changes    `stand`: before the interface is made, so that names are there with it
    the host's resolv.conf changes        seen within `LOOK`
    a namespace ends                      seen within `LOOK`: its sockets are closed, for they would keep it alive
    an engine makes a namespace later     looked for, often at first (`EAGER`)

A namespace in which something fails costs that one, and is told in status.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from weft.agent.name_table import NameTable
from weft.agent.resolv_conf import HostConf
from weft.base.errors import NotFound, WeftError
from weft.base.net import family
from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.compile import names
from weft.compile.known import Resolver
from weft.dns.asker import ADDRESS, DOMAIN, Asker, Upstream
from weft.dns.server import Counts, Server
from weft.hoststate.union import Source
from weft.kernel.host.resolvers import Sockets
from weft.kernel.plumbing import netns
from weft.model import Endpoint, records

log = logging.getLogger(__name__)

LOOK, EAGER, SOON = 1.0, 10.0, 0.1
"""Seconds between two looks at what there is; SOON for EAGER seconds after an engine told where a namespace will be."""
OTHERS = 10.0
"""Seconds between two looks for other resolvers: an engine that is started again may be elsewhere."""
CONCERNS = (records.ENDPOINTS, records.NETWORKS)


class Host(Protocol):
    """`weft.kernel.host.resolvers`; all of it blocks."""

    def identity(self, path: str) -> int: ...
    def open_all(self, places: Mapping[str, int]) -> dict[str, Sockets | WeftError]: ...
    def others(self, places: Mapping[str, int]) -> dict[str, int]: ...
    def write_files(self, wanted: Collection[str], search: str) -> list[str]: ...


class Room(msgspec.Struct):
    """A namespace in which questions are asked. `other`: the UDP port of an engine's own resolver there."""

    path: str
    port: int
    asker: Asker
    other: int | None = None
    looked: float = 0.0


class Naming:
    def __init__(
        self,
        view: View,
        host: Host,
        touch: Callable[[Iterable[Source]], None],
        ended: Callable[[], None],
        domain: str = DOMAIN,
        dead: Container[str] = (),
        also: str = "",
    ) -> None:
        """`touch`: these sources may contribute something else now. `ended`: called when a namespace has ended that has
        endpoints. `domain`, `also`: in which all names are, too. `dead`: nodes whose members of services are left out; live."""
        self._view, self._host, self._touch, self._ended = view, host, touch, ended
        self._server = Server(NameTable(view, dead).names, self._open, domain, also=also)
        self._rooms: dict[int, Room] = {}
        """By what tells their namespaces from all others."""
        self._failed: dict[str, str] = {}
        self.resolvers: dict[str, Resolver] = {}
        """By the path of a namespace, as compilers take it."""
        self._conf = HostConf()
        self._files: tuple[frozenset[str], str] | None = None
        """Namespaces with a file of ours, and the domains in it."""
        self._problems: tuple[str, ...] = ()
        self._news = True
        self._eager = 0.0
        self._wake, self._lock = asyncio.Event(), asyncio.Lock()
        view.subscribe("who asks for names", self._changed, CONCERNS)

    # What others ask for.

    async def stand(self) -> None:
        """Whoever is in the view by now can ask. Never fails: what does is told in status, and tried again."""
        async with self._lock:
            if self._news:
                await self._look_safely()

    async def run(self) -> None:
        """For ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SOON if self._waits_for_an_engine() else LOOK):
                    await self._wake.wait()
            self._wake.clear()
            async with self._lock:
                await self._look_safely()

    @property
    def asking(self) -> int:
        """Namespaces in which questions are answered."""
        return len(self._rooms)

    @property
    def counts(self) -> Counts:
        return self._server.counts

    def problems(self) -> Iterator[str]:
        yield from self._problems

    def close(self) -> None:
        self._server.close()

    # Looking.

    def _changed(self, changed: Changed) -> None:
        self._news = True
        if any((found := self._view.endpoints.get(at.id)) and found.handover for at in changed.of(records.ENDPOINTS)):
            self._eager = time.monotonic() + EAGER
        self._wake.set()

    def _waits_for_an_engine(self) -> bool:
        return time.monotonic() < self._eager and any(
            e.handover and e.namespace.path and self._other(e.namespace.path) is None for e in self._asking()
        )

    def _other(self, path: str) -> int | None:
        return next((room.other for room in self._rooms.values() if room.path == path), None)

    def _asking(self) -> Iterator[Endpoint]:
        served = dict[str, bool]()
        for endpoint in self._view.endpoints.values():
            if endpoint.network not in served:
                served[endpoint.network] = names.served(self._view, endpoint.network)
            if served[endpoint.network] and endpoint.namespace.path:
                yield endpoint

    async def _look_safely(self) -> None:
        try:
            await self._look()
        except (WeftError, OSError) as error:
            self._news = True
            log.warning("not every container can ask for names yet: %s", error)

    async def _look(self) -> None:
        self._news = False
        await self._conf.follow()
        wanted = await self._wanted()
        before = dict(self.resolvers)
        for key in self._rooms.keys() - wanted:
            self._leave(key)
        await self._enter({key: found for key, found in wanted.items() if key not in self._rooms})
        for key, room in self._rooms.items():
            if room.path not in {e.namespace.path for e in wanted[key]}:
                room.path = wanted[key][0].namespace.path
        await self._look_for_others(wanted)
        for key, room in self._rooms.items():
            asker = self._asker(room, wanted[key])
            if asker != room.asker:
                room.asker = asker
                self._server.change(asker)
        self._tell(before)
        await self._write_files()

    async def _wanted(self) -> dict[int, list[Endpoint]]:
        """By namespace, its endpoints, the first interface first."""
        asking = sorted(self._asking(), key=lambda e: (e.rank, e.network, e.id))
        paths = {e.namespace.path for e in asking}
        host, found = await asyncio.to_thread(
            lambda: (self._host.identity(netns.OWN), {path: self._host.identity(path) for path in paths})
        )
        wanted: dict[int, list[Endpoint]] = {}
        for endpoint in asking:
            if (key := found[endpoint.namespace.path]) not in (0, host):
                wanted.setdefault(key, []).append(endpoint)
        return wanted

    def _leave(self, key: int) -> None:
        room = self._rooms.pop(key)
        self._server.remove(room.asker.id)
        if self._view.endpoints_at_path(room.path):
            self._ended()

    async def _enter(self, missing: Mapping[int, list[Endpoint]]) -> None:
        self._failed = {}
        if not missing:
            return
        places = {found[0].namespace.path: found[0].namespace.cookie for found in missing.values()}
        opened = await asyncio.to_thread(self._host.open_all, places)
        for key, found in missing.items():
            path = found[0].namespace.path
            match opened[path]:
                case NotFound():  # it has just ended, or another one is there now
                    pass
                case WeftError() as error:
                    self._failed[path] = str(error)
                case sockets:
                    room = Room(path, sockets.port, Asker(id=path, networks=(), node=self._view.me))
                    room.asker = self._asker(room, found)
                    self._rooms[key] = room
                    self._server.add(room.asker, sockets.udp, sockets.tcp)

    async def _look_for_others(self, wanted: Mapping[int, list[Endpoint]]) -> None:
        """An engine may have a resolver of its own there, for names of its own."""
        now = time.monotonic()
        due = [room for key, room in self._rooms.items() if self._is_due(room, wanted[key], now)]
        if not due:
            return
        found = await asyncio.to_thread(self._host.others, {room.path: room.port for room in due})
        for room in due:
            room.other, room.looked = found.get(room.path), now

    def _is_due(self, room: Room, endpoints: list[Endpoint], now: float) -> bool:
        awaited = room.other is None and now < self._eager and any(e.handover for e in endpoints)
        return awaited or now >= room.looked + OTHERS

    def _asker(self, room: Room, endpoints: list[Endpoint]) -> Asker:
        """What an engine's own resolver there is asked, that knows what may be asked outside."""
        networks = tuple(dict.fromkeys(e.network for e in endpoints))
        known = (self._view.networks.get(name) for name in networks)
        outside = any(not network.internal for network in known if network)
        if room.other is not None:
            upstreams: tuple[Upstream, ...] = (Upstream(ADDRESS, room.other, inside=True),)
        else:
            upstreams = self._conf.upstreams
        return Asker(
            id=room.asker.id,
            networks=networks,
            node=self._view.me,
            outside=outside,
            upstreams=upstreams,
            single=room.other is not None,
        )

    def _tell(self, before: Mapping[str, Resolver]) -> None:
        """The compiler, of what is not as it was."""
        now = {room.path: Resolver(room.port) for room in self._rooms.values()}
        now |= {path: Resolver(0, trouble) for path, trouble in self._failed.items()}
        self.resolvers.clear()
        self.resolvers.update(now)
        paths = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
        endpoints = [e for path in paths for e in self._view.endpoints_at_path(path)]
        if endpoints:
            self._touch(Source(names.NAME, e.network, e.id) for e in endpoints)

    # Files, and other servers.

    async def _write_files(self) -> None:
        """For those who asked for it with `weft attach --dns`."""
        paths = (Path(e.namespace.path) for e in self._asking() if e.resolv_conf)
        wanted = frozenset(path.name for path in paths if path.parent == netns.NAMED[0])  # one may have moved elsewhere
        if self._files != (wanted, self._conf.search):
            self._files = wanted, self._conf.search
            self._problems = tuple(await asyncio.to_thread(self._host.write_files, wanted, self._conf.search))

    def _open(self, asker: Asker, upstream: Upstream, kind: socket.SocketKind) -> socket.socket:
        """Raises OSError."""
        where = socket.AF_INET if family(upstream.address) == 4 else socket.AF_INET6
        made = partial(socket.socket, where, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            return netns.call(self._inside(asker) if upstream.inside else "", made)
        except WeftError as error:
            raise OSError(str(error)) from None

    def _inside(self, asker: Asker) -> str:
        """The path of its namespace, which is still the one that it was. Raises OSError."""
        for key, room in self._rooms.items():
            if room.asker.id == asker.id and self._host.identity(room.path) == key:
                return room.path
        raise OSError(f"{asker.id} is gone")
