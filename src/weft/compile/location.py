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


def _touched(_: View, changed: Changed) -> Iterator[Source]:
    return (Source(NAME, at.network, at.id) for at in changed.of(records.LOCATIONS))


def _of_network(view: View, network: str) -> Iterator[Source]:
    return (Source(NAME, network, id) for id in view.locations.get(network, ()))


def _of_nodes(view: View, nodes: Set[str]) -> Iterator[Source]:
    located = view.table(records.LOCATIONS).by("node", "network", "id")
    for node in nodes:
        for network, found in located.get(node, {}).items():
            yield from (Source(NAME, network, id) for id in found)


def _contribute(known: Known, source: Source) -> Contribution | None:
    view = known.view
    location = view.locations.get(source.network, {}).get(source.name)
    node = view.nodes.get(location.node) if location else None
    if location is None or node is None or node.name == view.me or node.name in known.dead:
        return None
    site = known.here(source.network)
    return None if site is None else known.gather(registry.of(site.network).location(site, node, location))


def _parts(view: View) -> Iterator[Part]:
    """Of networks that containers of this host are in."""
    here = view.table(records.ENDPOINTS).by("network", "id")
    return ((records.LOCATIONS, name) for name in here if view.driver(name).known_by is KnownBy.LOCATIONS)


CONTRIBUTOR = Contributor(
    name=NAME,
    contribute=_contribute,
    touched=_touched,
    of_network=_of_network,
    of_nodes=_of_nodes,
    needs=Needs((records.NETWORKS, records.ENDPOINTS), _parts),
)
