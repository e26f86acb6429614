"""Virtual addresses of services on this host: a source for each service of a network that is here, and one for each such
network, with what its services have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set

from weft.cluster.changes import Changed
from weft.cluster.follower import Part
from weft.cluster.services import services
from weft.cluster.view import View
from weft.compile.contributor import Contributor, Needs
from weft.compile.known import Known
from weft.datapaths import _bypass, _ipvs, _services, _short, _virtual, registry
from weft.datapaths._virtual import Backend, Face, Virtual
from weft.datapaths.driver import Balancer, Site
from weft.datapaths.traits import KnownBy
from weft.hoststate import Contribution, Object
from weft.hoststate.union import Source
from weft.model import records
from weft.services.index import Member
from weft.services.model import Service
from weft.services.record import CONDITIONS, SERVICES, At

NAME, PLACE = "service", "service-place"
REFUSED = _services.REFUSED
"""The chain whose rules count the connections to virtual addresses that are refused."""


def _where(known: Known, network: str) -> tuple[Site, Balancer] | None:
    """The network on this host, and where its packets are translated."""
    site = _site(known, network)
    balancer = registry.of(site.network).balancer(site) if site else None
    return (site, balancer) if site and balancer else None


def _site(known: Known, network: str) -> Site | None:
    """The network on this host; None where no packets of its containers pass here."""
    view = known.view
    if network not in view.networks:
        return None
    if view.driver(network).known_by is KnownBy.LOCATIONS and not view.endpoints_of(network):
        return None
    site = known.site(view.home(network))
    return site if isinstance(site, Site) else None


def _contribute(known: Known, source: Source) -> Contribution | None:
    at, index = At(source.network, source.name), services(known.view)
    service = index.services.get(at)
    where = _where(known, at.network) if service and service.addresses else None
    if service is None or where is None:
        return None
    site, balancer = where
    members = [m for m in index.members(at, time.time()) if m.state != "out" and _is_reached(known, site, m)]
    return known.gather(answer(site, balancer, virtual(service, members, known.view.me)))


def _contribute_place(known: Known, source: Source) -> Contribution | None:
    found = known.view.table(SERVICES).by("network", "name").get(source.network, {})
    where = _where(known, source.network) if any(service.addresses for service in found.values()) else None
    return known.gather(common(*where)) if where else None


def common(site: Site, at: Balancer) -> Iterator[Object]:
    """What a network's services have in common on this host, by what the network wants to have them translated."""
    yield from _virtual.common(site, at)
    yield from _COMMON[site.options.balancer](at)
    yield from _short.tracked(site.host, at.ns)


def answer(site: Site, at: Balancer, found: Virtual) -> Iterator[Object]:
    """What one service adds."""
    yield from _virtual.way(at, found)
    yield from _TRANSLATED[site.options.balancer](at, found)
    members = (address for backend in found.backends for address in backend.addresses)
    yield from _bypass.tracked(site, (*found.addresses, *members), at.ns)


_COMMON: Mapping[str, Callable[[Balancer], Iterator[Object]]] = {"nft": _services.common, "ipvs": _ipvs.common}
_TRANSLATED: Mapping[str, Callable[[Balancer, Virtual], Iterator[Object]]] = {
    "nft": _services.translated,
    "ipvs": _ipvs.translated,
}


def place(known: Known, network: str) -> str | None:
    """The namespace in which virtual addresses of a network are translated on this host; None where they are not."""
    where = _where(known, network)
    return where[1].ns if where else None


def _is_reached(known: Known, site: Site, member: Member) -> bool:
    node = member.location.node
    if node == known.view.me:
        return True
    return registry.of(site.network).known_by is not KnownBy.NOTHING and node not in known.dead


def virtual(service: Service, members: Iterable[Member], me: str) -> Virtual:
    """What the data path is told of a service."""
    ports, backends = [], []
    for member in members:
        ports.append(member.location.ports)
        backends.append(_backend(member, me))
    faces = []
    for port in service.ports:
        ends = zip(backends, map(port.of, ports), strict=True)
        found = tuple((backend, number) for backend, number in ends if number is not None)
        faces.append(Face(protocol=port.protocol, port=port.port, backends=found))
    return Virtual(
        addresses=service.addresses,
        sticky=service.affinity == "client-ip",
        faces=tuple(faces),
        backends=tuple(backends),
    )


def _backend(member: Member, me: str) -> Backend:
    there = member.location
    return Backend(addresses=there.addresses, mac=there.mac, here=there.node == me, takes=member.takes)


# -- the contributors ---------------------------------------------------------------------------------------------------


def _source(at: At) -> Source:
    return Source(NAME, at.network, at.name)


def _pending(view: View) -> Iterator[Source]:
    return map(_source, services(view).taken(NAME))


def _touched_places(_view: View, changed: Changed) -> Iterator[Source]:
    return (Source(PLACE, network) for network in {at.network for at in changed.of(SERVICES)})


def _places_of_network(view: View, network: str) -> Iterator[Source]:
    return (Source(PLACE, name) for name in (network, *view.sharing(network)))


def _of_network(view: View, network: str) -> Iterator[Source]:
    """And of those that share it."""
    named, found = {network, *view.sharing(network)}, view.table(SERVICES).by("network", "name")
    return (Source(NAME, name, service) for name in named for service in found.get(name, ()))


def _of_nodes(view: View, nodes: Set[str]) -> Iterator[Source]:
    located, index = view.table(records.LOCATIONS).by("node", "network", "id"), services(view)
    for node in nodes:
        for network, found in located.get(node, {}).items():
            yield from (_source(at) for id in found for at in index.of(network, id))


def _everything(view: View) -> Iterator[Source]:
    return map(_source, services(view).services)


def _parts(view: View) -> Iterator[Part]:
    """Of networks that are on this host; of others the ports of all hosts lead to."""
    for network, found in view.table(SERVICES).by("network", "name").items():
        if _is_here(view, network) or any(service.published for service in found.values()):
            yield records.LOCATIONS, network
            yield CONDITIONS, network


def _is_here(view: View, network: str) -> bool:
    routed = view.driver(network).addresses.routed
    return network in view.joined or (routed and view.lease(view.home(network), view.me) is not None)


CONTRIBUTORS = (
    Contributor(
        name=NAME,
        contribute=_contribute,
        of_network=_of_network,
        of_nodes=_of_nodes,
        everything=_everything,
        pending=_pending,
        needs=Needs((SERVICES, records.NETWORKS, records.LEASES, records.ENDPOINTS), _parts),
    ),
    Contributor(name=PLACE, contribute=_contribute_place, touched=_touched_places, of_network=_places_of_network),
)
