"""Another host with which tunnels of encrypted networks are encrypted. It is about ports, so it is there as soon as any network
is encrypted, whether or not that is on both hosts already."""

from __future__ import annotations

from collections.abc import Iterator, Set

from weft.base.errors import WeftError
from weft.cluster.view import View
from weft.compile.contributor import Contributor
from weft.compile.known import Known
from weft.datapaths import _encryption
from weft.datapaths.options import ENCRYPT
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import ciphers

NAME = "encryption"


def _of_nodes(_: View, nodes: Set[str]) -> Iterator[Source]:
    return (Source(NAME, "", node) for node in nodes)


def _everything(view: View) -> Iterator[Source]:
    return _of_nodes(view, view.nodes.keys() - {view.me})


def _of_network(view: View, _: str) -> Iterator[Source]:
    """It may be the first that is encrypted, or have been the last."""
    return _everything(view)


def _contribute(known: Known, source: Source) -> Contribution | None:
    node = known.view.nodes.get(source.name)
    if known.host is None or node is None:
        return None
    return known.gather(_encryption.pair(known.host, node, set(_ports(known))))


def _ports(known: Known) -> Iterator[_encryption.Port]:
    for network in known.view.networks.values():
        if not network.options.get(ENCRYPT):
            continue
        try:
            options = known.options(network)
        except WeftError:  # told where the network itself is asked for
            continue
        if options.secured is not None:
            yield options.secured


def how(known: Known, node: str) -> str:
    """By what is encrypted that encrypted networks send to another node by the kernel's tunnel: "wireguard", "esp"; "trusted"
    where it need not be; "nothing passes" where it cannot be. "" where no network is encrypted, or nothing is known."""
    other, families = known.view.nodes.get(node), {fam for fam, _ in _ports(known)}
    if known.host is None or other is None or not families:
        return ""
    me = known.host.node
    if all(ciphers.trusts(me, other, fam, known.host.trusted) for fam in families):
        return "trusted"
    return ciphers.cipher(me, other) or "nothing passes"


CONTRIBUTOR = Contributor(
    name=NAME, contribute=_contribute, of_network=_of_network, of_nodes=_of_nodes, everything=_everything
)
