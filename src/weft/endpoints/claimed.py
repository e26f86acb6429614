"""Endpoints of an earlier version of Weft have no claim of their names: their node's agent makes up for it when it starts.
Where two have one name neither is called otherwise now, and `weft ipam check` tells of them."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import msgspec

from weft.cluster import footprint
from weft.cluster.cluster import Cluster
from weft.cluster.footprint import holder, key_of
from weft.model import keys
from weft.tasks import whenever

log = logging.getLogger(__name__)


class ClaimedNames:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._view = cluster, cluster.view
        self._wake = asyncio.Event()
        self._wake.set()

    async def run(self) -> None:
        """For ever; begin when the view is complete."""
        await whenever(self._wake, self.complete, "names of containers are not claimed yet")

    async def complete(self) -> None:
        """Claim what is free. Raises Unavailable."""
        for id in sorted(id for id, e in self._view.endpoints.items() if not e.name_claimed):
            await self._cluster.change(partial(self._claim, id), f"the name of endpoint {id}")

    async def _claim(self, id: str) -> None:
        """Raises Refused, Unavailable."""
        old = self._view.endpoints.get(id)
        if old is None or key_of(old) in self._view.lost or old.network not in self._view.networks:
            return
        item = await self._cluster.store.get(keys.name_claim(old.network, old.name))
        if item is not None and item.value != holder(old):
            log.warning("endpoint %s in network %s has the name of %r", old.name, old.network, item.value)
            return
        new = msgspec.structs.replace(old, name_claimed=True)
        over = {} if item is None else {item.key: item.revision}
        at = footprint.place(self._view, old.network)
        guards, ops = footprint.step(old, new, at, self._cluster.tenure_lease, over)
        await self._cluster.commit([self._cluster.unchanged(key_of(old)), *guards], ops)
