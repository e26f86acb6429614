"""Services that containers ask for by their labels: made with the first such container, removed with the last.

Whoever has the container makes the service once the container is attached; what cannot be is told in the status, and costs
the container nothing. Whoever sees the last one go removes the service: the agent that had it, or where that is gone, too,
one that follows the network's containers, or the next agent that starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from functools import partial

from weft.base.errors import Conflict, Unavailable, WeftError
from weft.cluster import records
from weft.cluster.changes import Changed
from weft.cluster.cluster import RACE, Cluster
from weft.endpoints.services import ServiceWriter
from weft.ipam.virtual import Virtual
from weft.model import Endpoint, Location, keys
from weft.model.records import ENDPOINTS, LOCATIONS
from weft.services.labels import LABEL, wanted
from weft.services.model import Service
from weft.services.record import SERVICES, At
from weft.store.protocol import NothingNewer
from weft.tasks import whenever

log = logging.getLogger(__name__)


class Automatic:
    def __init__(self, cluster: Cluster, writer: ServiceWriter, virtual: Virtual) -> None:
        self._cluster, self._view, self._writer, self._virtual = cluster, cluster.view, writer, virtual
        self._wake = asyncio.Event()
        self._todo: set[At] = set()
        """Services that may be missing, or of no use any more."""
        self._refused: dict[At, str] = {}

    def heard(self, changed: Changed) -> None:
        """Of changes of endpoints, locations and services."""
        self._todo |= set(self._concerned(changed))
        if self._todo:
            self._wake.set()

    def again(self) -> None:
        """What was refused is tried again: a program may have let go of a port."""
        self._todo |= self._refused.keys()
        if self._todo:
            self._wake.set()

    def _concerned(self, changed: Changed) -> Iterator[At]:
        for at, before in changed.before(ENDPOINTS).items():
            now = self._view.table(ENDPOINTS).get(at)
            yield from (At(at.network, e.labels[LABEL]) for e in (before, now) if e and LABEL in e.labels)
        for place, gone in changed.before(LOCATIONS).items():
            if gone is not None and LABEL in gone.labels:
                yield At(place.network, gone.labels[LABEL])
        if services := changed.before(SERVICES):
            yield from (at for at, before in services.items() if before is not None and before.automatic)
            yield from self._refused  # what stood against it may be gone

    async def run(self) -> None:
        """For ever; begin when the view is complete."""
        self._todo |= {At(e.network, e.labels[LABEL]) for e in self._view.endpoints.values() if LABEL in e.labels}
        found = self._view.table(SERVICES).by("network", "name").items()
        self._todo |= {At(network, name) for network, some in found for name, one in some.items() if one.automatic}
        self._wake.set()
        await whenever(self._wake, self._settle, "services that labels ask for are not made or removed yet")

    def problems(self) -> Iterator[tuple[At, str]]:
        yield from self._refused.items()

    async def _settle(self) -> None:
        """Raises Unavailable."""
        while self._todo:
            at = self._todo.pop()
            before = self._refused.pop(at, None)
            try:
                await self._settle_one(at)
            except Unavailable:
                self._todo.add(at)
                raise
            except WeftError as error:
                said = self._refused[at] = f"containers' labels ask for it, but: {error}"
                if said != before:  # it is tried again and again
                    log.warning("service %s/%s is not as labels ask for it: %s", at.network, at.name, error)

    async def _settle_one(self, at: At) -> None:
        """Raises Conflict and others."""
        mine = self._mine(at)
        service = self._view.table(SERVICES).get(at)
        if mine and service is None:
            await self._make(at, mine[0])
        elif mine and service is not None and not service.automatic:
            _check_members(service, mine)
        elif not mine and service is not None and service.automatic:
            await self._cluster.change(partial(self._remove, at), f"service {at.name}", attempts=RACE)

    def _mine(self, at: At) -> list[Endpoint]:
        found = [e for e in self._view.endpoints_of(at.network) if e.labels.get(LABEL) == at.name]
        return sorted(found, key=lambda e: e.id)

    async def _make(self, at: At, first: Endpoint) -> None:
        network, asked = self._view.networks.get(at.network), wanted(at.network, first.labels)
        if network is not None and asked is not None:
            new, ports = asked
            await self._writer.ensure(network, new, ports)
            log.info("service %s/%s is made by the labels of %s", at.network, at.name, first.name)

    async def _remove(self, at: At) -> None:
        """If there is no such container any more, and none came meanwhile. Raises Refused."""
        listing = await self._cluster.store.list(keys.locations(at.network))
        if any(found.labels.get(LABEL) == at.name for found in records.readable(Location, listing.items)):
            return
        await self._virtual.take_out(at, NothingNewer(keys.locations(at.network), listing.revision), automatic=True)
        log.info("service %s/%s went with the last container whose labels asked for it", at.network, at.name)


def _check_members(service: Service, asking: list[Endpoint]) -> None:
    """Raises Conflict where one that was made by hand has other members."""
    left = [e.name for e in asking if not service.chooses(e.name, e.policy_namespace, e.labels)]
    if left:
        raise Conflict(
            f"it was made without labels and has other members than {', '.join(left[:3])}: give these what it selects, or "
            "another service's name"
        )
