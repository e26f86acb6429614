"""Another node as such: what this host knows it by, as soon as there is any network."""

from __future__ import annotations

from collections.abc import Iterator, Set

from weft.cluster.view import View
from weft.compile.contributor import Contributor
from weft.compile.known import Known
from weft.datapaths import guard
from weft.datapaths.driver import gather
from weft.hoststate import Contribution
from weft.hoststate.union import Source

NAME = "node"


def _of_nodes(_: View, nodes: Set[str]) -> Iterator[Source]:
    return (Source(NAME, "", node) for node in nodes)


def _everything(view: View) -> Iterator[Source]:
    return _of_nodes(view, view.nodes.keys() - {view.me})


def _of_network(view: View, _: str) -> Iterator[Source]:
    """It may be the first network there is, or have been the last."""
    return _everything(view)


def _contribute(known: Known, source: Source) -> Contribution | None:
    node = known.view.nodes.get(source.name)
    if known.host is None or node is None or not known.view.networks:
        return None
    return gather(guard.known_node(known.host.node, node))


CONTRIBUTOR = Contributor(
    name=NAME, contribute=_contribute, of_network=_of_network, of_nodes=_of_nodes, everything=_everything
)
