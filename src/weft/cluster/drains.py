"""Members of services that are drained: when their time is over they have no connections any more, and when they are gone
nobody needs to know that they were drained.

Nothing in the store changes when a deadline comes, so each agent looks at its clock, and tells those who go by the index of
members (`weft.cluster.services`). Who was drained and is gone for a while is taken out of the record by whichever agent that
follows the network's containers is first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial

import msgspec

from weft.base.errors import WeftError
from weft.cluster.changes import Changed
from weft.cluster.cluster import Cluster
from weft.cluster.follower import Follower
from weft.cluster.services import services
from weft.model import encode
from weft.model.records import LOCATIONS
from weft.services.model import Service
from weft.services.record import SERVICE, SERVICES, At
from weft.store.protocol import Put

log = logging.getLogger(__name__)

LATER = 5.0
"""Seconds until what could not be written is tried again."""
GRACE = 60.0
"""Seconds that a member has to be gone before it is forgotten that it was drained. Containers are followed apart from services:
a host that heard of this first would take the member for one that takes connections."""


class Drains:
    def __init__(self, cluster: Cluster, follower: Follower, tell: Callable[[], None]) -> None:
        """`tell`: called when the index says something else of some members than it did, though nothing changed."""
        self._cluster, self._view, self._follower, self._tell = cluster, cluster.view, follower, tell
        self._wake = asyncio.Event()
        self._due = 0.0
        """Unix seconds: deadlines up to here have been told."""
        self._drained: set[At] = set()
        """Services that may have members which are drained."""
        self._missing: dict[At, dict[str, float]] = {}
        """Of these, the members that are gone, and since when: Unix seconds."""

    def heard(self, changed: Changed) -> None:
        """Of changes of services and locations."""
        self._drained |= {at for at in changed.of(SERVICES) if self._is_drained(at)}
        if self._drained:
            self._wake.set()

    async def run(self) -> None:
        """For ever; begin when the view is complete."""
        self._due = time.time()
        names = self._view.table(SERVICES).by("network", "name").items()
        self._drained |= {at for network, found in names for name in found if self._is_drained(at := At(network, name))}
        pause: float | None = self._pause()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
            self._tell_those_due(time.time())
            done = await self._forget_gone()
            pause = self._pause()
            if not done:
                pause = LATER

    def _is_drained(self, at: At) -> bool:
        service = self._view.table(SERVICES).get(at)
        return service is not None and bool(service.draining)

    def _draining(self) -> list[Service]:
        table = self._view.table(SERVICES)
        self._drained = {at for at in self._drained if self._is_drained(at)}
        self._missing = {at: found for at, found in self._missing.items() if at in self._drained}
        return [service for at in self._drained if (service := table.get(at))]

    def _pause(self) -> float | None:
        """Seconds until there is something to do; None where there is nothing."""
        ends = [d.until for service in self._draining() for d in service.draining if d.until > self._due]
        ends += [since + GRACE for found in self._missing.values() for since in found.values()]
        return max(min(ends) - time.time(), 0.0) if ends else None

    def _tell_those_due(self, now: float) -> None:
        index, last = services(self._view), self._due
        self._due = now
        over = [s for s in self._draining() if any(last < d.until <= now for d in s.draining)]
        for service in over:
            index.again(At(service.network, service.name))
        if over:
            self._tell()

    async def _forget_gone(self) -> bool:
        """Whether there is nothing left to do."""
        done = True
        for service in self._draining():
            if self._gone(service):
                try:
                    async with self._follower.held(LOCATIONS, service.network):
                        await self._cluster.change(
                            partial(self._forget, At(service.network, service.name)), "drained members"
                        )
                except WeftError as error:
                    log.debug("service %s: members that are gone are still drained: %s", service.name, error)
                    done = False
        return done

    def _gone(self, service: Service) -> list[str]:
        """Members that were drained and are gone for good, as far as this node knows the network's containers."""
        at, now, there = At(service.network, service.name), time.time(), self._view.locations.get(service.network, {})
        before = self._missing.pop(at, {})
        if not self._view.follows(LOCATIONS, service.network):
            return []
        missing = {d.member: before.get(d.member, now) for d in service.draining if d.member not in there}
        self._missing[at] = missing
        return [member for member, since in missing.items() if now - since >= GRACE]

    async def _forget(self, at: At) -> None:
        """Raises Refused."""
        found = self._view.table(SERVICES).get(at)
        if found is None or not (gone := self._gone(found)):
            return
        left = tuple(draining for draining in found.draining if draining.member not in gone)
        key = SERVICE.key(*at)
        new = encode(msgspec.structs.replace(found, draining=left))
        await self._cluster.commit([self._cluster.unchanged(key)], [Put(key, new)])
