"""A container on this host: its interface. What a data path wants of the container's own namespace is told to its engine
where the interface is handed over (`weft.compile.handover`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from weft.cluster.changes import Changed
from weft.cluster.services import services
from weft.cluster.view import View
from weft.compile import handover, policy
from weft.compile.contributor import Contributor, Needs
from weft.compile.known import Known
from weft.datapaths import guard, registry
from weft.datapaths.driver import Site
from weft.hoststate import Contribution, Key, Link, Object, Veth
from weft.hoststate.union import Source
from weft.model import Endpoint, records

NAME = "endpoint"


def for_each(
    name: str, contribute: Callable[[Known, Endpoint], Contribution | None], needs: Needs | None = None
) -> Contributor:
    """A contributor that has a source for each endpoint of this host; `contribute`: what that one wants."""

    def of_source(known: Known, source: Source) -> Contribution | None:
        endpoint = known.view.endpoints.get(source.name)
        return None if endpoint is None else contribute(known, endpoint)

    def touched(_view: View, changed: Changed) -> Iterator[Source]:
        return (Source(name, at.network, at.id) for at in changed.of(records.ENDPOINTS))

    def of_network(view: View, network: str) -> Iterator[Source]:
        """And those of the networks that share it."""
        networks = {network, *view.sharing(network)}
        return (Source(name, other, e.id) for other in networks for e in view.endpoints_of(other))

    return Contributor(name=name, contribute=of_source, touched=touched, of_network=of_network, needs=needs)


def site_of(known: Known, endpoint: Endpoint) -> Site | None:
    """Where it is attached."""
    site = known.site(known.view.home(endpoint.network))
    return site if isinstance(site, Site) else None


def ranked(endpoint: Endpoint, found: Contribution) -> Contribution:
    """Of a container's several interfaces the first one has what they all want."""
    return msgspec.structs.replace(found, rank=endpoint.rank) if endpoint.rank else found


def whole(known: Known, endpoint: Endpoint) -> Contribution:
    """What its interface consists of, with what its engine will do itself if it is handed over."""
    site = site_of(known, endpoint)
    if site is None:
        return Contribution()
    answer = registry.of(site.network).endpoint(site, handover.with_inside(endpoint))
    return ranked(endpoint, _closed(known, endpoint, _called(known, endpoint, known.gather(answer))))


def _called(known: Known, endpoint: Endpoint, found: Contribution) -> Contribution:
    """A member of a service may call itself, and is answered by the port that it came from. Where ports of the hosts lead to
    it, others on its bridge may call it by these, as they may call who publishes ports of its own (`_gateway`)."""
    index = services(known.view)
    of = index.of(endpoint.network, endpoint.id)
    if not of:
        return found
    lacking = known.host.lacking if known.host else ()
    published = any(index.services[at].published for at in of) and guard.BRIDGE_RULES not in lacking
    turning = (_turning(o, endpoint.host_interface, published=published) for o in found.objects)
    return msgspec.structs.replace(found, objects=tuple(turning))


def _turning(obj: Object, port: str, *, published: bool) -> Object:
    if not isinstance(obj, Link) or not obj.master or not (published or obj.name == port):
        return obj
    return msgspec.structs.replace(obj, hairpin=True, isolated=obj.isolated and not published)


def _closed(known: Known, endpoint: Endpoint, found: Contribution) -> Contribution:
    """Its devices are made when the rules are there that policy has for it, and go before them."""
    guards = tuple(policy.guards(known, endpoint))
    if not guards:
        return found
    return msgspec.structs.replace(found, objects=tuple(_guarded(o, guards) for o in found.objects))


def _guarded(obj: Object, guards: tuple[Key, ...]) -> Object:
    if isinstance(obj, Link) and isinstance(obj.type, Veth) and obj.type.primary:
        return msgspec.structs.replace(obj, guards=(*obj.guards, *guards))
    return obj


def _contribute(known: Known, endpoint: Endpoint) -> Contribution | None:
    if site_of(known, endpoint) is None:
        return None
    return handover.host_part(endpoint, whole(known, endpoint))


def _pending(view: View) -> Iterator[Source]:
    return (Source(NAME, network, id) for network, id in services(view).moved() if id in view.endpoints)


CONTRIBUTOR = msgspec.structs.replace(for_each(NAME, _contribute), pending=_pending)
