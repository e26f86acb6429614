"""Pools as documents. They have no labels: of a network that `--prune` chooses, and that has a document, those pools go that
are in no document, and conditions that no document speaks of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from weft.agent.parts import Parts
from weft.agent.resources.declared.part import Change, Plan
from weft.agent.resources.pools import Pools
from weft.base.net import parse_network
from weft.datapaths import registry
from weft.declared import pool as form
from weft.declared.item import Item
from weft.model import Pool


class PoolsPart:
    kinds = frozenset((form.NAME,))
    at_once = 1

    def __init__(self, parts: Parts, pools: Pools) -> None:
        self._parts, self._pools = parts, pools

    async def there(self) -> list[Item]:
        """Those with conditions: what is a pool and no more is a subnet in its network's document."""
        found = self._parts.view.networks.values()
        return [form.from_pool(network, pool) for network in found for pool in network.pools]

    def undeclared(self) -> Iterable[Item]:
        return ()

    async def find(self, item: Item) -> Item | None:
        network = self._parts.view.networks.get(item.scope)
        subnet = parse_network(item.name)
        if network is None or subnet not in network.subnets:
            return None
        return form.from_pool(network, network.pool(subnet))

    def settled(self, wanted: Item, found: Item | None) -> Item:
        return wanted

    async def check(self, change: Change, plan: Plan) -> None:
        if change.after is not None:
            others = plan.networks(but=change.item.scope)
            self._pools.check_pool(plan.network(change.item.scope), form.to_pool(change.after), others)

    async def make(self, changes: Sequence[Change], plan: Plan) -> None:
        for change in changes:
            network = change.item.scope
            if change.after is not None:
                new = form.to_pool(change.after)
                before = form.to_pool(change.before) if change.before else self._brought_along(new, network, plan)
                await self._pools.replace(network, before, new)
            else:
                await self._pools.remove(network, parse_network(change.item.name))

    def _brought_along(self, pool: Pool, network: str, plan: Plan) -> Pool | None:
        """What there is of a pool that was not there before: a plain one, if its network's document has it, too."""
        change = plan.by_id.get(f"network/{network}")
        there = change is not None and change.after is not None and pool.subnet in change.after.spec.subnets
        return Pool(subnet=pool.subnet) if there else None

    def surplus(self, wanted: Item, plan: Plan) -> Iterator[Change]:
        """What a network has beyond its own document and those of its pools."""
        network = self._parts.view.networks.get(wanted.name)
        if network is None or not registry.of(network).addresses.pools or network.home != network.name:
            return
        for subnet in network.subnets:
            found = form.from_pool(network, network.pool(subnet))
            if plan.wants(found.id):
                continue
            if subnet not in wanted.spec.subnets:
                yield Change(before=found, after=None)
            elif network.pool(subnet) != Pool(subnet=subnet):
                yield Change(before=found, after=form.from_pool(network, Pool(subnet=subnet)))
