"""A container elsewhere, in a network with one subnet for all hosts. Only hosts that have a container in the network follow
where its others are: so what a container's coming and going costs is borne by the hosts that it concerns."""

from __future__ import annotations

from collections.abc import Iterator, Set

from weft.cluster.changes import Changed
from weft.cluster.follower import Part
from weft.cluster.view import View
from weft.compile.contributor import Contributor, Needs
from weft.compile.known import Known
from weft.datapaths import registry
from weft.datapaths.traits import KnownBy
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import records

NAME = "location"


def _by_locations(view: View, network: str) -> bool:
    """Whether a network reaches from host to host by them, or is gone and may have. Policy follows those of others, too."""
    return network not in view.networks or view.driver(network).known_by is KnownBy.LOCATIONS


def _touched(view: View, changed: Changed) -> Iterator[Source]:
    """Of a network that changed, whatever it is by now: it may have been another one."""
    renewed = {at.network for at in changed.of(records.NETWORKS)}
    for at in changed.of(records.LOCATIONS):
        if at.network in renewed or _by_locations(view, at.network):
            yield Source(NAME, at.network, at.id)
    for network in renewed:
        yield from (Source(NAME, network, id) for id in view.locations.get(network, ()))


def _of_network(view: View, network: str) -> Iterator[Source]:
    found = view.locations.get(network, ()) if _by_locations(view, network) else ()
    return (Source(NAME, network, id) for id in found)


def _of_nodes(view: View, nodes: Set[str]) -> Iterator[Source]:
    located = view.table(records.LOCATIONS).by("node", "network", "id")
    for node in nodes:
        for network, found in located.get(node, {}).items():
            if _by_locations(view, network):
                yield from (Source(NAME, network, id) for id in found)


def _contribute(known: Known, source: Source) -> Contribution | None:
    view = known.view
    if not view.endpoints_of(source.network):
        return None
    location = view.locations.get(source.network, {}).get(source.name)
    node = view.nodes.get(location.node) if location else None
    if location is None or node is None or node.name == view.me or node.name in known.dead:
        return None
    site = known.here(source.network)
    return None if site is None else known.gather(registry.of(site.network).location(site, node, location))


def _parts(view: View) -> Iterator[Part]:
    return ((records.LOCATIONS, name) for name in view.joined)


CONTRIBUTOR = Contributor(
    name=NAME,
    contribute=_contribute,
    touched=_touched,
    of_network=_of_network,
    of_nodes=_of_nodes,
    needs=Needs((records.NETWORKS, records.ENDPOINTS), _parts),
)
