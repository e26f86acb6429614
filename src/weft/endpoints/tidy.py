"""Endpoints whose namespace is gone are cleared away: their containers ended without a detach."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping

from weft.base.errors import Invalid, NotFound, WeftError
from weft.cluster.cluster import Cluster
from weft.containers.find import Target
from weft.endpoints.evidence import Evidence
from weft.endpoints.handover import HandoverAttachments
from weft.hoststate import HOST, Key
from weft.model import Endpoint, keys
from weft.store.protocol import Absent, Delete

log = logging.getLogger(__name__)


def inside(find: Callable[[str], Target], endpoint: Endpoint) -> tuple[str, ...] | None:
    """The devices in an endpoint's namespace; None where that is gone. Blocks."""
    try:
        found = find(endpoint.namespace.path)
    except (NotFound, Invalid):
        return None
    return found.links if found.namespace.cookie == endpoint.namespace.cookie else None


class Tidy:
    def __init__(
        self,
        cluster: Cluster,
        attachments: HandoverAttachments,
        evidence: Evidence,
        cookie: Callable[[str], int],
        altered: Callable[[], Mapping[Key, str]],
    ) -> None:
        """`cookie`: of the namespace at a path; raises NotFound. `altered`: MAC addresses that others gave to devices."""
        self._cluster, self._view, self._attachments = cluster, cluster.view, attachments
        self._evidence, self._cookie, self._altered = evidence, cookie, altered
        self.wake = asyncio.Event()
        """Something may have to be cleared away."""
        self.revived: list[Endpoint] = []
        """Own endpoints that a store which was put back has again."""

    async def run(self, interval: Callable[[], float], before: Callable[[], None]) -> None:
        """For ever. `interval`: the seconds between looks. `before`: called before each."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval()):
                    await self.wake.wait()
            self.wake.clear()
            before()
            try:
                await self._look()
            except WeftError as error:
                log.warning("not cleaned up yet: %s", error)

    async def _look(self) -> None:
        await self._forget_cursors()
        await asyncio.to_thread(self._evidence.review)
        vanished = await asyncio.to_thread(self._vanished, tuple(self._view.endpoints.values()))
        revived, self.revived = self.revived, []
        vanished += [e for e in revived if e not in vanished and e.id in self._view.endpoints]
        if vanished:
            log.info("cleaning up after %s", ", ".join(e.name for e in vanished))
            await self._attachments.remove(vanished)
        await self._attachments.follow_macs(self._altered())

    async def _forget_cursors(self) -> None:
        """This node's own, of networks that are no more."""
        for name in [name for name in self._view.cursors if name not in self._view.networks]:
            await self._cluster.write([Absent(keys.network(name))], [Delete(keys.cursor(self._view.me, name))])

    def _vanished(self, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
        def cookie(path: str) -> int:
            try:
                return self._cookie(path)
            except NotFound:
                return 0

        # What an engine takes over is its own to remove: before it has done so there is no namespace yet.
        own = [e for e in endpoints if not e.handover]
        host = cookie(HOST)  # an earlier version of Weft let it be attached

        def gone(e: Endpoint) -> bool:
            if e.of_host:
                return False
            astray = e.namespace.cookie == host and not self._view.driver(e.network).in_host
            return astray or not e.namespace.cookie or cookie(e.namespace.path) != e.namespace.cookie

        return [e for e in own if gone(e)]
