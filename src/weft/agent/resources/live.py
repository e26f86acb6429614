"""Watching one marked packet on this host, and sending it (`weft trace --live`). Each watch ends by itself after some seconds,
so nobody's failure leaves one."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import NamedTuple

from weft.agent.parts import Parts
from weft.api.live import Probed, ProbeRequest, Watched, WatchRequest
from weft.base.errors import Conflict, NotFound
from weft.base.net import IPAddress
from weft.hoststate import HOST, netns
from weft.kernel.host import fastpath
from weft.kernel.live import asked, probe
from weft.kernel.live.aside import Aside
from weft.kernel.live.watch import Watch

MOST = 4
"""Watches at a time, and packets sent at a time: each packet of the host is looked at by each watch."""


class _Watching(NamedTuple):
    """`aside`: addresses whose packets take no short way meanwhile."""

    watch: Watch
    aside: tuple[IPAddress, ...]


class Live:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._aside = Aside(lambda ns: fastpath.forget(ns, Path(parts.config.run_dir)))
        self._watches: dict[str, _Watching | None] = {}
        """None: it is being made, or has been given up meanwhile."""
        self._sending = 0

    async def start_watch(self, request: WatchRequest) -> Watched:
        """It watches when this returns."""
        token, seconds, aside = asked.token(request), asked.seconds(request), asked.aside(request)
        places = self._places()
        for path in request.namespaces:
            _held(places, path)
        if len(self._watches) >= MOST:
            raise Conflict(f"{MOST} packets are traced on this host already: try again in a few seconds")
        name, loop = secrets.token_hex(8), asyncio.get_running_loop()
        self._watches[name] = None
        loop.call_later(seconds, self._end, name)

        def make() -> None:
            watch = Watch(token, request.protocol, request.family, places, request.namespaces)
            watch.unseen += self._aside.put(self._spaces(), aside)
            loop.call_soon_threadsafe(self._made, name, _Watching(watch, aside))

        try:
            await asyncio.to_thread(make)
            return await self.watched(name)
        except BaseException:
            await asyncio.shield(self._end(name))
            raise

    def _made(self, name: str, watching: _Watching) -> None:
        """Nobody may wait for it any more: then it ends at once."""
        given_up = name not in self._watches
        self._watches[name] = watching
        if given_up:
            _ = self._end(name)

    async def watched(self, id: str) -> Watched:
        return await asyncio.to_thread(asked.watched, id, self._watch(id))

    async def end_watch(self, id: str) -> Watched:
        watch = self._watch(id)
        try:
            return await asyncio.to_thread(asked.watched, id, watch)
        finally:
            await asyncio.shield(self._end(id))

    async def send_probe(self, request: ProbeRequest) -> Probed:
        packet, seconds = asked.packet(request), asked.seconds(request)
        _held(self._places(), request.namespace)
        if self._sending >= MOST:
            raise Conflict(f"{MOST} packets are being sent on this host already: try again in a few seconds")
        self._sending += 1
        try:
            sent = await asyncio.to_thread(probe.send, request.namespace, packet, seconds)
        finally:
            self._sending -= 1
        return asked.probed(sent)

    def _watch(self, name: str) -> Watch:
        watching = self._watches.get(name)
        if watching is None:
            raise NotFound(f"nothing is watched as {name} (any more): it ends after some seconds")
        return watching.watch

    def _end(self, name: str) -> asyncio.Future[None]:
        """In a thread, since it waits for one that is reading. Goes on whether somebody waits for it or not."""
        watching = self._watches.pop(name, None)

        def end() -> None:
            if watching is not None:  # else there is none, or it is being made
                self._aside.back(self._spaces(), watching.aside)
                watching.watch.close()

        return asyncio.get_running_loop().run_in_executor(None, end)

    def _spaces(self) -> tuple[str, ...]:
        """Where packets may take a short way."""
        return (HOST, *(netns(name).path for name in sorted(self._parts.view.joined)))

    def _places(self) -> dict[str, str]:
        """Endpoints here by their namespaces' paths, and the namespaces of our own."""
        view = self._parts.view
        held = {e.namespace.path: e.name for e in view.endpoints.values() if e.namespace.path}
        return held | {netns(name).path: f"weft-{name}" for name in sorted(view.joined)}


def _held(places: dict[str, str], path: str) -> None:
    if path != HOST and path not in places:
        raise NotFound(f"no endpoint here in namespace {path}: `weft endpoint ls` shows those there are")
