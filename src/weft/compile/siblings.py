"""A container with several interfaces answers by the one that its routes say, with the address that was asked. So the bridges
that it is on take from it the addresses of its other interfaces as well.

The source is an endpoint: by which of the container's other ports its addresses may leave. With the endpoint they are gone
there, too."""

from __future__ import annotations

from collections.abc import Iterator

from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.compile.contributor import Contributor
from weft.compile.endpoint import site_of
from weft.compile.known import Known
from weft.datapaths import registry
from weft.datapaths.driver import Answer
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import Endpoint, records

NAME = "siblings"


def _others(view: View, endpoint: Endpoint) -> list[Endpoint]:
    """The other interfaces of its container, as far as its namespace is known."""
    place = endpoint.namespace
    there = (
        view.endpoints_in(place.cookie) if place.cookie else view.endpoints_at_path(place.path) if place.path else ()
    )
    return sorted((other for other in there if other.id != endpoint.id), key=lambda other: other.id)


def _touched(view: View, changed: Changed) -> Iterator[Source]:
    """Whoever changed, and those by whose ports its addresses leave, or whose addresses leave by its port."""
    for at, before in changed.before(records.ENDPOINTS).items():
        yield Source(NAME, at.network, at.id)
        for endpoint in (before, view.endpoints.get(at.id)):
            if endpoint is not None:
                yield from (Source(NAME, other.network, other.id) for other in _others(view, endpoint))


def _of_network(view: View, network: str) -> Iterator[Source]:
    for name in {network, *view.sharing(network)}:
        for endpoint in view.endpoints_of(name):
            others = _others(view, endpoint)
            yield from (Source(NAME, each.network, each.id) for each in (endpoint, *others) if others)


def _contribute(known: Known, source: Source) -> Contribution | None:
    endpoint = known.view.endpoints.get(source.name)
    others = _others(known.view, endpoint) if endpoint is not None else []
    if endpoint is None or not others:
        return None
    return known.gather(_answer(known, endpoint, others))


def _answer(known: Known, endpoint: Endpoint, others: list[Endpoint]) -> Answer:
    addresses = endpoint.addresses + (endpoint.gateway.addresses if endpoint.gateway else ())
    for other in others:
        if (site := site_of(known, other)) is not None:
            yield from registry.of(site.network).also(site, other, tuple(address.ip for address in addresses))


CONTRIBUTOR = Contributor(name=NAME, contribute=_contribute, touched=_touched, of_network=_of_network)
