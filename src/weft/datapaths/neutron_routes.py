"""Data path `neutron-routes`: a router of OpenStack's leads to containers. No tunnel, full MTU; hosts in several subnets.

Packet's way: container → bridge → host's default route → the router that joins the hosts' subnets, which has an extra route
for each host: `40.15.26.0/24 via 192.168.1.254` → that address's port → the other host's routing → its bridge → container.

Each host writes the routes to its own subnets, with its own address as next hop, and no others. Its port in Neutron drops
packets of addresses that it does not know, so these subnets become the port's allowed address pairs: port security stays on.
With `direct`, hosts of one subnet send to each other without the router, as with host-gw.

What a host is in OpenStack its lease says, as learnt by the target `openstack` (`weft.targets.openstack`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from weft.base.net import IPNetwork, family
from weft.datapaths import _cloud, _parts
from weft.datapaths.change import LIVE, fixed, option
from weft.datapaths.driver import Answer, Driver, Host, Problem, Site
from weft.datapaths.options import SubnetOptions
from weft.datapaths.traits import OWN_SUBNET, KnownBy, Switched
from weft.hoststate.cloud import AddressPair, RouterRoute
from weft.model import Lease, Network, Node
from weft.model.network import OptionValue

TARGET = "openstack"
PORT, ROUTER, SECURITY = "port", "router", "port-security"
"""What a lease's data tells of its holder: its port, the router that leads to it, and whether the port checks addresses."""
GATEWAY, ROUTERS, HIDDEN, SUBNETS = "gateway", "routers", "hidden", "subnets"
"""Learnt as well: the router that is the host's gateway; all that join its subnet; those of them that the credentials do not
see; and the prefixes that they join. Lists have spaces between."""

Router = Annotated[
    str,
    option(
        'the id of the router that joins all hosts\' subnets ("": the gateway of the node where the network is made).',
        fixed("the hosts' routes are in it"),
    ),
]
Direct = Annotated[bool, option("hosts of one subnet send to each other without the router.", LIVE)]


class NeutronRoutesOptions(SubnetOptions, frozen=True, kw_only=True):
    router: Router = ""
    direct: Direct = False


def network(site: Site) -> Answer:
    yield from _cloud.network(site)
    mine, node = site.lease.data, site.host.node
    if PORT not in mine:
        yield Problem(_unknown(site.host))
        return
    for subnet in site.lease.subnets:
        hop = node.address(family(subnet))
        if hop is None:
            yield Problem(_lacking(node, subnet))
            continue
        if mine[SECURITY] != "off":
            yield AddressPair(place=mine[PORT], prefix=str(subnet))
        yield RouterRoute(place=mine[ROUTER], destination=str(subnet), next_hop=str(hop))


def peer(site: Site, node: Node, lease: Lease) -> Answer:
    yield from _cloud.peer(site, node, lease)
    if PORT not in lease.data:
        yield Problem(f"{node.name} has not told its port in Neutron: nothing leads to it; restart its agent")
    for subnet in lease.subnets if site.options.direct else ():
        if hop := _parts.direct(site, node, subnet):
            yield hop


def _lacking(node: Node, subnet: IPNetwork) -> str:
    fam = family(subnet)
    return f"{node.name} has no IPv{fam} address on {node.uplink}: the router cannot lead {subnet} to it; give it one"


def _unknown(host: Host) -> str:
    return f"what {host.node.name} is in OpenStack is not known: {_cloud.learnt(host, TARGET).why}"


def _gateway(host: Host, _options: Mapping[str, OptionValue] | None = None) -> str:
    """The router that is meant where none is named: the host's gateway, or the only one; "" where that is not clear."""
    facts = _cloud.learnt(host, TARGET).facts
    routers = facts.get(ROUTERS, "").split()
    return facts.get(GATEWAY, "") or (routers[0] if len(routers) == 1 else "")


def lease_data(host: Host, _network: Network, options: Any) -> dict[str, str]:
    facts = _cloud.learnt(host, TARGET).facts
    return {ROUTER: options.router or _gateway(host)} | {
        name: facts[name] for name in (PORT, SECURITY) if name in facts
    }


def refusal(host: Host, network: Network, options: Any) -> str:
    facts = _cloud.learnt(host, TARGET).facts
    if not facts:
        return _unknown(host)
    if (options.router or _gateway(host)) not in facts[ROUTERS].split():
        return _no_router(host, options.router, facts)
    if taken := _cloud.overlap(network, facts[SUBNETS]):
        return f"{taken[0]} overlaps {taken[1]}, a subnet that the router joins itself: choose a prefix outside of it"
    return ""


def _no_router(host: Host, wanted: str, facts: Mapping[str, str]) -> str:
    where, found = f"the subnet of {host.node.name}", facts[ROUTERS].split()
    if wanted in facts[HIDDEN].split() or (facts[HIDDEN] and not found):
        router = wanted or facts[HIDDEN]
        return f"router {router} joins {where}, but the credentials do not show it: use those of its own project"
    if wanted:
        there = f"those that do are {', '.join(found)}" if found else "none does"
        return f"router {wanted} does not join {where}: {there}; add it there (openstack router add subnet)"
    if not found:
        return f"no router of Neutron's joins {where}: add it to one (openstack router add subnet)"
    return f"several routers join {where}, and none is its gateway: name one with -O router=ID: {', '.join(found)}"


DRIVER = Driver(
    name="neutron-routes",
    summary="an OpenStack router's routes lead to hosts' subnets, no encapsulation",
    options=NeutronRoutesOptions,
    addresses=OWN_SUBNET,
    known_by=KnownBy.LEASES,
    switched=Switched.ON_HOST,
    features=_parts.FEATURES,
    targets=(TARGET,),
    network=network,
    peer=peer,
    endpoint=_cloud.endpoint,
    reached=_parts.on_bridge,
    gates=_parts.on_bridge_gates,
    balancer=_parts.on_bridge_balancer,
    also=_parts.also,
    ways=_cloud.ways,
    lease_data=lease_data,
    table=lambda lease: lease.data.get(ROUTER, ""),
    fixed={"router": _gateway},
    refusal=refusal,
)
