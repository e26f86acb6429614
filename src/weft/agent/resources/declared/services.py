"""Services as documents. Those that containers' labels make come and go with the containers, and are no documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources.declared.part import Change, Plan
from weft.agent.resources.networks import Networks
from weft.base.errors import Conflict, Invalid
from weft.base.net import contains
from weft.cluster.view import View
from weft.declared import service as form
from weft.declared.item import Item
from weft.endpoints.services import check_names, check_network, wanted
from weft.model import Network
from weft.services import publish
from weft.services.model import Service
from weft.services.record import SERVICES, At


class ServicesPart:
    kinds = frozenset((form.NAME,))
    at_once = 1

    def __init__(self, parts: Parts, networks: Networks) -> None:
        self._parts, self._networks = parts, networks

    async def there(self) -> list[Item]:
        return [form.from_service(found) for found in _all(self._parts.view) if not found.automatic]

    async def find(self, item: Item) -> Item | None:
        found = self._record(item)
        return None if found is None else form.from_service(found)

    def _record(self, item: Item) -> Service | None:
        return self._parts.view.table(SERVICES).get(At(item.scope, item.name))

    def settled(self, wanted: Item, found: Item | None) -> Item:
        record = self._record(wanted)
        return wanted if record is None else form.settled(wanted, record)

    async def check(self, change: Change, plan: Plan) -> None:
        if change.after is None:
            return
        network, request = plan.network(change.item.scope), form.to_request(change.after)
        new, others = wanted(request), list(self._others(change.after, plan))
        check_network(new, network, request.addresses, request.publish)
        check_names(new, others)
        wishes = [publish.read(text, new.ports) for text in request.publish]
        publish.apart([wish for wish in wishes if not wish.open], others)
        _check_addresses(change.after, network, others)

    def _others(self, item: Item, plan: Plan) -> Iterator[Service]:
        """All that will be there beside it."""
        changed = {change.item.id: change for change in plan.of(form.NAME)}
        for service in _all(self._parts.view):
            if (id := form.from_service(service).id) != item.id and id not in changed:
                yield service
        for id, change in changed.items():
            if change.after is not None and id != item.id:
                yield _as_it_will_be(change.after)

    async def make(self, changes: Sequence[Change], plan: Plan) -> None:
        for change in changes:
            at = At(change.item.scope, change.item.name)
            if change.after is None:
                await self._parts.virtual.remove(at)
                continue
            network, request = await self._networks.known(at.network), form.to_request(change.after)
            if change.before is None:
                await self._parts.services.create(network, wanted(request), request.addresses, request.publish)
            else:
                expected = self._record(change.item)
                await self._parts.services.change(network, at, form.to_changes(change.after), expected)


def _all(view: View) -> Iterator[Service]:
    for inside in view.table(SERVICES).by("network", "name").values():
        yield from inside.values()


def _as_it_will_be(item: Item) -> Service:
    """But for what is left to Weft to choose."""
    request = form.to_request(item)
    ports = (publish.read(text, request.ports) for text in request.publish)
    return msgspec.structs.replace(
        wanted(request), addresses=request.addresses, published=tuple(port for port in ports if not port.open)
    )


def _check_addresses(item: Item, network: Network, others: Iterable[Service]) -> None:
    """Raises Invalid, Conflict."""
    for address in item.spec.addresses:
        if not any(contains(subnet, address) for subnet in network.subnets):
            listed = ", ".join(map(str, network.subnets))
            raise Invalid(f"service {item.name}: {address} is outside network {network.name}: choose one of {listed}")
        for other in others:
            if other.network == network.name and address in other.addresses:
                raise Conflict(f"service {item.name}: {address} is an address of service {other.name}: choose another")
