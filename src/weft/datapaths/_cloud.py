"""What data paths by a cloud's own routers have in common: no tunnel, and no route to another host's containers on any host.

Packet's way: container → bridge → host's default route → the cloud's router, which has a route for each node's subnet → the
other host's interface → its routing → its bridge → container. Full MTU.

So a host needs its bridge and forwarding. What the cloud needs is each driver's own: a route to every host's subnet, and that
the hosts' interfaces may send and take packets of addresses that are not theirs.
"""

from __future__ import annotations

from weft.base.net import IPNetwork, covers, parse_network
from weft.datapaths import _isolation, _parts, _short, guard
from weft.datapaths.driver import Answer, Host, Learnt, Site
from weft.model import Endpoint, Lease, Network, Node


def mtu(site: Site) -> int:
    return site.network.mtu or site.host.node.mtu


def network(site: Site) -> Answer:
    """On the host. What is for a container that does not exist gets to the cloud's router, which knows all nodes' subnets."""
    yield from _parts.gateway(site, mtu(site), ends_here=False)
    yield from _short.way(site, site.host.node.uplink)


def peer(site: Site, node: Node, lease: Lease) -> Answer:
    """Its containers' packets come in by the uplink, from the cloud's router."""
    yield from guard.gateways(node, lease.subnets)
    yield from _isolation.via(site.host.node.uplink, lease.subnets)


def endpoint(site: Site, ep: Endpoint) -> Answer:
    yield from _parts.attachment(site, ep, mtu(site))


def ways(site: Site) -> tuple[str, ...]:
    return (site.host.node.uplink,)


def learnt(host: Host, target: str) -> Learnt:
    return host.targets.get(target, Learnt(why="it has not been looked at yet: try again in a moment"))


def overlap(network: Network, taken: str) -> tuple[IPNetwork, IPNetwork] | None:
    """The first pair of a subnet and a prefix in `taken`, with spaces between, that share addresses."""
    prefixes = [parse_network(text) for text in taken.split()]
    return next(((s, p) for s in network.subnets for p in prefixes if covers(p, s) or covers(s, p)), None)
