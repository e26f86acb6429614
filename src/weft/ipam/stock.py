"""Blocks in hand (`weft.alloc.stock`): taken before they are needed, so that attaching goes on without the store; and leases
written again where they are in doubt (`weft.ipam.certain`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from weft.alloc import blocks as alloc
from weft.alloc import stock
from weft.alloc.blocks import Given, Situation
from weft.base.errors import WeftError
from weft.base.net import IPNetwork
from weft.cluster import records
from weft.cluster.cluster import Cluster
from weft.ipam.blocks import Blocks, rules
from weft.model import Network, claims, encode, keys
from weft.store.protocol import Absent, Guard, Op, Put

log = logging.getLogger(__name__)


class Stock:
    def __init__(self, cluster: Cluster, blocks: Blocks) -> None:
        self._cluster, self._view, self._blocks = cluster, cluster.view, blocks
        self.wake = asyncio.Event()
        """One may be short of blocks."""

    async def run(self, interval: Callable[[], float]) -> None:
        """For ever. `interval`: the seconds between looks."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval()):
                    await self.wake.wait()
            self.wake.clear()
            for name in [name for name in self._view.networks if self._view.driver(name).addresses.strict]:
                try:
                    await self.tend(name)
                except WeftError as error:
                    log.debug("blocks of network %s: %s", name, error)

    async def tend(self, name: str) -> None:
        """Take what is short, and make sure of the rest. Raises Unavailable."""
        if not self._short(name) and name in self._blocks.certain:
            return
        async with self._blocks.lock(name):
            if keys.lease(name, self._view.me) in self._view.lost:
                return  # `weft.endpoints.evidence` has to find out first what became of it
            given = await self._wanted(name)
            if given or name not in self._blocks.certain:
                await self._write(name, given)

    def _short(self, name: str) -> bool:
        """Whether it has a lease, and too little of some family in it."""
        lease = self._view.lease(name, self._view.me)
        return lease is not None and any(map(stock.short, self._blocks.filled(name).values()))

    async def _wanted(self, name: str) -> list[Given]:
        """At most one block of each family. Raises Unavailable."""
        items = (await self._cluster.store.list(keys.subnet_claims(name))).items
        claimed = {block: records.holder(item) for block, item in records.claimed(claims.subnet, items)}
        network, filled = self._view.networks[name], self._blocks.filled(name)
        short = [fam for fam in network.families if stock.short(filled[fam])]
        s = self._situation(network, claimed)
        found = [alloc.fresh(s, fam) for fam in short if stock.may_take(alloc.whole_plan(s, fam), claimed)]
        return [given for given in found if given is not None]

    def _situation(self, network: Network, claimed: dict[IPNetwork, str]) -> Situation:
        lease = self._blocks.lease(network.name)
        others = {block: who for block, who in claimed.items() if block not in lease.subnets}
        return Situation(
            network=network, node=self._view.me, labels={}, rules=rules(network), own=lease.subnets, others=others
        )

    async def _write(self, name: str, given: list[Given]) -> None:
        lease, tenure, lapses = self._blocks.lease(name), self._cluster.tenure_lease, self._cluster.lapses
        new = [keys.subnet_claim(name, g.block) for g in given if g.block]
        guards: list[Guard] = [self._blocks.lease_guard(lease), self._cluster.unchanged(keys.network(name))]
        ops: list[Op] = [Put(claim, self._view.me.encode(), tenure) for claim in new]
        written = Put(keys.lease(name, lease.node), encode(alloc.with_given(lease, given)), tenure)
        if await self._cluster.write([*guards, *map(Absent, new)], [*ops, written]):
            self._blocks.certain.confirm(name, lapses)
        else:
            await self._blocks.refresh(name)
