"""Every endpoint has a location, by which other hosts know it. One of an earlier version of Weft may have none, or one that
says less: its node's agent writes it when it starts."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from weft.cluster.cluster import Cluster
from weft.cluster.footprint import key_of, location
from weft.cluster.records import readable
from weft.ipam.addresses import CHUNK
from weft.model import Endpoint, Location, encode, keys
from weft.store.protocol import Guard, Op, Put
from weft.tasks import whenever

log = logging.getLogger(__name__)


class Locations:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._view = cluster, cluster.view
        self._wake = asyncio.Event()
        self._wake.set()

    async def run(self) -> None:
        """For ever; begin when the view is complete."""
        await whenever(self._wake, self.complete, "containers are not known to other hosts yet")

    async def complete(self) -> None:
        """Write what is missing. Raises Unavailable."""
        own = sorted(self._view.endpoints)
        for start in range(0, len(own), CHUNK):
            some = own[start : start + CHUNK]
            await self._cluster.change(partial(self._complete, some), "locations of containers")

    async def _complete(self, ids: list[str]) -> None:
        """A location is written with every change of its endpoint: as long as that is as it was seen, so is what it is to say.
        What is lost comes back with all its records. Raises Refused, Unavailable."""
        guards, ops = list[Guard](), list[Op]()
        for endpoint in (self._view.endpoints[id] for id in ids if id in self._view.endpoints):
            lost = key_of(endpoint) in self._view.lost or endpoint.network not in self._view.networks
            as_it_is = self._cluster.unchanged(key_of(endpoint))
            if not lost and not await self._known(endpoint):
                guards.append(as_it_is)
                key = keys.location(endpoint.network, endpoint.id)
                ops.append(Put(key, encode(location(endpoint)), self._cluster.tenure_lease))
        if ops:
            await self._cluster.commit(guards, ops)
            log.info("told other hosts of %d containers that they did not know", len(ops))

    async def _known(self, endpoint: Endpoint) -> bool:
        """Also if the record says more, as a later version may write it. Raises Unavailable."""
        item = await self._cluster.store.get(keys.location(endpoint.network, endpoint.id))
        return item is not None and readable(Location, [item]) == [location(endpoint)]
