"""Networks as documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources.declared.part import Change, Plan
from weft.agent.resources.network_changes import NetworkChanges
from weft.agent.resources.networks import Networks
from weft.agent.resources.pools import Pools
from weft.api import types as t
from weft.base.errors import Conflict
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

    def __init__(self, parts: Parts, networks: Networks, changes: NetworkChanges, pools: Pools) -> None:
        self._parts, self._networks, self._changes, self._pools = parts, networks, changes, pools

    async def there(self) -> list[Item]:
        return [form.from_network(network) for network in self._parts.view.networks.values()]

    def undeclared(self) -> Iterable[Item]:
        return ()

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
            for subnet in _added(before, after):
                self._pools.check_pool(plan.network(name), Pool(subnet=subnet), plan.networks(but=name))
            plan.notes += [f"network {name}: {note}" for note in await self._set(before, after, check=True)]

    async def _set(self, before: Item, after: Item, *, check: bool = False) -> tuple[str, ...]:
        """`check`: it is only asked whether it could be. What users should know of it. Raises Invalid, Conflict, Unavailable,
        Failed."""
        asked = form.to_changes(before, after)
        if asked == t.SetNetwork():
            return ()
        old = self._parts.view.networks.get(after.name)
        done = await self._changes.set_network(after.name, msgspec.structs.replace(asked, check=check), old)
        return done.notes

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
        sharing = [n for n in self._parts.view.sharing(name) if n != name and not plan.removes(f"network/{n}")]
        if sharing:
            raise Conflict(f"network {name} is shared by {sharing[0]}, which stays: leave the network in the documents")
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
                await self._set(change.before, change.after)
                for subnet in _added(change.before, change.after):
                    await self._pools.replace(change.item.name, None, Pool(subnet=subnet))


def _added(before: Item, after: Item) -> list[IPNetwork]:
    """Pools that are to be added."""
    if not registry.driver(before.spec.driver).addresses.pools:
        return []
    return [subnet for subnet in after.spec.subnets if subnet not in before.spec.subnets]
