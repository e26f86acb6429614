"""Watching one marked packet on this host, and sending it (`weft trace --live`). Each watch ends by itself after some seconds,
so nobody's failure leaves one."""

from __future__ import annotations

import asyncio
import secrets

from weft.agent.parts import Parts
from weft.api.live import Probed, ProbeRequest, Watched, WatchRequest
from weft.base.errors import Conflict, NotFound
from weft.hoststate import HOST, netns
from weft.kernel.live import asked, probe
from weft.kernel.live.watch import Watch

MOST = 4
"""Watches at a time, and packets sent at a time: each packet of the host is looked at by each watch."""


class Live:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._watches: dict[str, Watch | None] = {}
        """None: it is being made, or has been given up meanwhile."""
        self._sending = 0

    async def start_watch(self, request: WatchRequest) -> Watched:
        """It watches when this returns."""
        token, seconds = asked.token(request), asked.seconds(request)
        places = self._places()
        for path in request.namespaces:
            _held(places, path)
        if len(self._watches) >= MOST:
            raise Conflict(f"{MOST} packets are traced on this host already: try again in a few seconds")
        name = secrets.token_hex(8)
        self._watches[name] = None
        asyncio.get_running_loop().call_later(seconds, self._end, name)
        try:
            watch = await asyncio.to_thread(Watch, token, request.protocol, request.family, places, request.namespaces)
        except BaseException:
            self._end(name)
            raise
        if name not in self._watches:
            watch.close()
            raise NotFound("the time to watch was over before it had begun: allow more seconds")
        self._watches[name] = watch
        return asked.watched(name, watch)

    async def watched(self, id: str) -> Watched:
        return asked.watched(id, self._watch(id))

    async def end_watch(self, id: str) -> Watched:
        watch = self._watch(id)
        try:
            return asked.watched(id, watch)
        finally:
            self._end(id)

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
        watch = self._watches.get(name)
        if watch is None:
            raise NotFound(f"nothing is watched as {name} (any more): it ends after some seconds")
        return watch

    def _end(self, name: str) -> None:
        watch = self._watches.pop(name, None)
        if watch is not None:
            watch.close()

    def _places(self) -> dict[str, str]:
        """Endpoints here by their namespaces' paths, and the namespaces of our own."""
        view = self._parts.view
        held = {e.namespace.path: e.name for e in view.endpoints.values() if e.namespace.path}
        return held | {netns(name).path: f"weft-{name}" for name in sorted(view.joined)}


def _held(places: dict[str, str], path: str) -> None:
    if path != HOST and path not in places:
        raise NotFound(f"no endpoint here in namespace {path}: `weft endpoint ls` shows those there are")
