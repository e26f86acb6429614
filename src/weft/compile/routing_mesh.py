"""Ports of every host that lead to services: a source for each service that publishes any (`entry`), and one for each other
node, to which packets go on (`mesh`). Where no service publishes ports, there is none of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Set

from weft.cluster.changes import Changed
from weft.cluster.services import services
from weft.cluster.view import View
from weft.compile.contributor import Contributor
from weft.compile.endpoint import site_of
from weft.compile.known import Known
from weft.datapaths import _bypass, _entries, _routing_mesh, registry
from weft.datapaths._entries import Entry, Place
from weft.datapaths.driver import Answer, Problem
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import records
from weft.services.index import Member
from weft.services.model import Service
from weft.services.record import SERVICES, At

ENTRY, MESH = "entry", "mesh"
REFUSED = _entries.REFUSED
"""The chain whose rules count the connections to published ports that are refused."""
UDP_PORT = _routing_mesh.UDP_PORT


class Publishing:
    """The services of a view that publish ports."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.found = {at for at, service in services(view).services.items() if service.published}
        self._told = False

    def update(self, changed: Changed) -> None:
        for at in changed.of(SERVICES):
            service = self._view.table(SERVICES).get(at)
            (self.found.add if service and service.published else self.found.discard)(at)

    def turned(self) -> bool:
        """Whether there are any now, and were none when this was asked last, or the contrary."""
        before, self._told = self._told, bool(self.found)
        return before != self._told


def _publishing(view: View) -> Publishing:
    return view.derived(Publishing)


def tunnelled(view: View) -> bool:
    """Whether this host is to have the tunnel."""
    return bool(_publishing(view).found) and any(_others(view))


def _number(view: View) -> int:
    """Of this node; 0 while it has none."""
    me = view.nodes.get(view.me)
    return me.number if me else 0


# -- the ports of a service --------------------------------------------------------------------------------------------


def _of_service(known: Known, source: Source) -> Contribution | None:
    at, index = At(source.network, source.name), services(known.view)
    service = index.services.get(at)
    if known.host is None or service is None or not service.published:
        return None
    return known.gather(_answer(known, service, [m for m in index.members(at, time.time()) if m.state != "out"]))


def _answer(known: Known, service: Service, members: list[Member]) -> Answer:
    places = []
    for member in members:
        here = member.location.node == known.view.me
        place = _here(known, service, member) if here else _there(known, member)
        if isinstance(place, Place):
            places.append(place)
            endpoint = known.view.endpoints.get(member.id) if here else None
            site = site_of(known, endpoint) if endpoint else None
            yield from _bypass.tracked(site, place.reached.targets) if site and place.reached else ()
        elif place is not None:
            yield place
    yield from _entries.entries(
        Entry(
            published=service.published,
            places=tuple(places),
            number=_number(known.view),
            sticky=service.affinity == "client-ip",
            near=service.traffic == "local-first",
        )
    )


def _here(known: Known, service: Service, member: Member) -> Place | Problem | None:
    endpoint = known.view.endpoints.get(member.id)
    site = site_of(known, endpoint) if endpoint else None
    if endpoint is None or site is None:
        return None
    reached = registry.of(site.network).reached(site, endpoint)
    if reached is None:
        return Problem(
            f"service {service.name} publishes ports, but they do not lead to {endpoint.name}: network {service.network} is "
            "internal, or the container's way out is by another network of its own; take the ports from the service, or "
            "attach the container to this network first"
        )
    ends = {(port.protocol, port.port): port.of(member.location.ports) for port in service.ports}
    ports = {place: port for place, port in ends.items() if port is not None}
    return Place(id=member.id, takes=member.takes, reached=reached, ports=ports)


def _there(known: Known, member: Member) -> Place | None:
    """None where no packet gets there. (What has to be done about it is told once, by `mesh`.)"""
    location, view = member.location, known.view
    node = view.nodes.get(location.node)
    if known.host is None or node is None or not node.number or not _number(view):
        return None
    takes = member.takes and node.name not in known.dead
    led = _routing_mesh.families(known.host)
    families = tuple(fam for fam in led if any(address.version == fam for address in location.addresses))
    return Place(id=member.id, takes=takes, number=node.number, families=families)


def _entry(at: At) -> Source:
    return Source(ENTRY, at.network, at.name)


def _entries_touched(view: View, changed: Changed) -> Iterator[Source]:
    """Members here, by more than their locations say; and all of them where this node's number is another."""
    found = _publishing(view).found
    for attached in changed.of(records.ENDPOINTS):
        yield from map(_entry, services(view).of(attached.network, attached.id) & found)
    if any(at.node == view.me for at in changed.of(records.NODES)):
        yield from map(_entry, found)


def _entries_of_network(view: View, network: str) -> Iterator[Source]:
    """And of those that share it."""
    named = {network, *view.sharing(network)}
    return (_entry(at) for at in _publishing(view).found if at.network in named)


def _all_entries(view: View, _nodes: Set[str] = frozenset()) -> Iterator[Source]:
    return map(_entry, _publishing(view).found)


# -- the way to other nodes --------------------------------------------------------------------------------------------


def _of_node(known: Known, source: Source) -> Contribution | None:
    view = known.view
    node, number = view.nodes.get(source.name), _number(view)
    if known.host is None or node is None or not number or not _publishing(view).found:
        return None
    return known.gather(_way(known, node.name, number))


def _way(known: Known, name: str, number: int) -> Answer:
    node = known.view.nodes[name]
    if known.host is None:
        return
    yield from _routing_mesh.device(known.host, number)
    if not node.number:
        yield Problem(f"{name} has no number yet, so published ports of services do not lead there: update Weft on it")
    elif node.number != number:
        yield from _routing_mesh.peer(known.host, node)


def _others(view: View) -> Iterator[Source]:
    return (Source(MESH, "", name) for name in view.nodes if name != view.me)


def _ways_touched(view: View, changed: Changed) -> Iterator[Source]:
    if any(at.node == view.me for at in changed.of(records.NODES)):
        yield from _others(view)


def _ways_pending(view: View) -> Iterator[Source]:
    return _others(view) if _publishing(view).turned() else iter(())


CONTRIBUTORS = (
    Contributor(
        name=ENTRY,
        contribute=_of_service,
        touched=_entries_touched,
        of_network=_entries_of_network,
        of_nodes=_all_entries,
        everything=_all_entries,
        pending=lambda view: map(_entry, services(view).taken(ENTRY)),
    ),
    Contributor(
        name=MESH,
        contribute=_of_node,
        touched=_ways_touched,
        of_nodes=lambda _view, nodes: (Source(MESH, "", name) for name in nodes),
        everything=_others,
        pending=_ways_pending,
    ),
)
"""Locations and conditions are followed for these services as for all (`weft.compile.services`)."""
