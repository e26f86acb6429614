"""Services as documents. Those that containers' labels make come and go with the containers, and are no documents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from weakref import WeakKeyDictionary

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


class Crowd:
    """Services, by what no two of them may have alike: to look at each pair would take too long."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._services = services
        self._by_mark = defaultdict[tuple[object, ...], set[str]](set)
        for id, service in services.items():
            for mark in _marks(service):
                self._by_mark[mark].add(id)

    def near(self, id: str) -> list[Service]:
        """The others that have something of one of them."""
        ids = {other for mark in _marks(self._services[id]) for other in self._by_mark[mark]} - {id}
        return [self._services[other] for other in sorted(ids)]


def _marks(service: Service) -> Iterator[tuple[object, ...]]:
    yield from (("name", service.network, name) for name in (service.name, *service.aliases))
    yield from (("address", service.network, address) for address in service.addresses)
    for port in service.published:
        for outer, _ in port.pairs:
            yield from (("port", port.protocol, outer, fam) for fam in port.families)


class ServicesPart:
    kinds = frozenset((form.NAME,))
    at_once = 1

    def __init__(self, parts: Parts, networks: Networks) -> None:
        self._parts, self._networks = parts, networks
        self._crowds = WeakKeyDictionary[Plan, Crowd]()

    async def there(self) -> list[Item]:
        return [form.from_service(found) for found in _all(self._parts.view) if not found.automatic]

    def undeclared(self) -> Iterable[Item]:
        return (form.from_service(found) for found in _all(self._parts.view) if found.automatic)

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
        new, others = wanted(request), self._crowd(plan).near(change.after.id)
        check_network(new, network, request.addresses, request.publish)
        check_names(new, others)
        wishes = [publish.read(text, new.ports) for text in request.publish]
        publish.apart([wish for wish in wishes if not wish.open], others)
        _check_addresses(change.after, network, others)

    def _crowd(self, plan: Plan) -> Crowd:
        """All that will be there."""
        found = self._crowds.get(plan)
        if found is None:
            there = {form.from_service(service).id: service for service in _all(self._parts.view)}
            coming = {c.item.id: _as_it_will_be(c.after) for c in plan.of(form.NAME) if c.after is not None}
            gone = {change.item.id for change in plan.of(form.NAME)}
            found = Crowd({id: service for id, service in there.items() if id not in gone} | coming)
            self._crowds[plan] = found
        return found

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
