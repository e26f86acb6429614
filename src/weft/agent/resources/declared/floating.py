"""Floating addresses as documents. The containers that they lead to are attached, not declared: an address whose container is
not there waits, and is given by the next call after it came."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from weft.agent.parts import Parts
from weft.agent.resources import infos
from weft.agent.resources.declared.part import Change, Plan
from weft.base.errors import Invalid
from weft.base.net import parse_address
from weft.cluster import records
from weft.declared import floating as form
from weft.declared.item import Item
from weft.endpoints.floating import Floating
from weft.ipam.floating import taking
from weft.model import Endpoint, keys
from weft.model.floating import check


class FloatingPart:
    kinds = frozenset((form.NAME,))
    at_once = 1

    def __init__(self, parts: Parts) -> None:
        self._parts, self._floating = parts, Floating(parts.cluster, parts.attachments)

    async def _endpoints(self) -> list[Endpoint]:
        listing = await self._parts.store.list(keys.ENDPOINTS)
        return await asyncio.to_thread(records.readable, Endpoint, listing.items)

    async def there(self) -> list[Item]:
        return [
            form.from_address(address, endpoint.network, endpoint.name)
            for endpoint in await self._endpoints()
            for address in endpoint.floating
        ]

    def undeclared(self) -> Iterable[Item]:
        return ()

    async def find(self, item: Item) -> Item | None:
        return next((found for found in await self.there() if found.id == item.id), None)

    def settled(self, wanted: Item, found: Item | None) -> Item:
        return wanted

    async def check(self, change: Change, plan: Plan) -> None:
        network = plan.network(change.item.scope)
        found = await self._of(change.item)
        if found is None:
            change.waits = (
                f"network {network.name} has no container {change.item.spec.endpoint}: attach it, and apply this again"
            )
            return
        check([parse_address(change.item.name)], found.families)
        if change.before is None:
            await taking(self._parts.cluster, found, network, [parse_address(change.item.name)])

    async def _of(self, item: Item) -> Endpoint | None:
        """The container that it is to lead to. Raises Invalid where several are called so."""
        named = (item.scope, item.spec.endpoint)
        found = [e for e in await self._endpoints() if (e.network, e.name) == named]
        if len(found) > 1:
            where = " and ".join(sorted(e.node for e in found))
            raise Invalid(f"{item.spec.endpoint} in network {item.scope} is more than one container: on {where}")
        return found[0] if found else None

    async def make(self, changes: Sequence[Change], plan: Plan) -> None:
        for change in changes:
            address = parse_address(change.item.name)
            if change.before is not None and (old := await self._of(change.before)):
                await self._floating.remove(infos.endpoint(self._parts, old), (address,))
            if change.after is not None and (new := await self._of(change.after)):
                await self._floating.add(infos.endpoint(self._parts, new), (address,))
