"""A host of others that has a lease in a network of ours (`weft.cluster.foreign`): it needs what any other node needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from itertools import chain

import msgspec

from weft.base.net import IPAddress
from weft.cluster.changes import Changed
from weft.cluster.foreign import Foreign
from weft.cluster.view import View
from weft.compile import peer
from weft.compile.contributor import Contributor
from weft.compile.known import Known
from weft.datapaths import guard, registry
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import Node, records

NAME = "foreign"


def sources(view: View, network: str, keys: Iterable[str]) -> Iterator[Source]:
    """What entries of a registry are about: hosts of others, and nodes of ours in whose place they may be."""
    listed = list(keys)
    yield from (Source(NAME, network, key) for key in listed)
    yield from (Source(peer.NAME, network, node) for node in view.derived(Foreign).nodes(network, listed))


def _touched(view: View, changed: Changed) -> Iterator[Source]:
    """A node of ours that gets a lease, or loses it, may be the same host; likewise one whose agent comes or goes."""
    foreign = view.derived(Foreign)
    for at in changed.of(records.LEASES):
        yield from sources(view, at.network, foreign.at(at.network, _addresses(view, {at.node})))
    if nodes := {at.node for at in changed.of(records.PRESENCE)}:
        addresses = set(_addresses(view, nodes))
        for network in foreign.networks():
            yield from sources(view, network, foreign.at(network, addresses))


def _of_network(view: View, network: str) -> Iterator[Source]:
    return sources(view, network, view.derived(Foreign).keys(network))


def _of_nodes(view: View, nodes: Set[str]) -> Iterator[Source]:
    foreign, addresses = view.derived(Foreign), set(_addresses(view, nodes))
    for network in foreign.networks():
        # Of a node that is gone it is not known any more which host it was.
        gone = not nodes <= view.nodes.keys()
        yield from sources(view, network, foreign.keys(network) if gone else foreign.at(network, addresses))


def _addresses(view: View, nodes: Set[str]) -> Iterator[IPAddress]:
    return (address.ip for name in nodes if name in view.nodes for address in view.nodes[name].addresses)


def _contribute(known: Known, source: Source) -> Contribution | None:
    guest = known.view.derived(Foreign).guest(source.network, source.name)
    site = known.here(source.network) if guest else None
    if guest is None or site is None:
        return None
    if guest.trouble:
        return Contribution(problems=(guest.trouble,))
    node = _placed(guest.node, site.host.node)
    reached = registry.of(site.network).peer(site, node, guest.lease)
    return known.gather(chain(guard.known_node(site.host.node, node), reached))


def _placed(node: Node, me: Node) -> Node:
    """Nobody gave its segment a name: it is on this host's where the prefix says so."""
    here = any(me.on_link(node, fam) for fam in (4, 6))
    return msgspec.structs.replace(node, segment=me.segment if here else "")


CONTRIBUTOR = Contributor(
    name=NAME, contribute=_contribute, touched=_touched, of_network=_of_network, of_nodes=_of_nodes
)
