"""Which checks this host is to make: of each service with a health check, one for each of its members that is here. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from weft.base.net import IPAddress
from weft.cluster.changes import Changed
from weft.cluster.footprint import location
from weft.cluster.view import View
from weft.model import Endpoint, records
from weft.services.index import Index
from weft.services.model import Health, Service
from weft.services.record import SERVICES, At, Of


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """`path`, `cookie`: of the container's namespace (cookie 0: whatever is there). `addresses`: it is well if it answers at
    one of them. `port`: 0 where the member calls none of its ports so."""

    of: Of
    health: Health
    path: str
    cookie: int
    addresses: tuple[IPAddress, ...]
    port: int


class Checks:
    """Of a view: `checks(view)`. It has an index of its own of this node's containers: their locations are followed only
    where others need them."""

    def __init__(self, view: View) -> None:
        self._view, self._index = view, Index()
        self._found: dict[At, dict[Of, Check]] = {}
        self._changed: set[At] = set()
        for network, found in view.table(SERVICES).by("network", "name").items():
            for name, service in found.items():
                self._index.put_service(At(network, name), _checked(service))
        for endpoint in view.endpoints.values():
            self._index.put_location(endpoint.network, endpoint.id, location(endpoint))
        self._review()

    def update(self, changed: Changed) -> None:
        view = self._view
        for at in changed.of(SERVICES):
            self._index.put_service(at, _checked(view.table(SERVICES).get(at)))
        for place in changed.of(records.ENDPOINTS):
            found = view.table(records.ENDPOINTS).get(place)
            self._index.put_location(place.network, place.id, location(found) if found else None)
        self._review()

    def taken(self) -> set[At]:
        """The services of which something is different since this was asked last."""
        found, self._changed = self._changed, set()
        return found

    @property
    def services(self) -> Collection[At]:
        """Those with checks here."""
        return self._found.keys()

    def of(self, at: At) -> Mapping[Of, Check]:
        return self._found.get(at, {})

    def get(self, of: Of) -> Check | None:
        return self.of(At(of.network, of.service)).get(of)

    def _review(self) -> None:
        for at in self._index.taken():
            found = {check.of: check for check in self._made(at)}
            if found != self._found.get(at, {}):
                self._changed.add(at)
            self._found.pop(at, None)
            if found:
                self._found[at] = found

    def _made(self, at: At) -> list[Check]:
        service, own = self._index.services.get(at), self._view.endpoints
        return [_check(at, service, own[m.id]) for m in self._index.members(at) if m.id in own] if service else []


def checks(view: View) -> Checks:
    return view.derived(Checks)


def _checked(service: Service | None) -> Service | None:
    return service if service is not None and service.health is not None else None


def _check(at: At, service: Service, member: Endpoint) -> Check:
    health = service.health
    assert health is not None, "only services with one are looked at"
    port = health.port or (service.ports[0].of(member.named_ports) if service.ports else 0)
    return Check(
        of=Of(at.network, at.name, member.id),
        health=health,
        path=member.namespace.path,
        cookie=member.namespace.cookie,
        addresses=tuple(address.ip for address in member.addresses),
        port=port or 0,
    )
