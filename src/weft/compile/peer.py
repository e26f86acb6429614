"""Another node that holds a lease in a network."""

from __future__ import annotations

from collections.abc import Iterator, Set

from weft.cluster.changes import Changed
from weft.cluster.foreign import Foreign
from weft.cluster.view import View
from weft.compile.contributor import Contributor
from weft.compile.known import Known
from weft.datapaths import registry
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import records

NAME = "peer"


def _touched(view: View, changed: Changed) -> Iterator[Source]:
    return (Source(NAME, at.network, at.node) for at in changed.of(records.LEASES) if at.node != view.me)


def _of_network(view: View, network: str) -> Iterator[Source]:
    return (Source(NAME, network, node) for node in view.leases.get(network, ()) if node != view.me)


def _of_nodes(view: View, nodes: Set[str]) -> Iterator[Source]:
    leases = view.table(records.LEASES).by("node", "network")
    return (Source(NAME, network, node) for node in nodes for network in leases.get(node, ()))


def _contribute(known: Known, source: Source) -> Contribution | None:
    lease, node = known.view.lease(source.network, source.name), known.view.nodes.get(source.name)
    if lease is None or node is None or source.name in known.dead:
        return None
    if known.view.derived(Foreign).replaced(source.network, source.name):
        return None
    site = known.here(source.network)
    return None if site is None else known.gather(registry.of(site.network).peer(site, node, lease))


CONTRIBUTOR = Contributor(
    name=NAME, contribute=_contribute, touched=_touched, of_network=_of_network, of_nodes=_of_nodes
)
