"""Which containers of a routed network no packet will reach from elsewhere, and what to do about it.

Where packets go between hosts as they are, two hosts need addresses of the family in question. A host that is not on-link is
reached through routers, which have to know the containers' blocks: by BGP, as far as this host can tell. What goes
through a tunnel needs neither. Pure: it follows from the model, so it is known before the first container is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from weft.base.net import Family, family
from weft.bgp.plan import Model, Tunnelled, announced, others, spoken_to
from weft.model import Node


class Unreached(msgspec.Struct, frozen=True):
    """`peer`: the node that it is about, "" where it is about several or this one."""

    network: str
    peer: str
    text: str


def unreached(me: Node, model: Model) -> Iterator[Unreached]:
    """As seen from this node, a line for each network, family and reason."""
    speaking, _ = others(me, model)
    told_to = {family(peer.address) for peer in spoken_to(me, model)}
    for name, tunnelled in announced(model.networks):
        network = model.networks[name]
        if network.home != name:
            continue
        nodes = [n for n in speaking.values() if n.name in model.leases.get(name, {}) or n.name in model.present]
        for fam in network.families if nodes else ():
            yield from _of_family(me, nodes, name, tunnelled, fam, routers=fam in told_to)


def _of_family(
    me: Node, nodes: Iterable[Node], network: str, tunnelled: Tunnelled, fam: Family, *, routers: bool
) -> Iterator[Unreached]:
    plain = [n for n in nodes if not tunnelled(me, n, fam)]
    instead = (
        f"make network {network} with -O encap=vxlan{' -O underlay=ipv6' if fam == 4 else ''}, or without IPv{fam}"
    )
    if plain and me.address(fam) is None:
        text = f"no other node reaches the IPv{fam} addresses of containers here; give it one, or {instead}"
        yield Unreached(network, "", f"{me.name} has no IPv{fam} address on {me.uplink}, so {text}")
        return
    lacking = [n for n in plain if n.address(fam) is None]
    if lacking:
        text = f"no other node reaches the IPv{fam} addresses of containers there; give it one, or {instead}"
        yield Unreached(network, _one(lacking), f"{_names(lacking)}: no IPv{fam} address, so {text}")
    beyond = [n for n in plain if n not in lacking and not me.on_link(n, fam)]
    if beyond and not routers:
        text = (
            f"the IPv{fam} addresses of containers there are reached only if routers know them, and no router is told by BGP; "
            f"set one up with `weft bgp peer add`, or make network {network} with -O encap=vxlan-cross-subnet"
        )
        yield Unreached(network, _one(beyond), f"{_names(beyond)}: behind a router, so {text}")


def _one(nodes: list[Node]) -> str:
    return nodes[0].name if len(nodes) == 1 else ""


def _names(nodes: list[Node]) -> str:
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    return ", ".join(n.name for n in nodes[:3]) + more
