"""What hosts need to probe each other, and to send by a third one, as soon as there is a network whose driver has several ways
between hosts: this host's devices, and a source for each other node."""

from __future__ import annotations

from collections.abc import Iterator, Set

from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.compile.contributor import Contributor
from weft.compile.known import Known
from weft.datapaths import _paths
from weft.datapaths.driver import Answer, Host
from weft.datapaths.traits import KnownBy
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import Network, Node, records

NAME = "path"
DEVICES = _paths.KERNEL, _paths.SLEEVE
"""In the kernel's tunnel, and in the sleeve."""
mac, carries = _paths.mac, _paths.carries
_HERE = Source(NAME, "", "")


def networks(view: View) -> list[Network]:
    """Those whose hosts have several ways."""
    return [network for name, network in view.networks.items() if view.driver(name).several_ways(network)]


def partners(view: View) -> set[str]:
    """Nodes with which this one exchanges packets of such networks: both have containers in one of them."""
    shared = {network.name for network in networks(view)} & view.joined
    if not shared:
        return set()
    by_locations = {name for name in shared if view.driver(name).known_by is KnownBy.LOCATIONS}
    located = view.table(records.LOCATIONS).by("node", "network", "id")
    found = {node for node, held in located.items() if by_locations & held.keys()}
    for name in shared - by_locations:
        found |= view.leases.get(view.home(name), {}).keys()
    return found - {view.me}


def _number(view: View) -> int:
    """Of this node; 0 while it has none."""
    me = view.nodes.get(view.me)
    return me.number if me else 0


def _contribute(known: Known, source: Source) -> Contribution | None:
    if known.host is None or not networks(known.view):
        return None
    if source == _HERE:
        return known.gather(_paths.devices(known.host, _number(known.view)))
    node = known.view.nodes.get(source.name)
    return None if node is None else known.gather(_other(known, known.host, node))


def _other(known: Known, host: Host, node: Node) -> Answer:
    via = host.paths[node.name].via if node.name in host.paths else ""
    yield from _paths.other(host, _number(known.view), node, known.view.nodes.get(via))


def _touched(view: View, changed: Changed) -> Iterator[Source]:
    """This node's own number, and addresses."""
    if any(at.node == view.me for at in changed.of(records.NODES)):
        yield from _everything(view)


def _of_network(view: View, network: str) -> Iterator[Source]:
    """It may be the first of these networks, or have been the last."""
    if network not in view.networks or view.driver(network).several_ways(view.networks[network]):
        yield from _everything(view)


def _of_nodes(_: View, nodes: Set[str]) -> Iterator[Source]:
    return (Source(NAME, "", node) for node in nodes)


def _everything(view: View) -> Iterator[Source]:
    yield _HERE
    yield from _of_nodes(view, view.nodes.keys() - {view.me})


CONTRIBUTOR = Contributor(
    name=NAME,
    contribute=_contribute,
    touched=_touched,
    of_network=_of_network,
    of_nodes=_of_nodes,
    everything=_everything,
)
