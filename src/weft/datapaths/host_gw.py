"""Data path `host-gw`: every host is the router for its own containers. No encapsulation, full MTU; one L2 segment.

Packet's way: container → bridge → host's routing: `40.15.26.0/24 via 192.168.1.254 dev eth0` → the wire as it is →
the other host's routing → its bridge → container. Per other host one route and nothing else.

A host behind a router cannot be reached: the router knows nothing of container subnets. That pair is told as a problem.
"""

from __future__ import annotations

from weft.base.net import IPNetwork, family
from weft.datapaths import _isolation, _parts, _short, guard
from weft.datapaths.driver import Answer, Driver, Problem, Site
from weft.datapaths.options import FlannelOptions
from weft.datapaths.traits import OWN_SUBNET, InFlannel, KnownBy, Switched
from weft.model import Endpoint, Lease, Node


def _mtu(site: Site) -> int:
    return site.network.mtu or site.carried


def network(site: Site) -> Answer:
    yield from _parts.gateway(site, _mtu(site))
    yield from _short.way(site, site.host.node.uplink)


def peer(site: Site, node: Node, lease: Lease) -> Answer:
    yield from guard.gateways(node, lease.subnets)
    beyond = []
    for subnet in lease.subnets:
        hop = _parts.direct(site, node, subnet)
        lacking = _lacking(site.host.node, node, subnet)
        if hop is not None:
            yield hop
            yield from _isolation.via(hop.dev, [subnet])
        elif lacking:
            yield Problem(lacking)
        else:
            beyond.append(str(subnet))
    if beyond:
        yield Problem(
            f"{node.name} is on another segment: host-gw cannot reach its {' and '.join(beyond)}; "
            "use driver vxlan with -O direct-routing=true"
        )


def _lacking(me: Node, node: Node, subnet: IPNetwork) -> str:
    fam = family(subnet)
    for one in (me, node):
        if one.address(fam) is None:
            return (
                f"{one.name} has no IPv{fam} address on {one.uplink}: host-gw cannot reach {subnet} of {node.name}; "
                "give it one"
            )
    return ""


def endpoint(site: Site, ep: Endpoint) -> Answer:
    yield from _parts.attachment(site, ep, _mtu(site))


def ways(site: Site) -> tuple[str, ...]:
    return (site.host.node.uplink,)


DRIVER = Driver(
    name="host-gw",
    summary="host routes on one L2 segment, no encapsulation",
    options=FlannelOptions,
    addresses=OWN_SUBNET,
    known_by=KnownBy.LEASES,
    switched=Switched.ON_HOST,
    features=_parts.FEATURES,
    network=network,
    peer=peer,
    endpoint=endpoint,
    reached=_parts.on_bridge,
    gates=_parts.on_bridge_gates,
    balancer=_parts.on_bridge_balancer,
    also=_parts.also,
    ways=ways,
    flannel=InFlannel(
        type="host-gw", said="host-gw", families=(4, 6), options=lambda _: {}, tell=lambda *_: None, hear=lambda _: {}
    ),
)
