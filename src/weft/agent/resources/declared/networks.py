"""Networks as documents."""

from __future__ import annotations

from collections.abc import Sequence

from weft.agent.parts import Parts
from weft.agent.resources.declared.part import Change, Plan
from weft.agent.resources.networks import Networks
from weft.agent.resources.pools import Pools
from weft.base.errors import Conflict, Invalid
from weft.base.net import IPNetwork
from weft.cluster import records
from weft.datapaths import registry
from weft.declared import network as form
from weft.declared.item import Item
from weft.model import Endpoint, Pool, keys
from weft.services.record import SERVICES


class NetworksPart:
    kinds = frozenset((form.NAME,))
    at_once = 1

    def __init__(self, parts: Parts, networks: Networks, pools: Pools) -> None:
        self._parts, self._networks, self._pools = parts, networks, pools

    async def there(self) -> list[Item]:
        return [form.from_network(network) for network in self._parts.view.networks.values()]

    async def find(self, item: Item) -> Item | None:
        found = self._parts.view.networks.get(item.name)
        return None if found is None else form.from_network(found)

    def settled(self, wanted: Item, found: Item | None) -> Item:
        return wanted if found is None else form.settled(wanted, found)

    async def check(self, change: Change, plan: Plan) -> None:
        name, before, after = change.item.name, change.before, change.after
        if after is None:
            await self._check_unused(name, plan)
        elif before is None:
            await self._networks.check_creation(form.to_network(after), plan.networks(but=name))
        else:
            self._check_change(before, after)
            for subnet in _added(before, after):
                self._pools.check_pool(plan.network(name), Pool(subnet=subnet), plan.networks(but=name))

    def _check_change(self, before: Item, after: Item) -> None:
        """Raises Invalid."""
        pools = registry.driver(after.spec.driver).addresses.pools
        changed = [
            name
            for name in ("driver", "subnets", "options", "internal", "mtu")
            if getattr(before.spec, name) != getattr(after.spec, name) and not (name == "subnets" and pools)
        ]
        if before.labels != after.labels:
            changed.append("labels")
        if changed:
            raise Invalid(
                f"network {after.name} is there, and its {', '.join(changed)} cannot be changed: `weft export "
                f"network/{after.name}` shows what it is"
            )

    async def _check_unused(self, name: str, plan: Plan) -> None:
        """Raises Conflict."""
        items = (await self._parts.store.list(keys.ENDPOINTS)).items
        inside = [item for item in items if (at := keys.ENDPOINT.parse(item.key)) and at.network == name]
        if inside:
            names = ", ".join(f"{e.name} on {e.node}" for e in records.readable(Endpoint, inside[:3]))
            raise Conflict(
                f"network {name} has {len(inside)} endpoints ({names}): detach them first, or leave the network in the "
                "documents"
            )
        services = self._parts.view.table(SERVICES).by("network", "name").get(name, {}).values()
        kept = sorted(s.name for s in services if not s.automatic and not plan.removes(f"service/{name}/{s.name}"))
        if kept:
            raise Conflict(
                f"network {name} has services that stay ({', '.join(kept[:3])}): remove them first, or leave the network in "
                "the documents"
            )

    async def make(self, changes: Sequence[Change], plan: Plan) -> None:
        for change in changes:
            if change.after is None:
                await self._networks.remove(change.item.name)
            elif change.before is None:
                await self._networks.create(form.to_network(change.after))
            else:
                for subnet in _added(change.before, change.after):
                    await self._pools.replace(change.item.name, None, Pool(subnet=subnet))


def _added(before: Item, after: Item) -> list[IPNetwork]:
    return [subnet for subnet in after.spec.subnets if subnet not in before.spec.subnets]
