"""What data paths have in common whose containers are themselves on the wire of one of their host's devices, the parent: in a
network that is there already, with its own gateway and others' machines. Weft gives the addresses, so that no two hosts give
the same one; who is where the network finds out itself.

Packets go from the container's device to the parent's wire and back. They pass no rules of the host's, and the host itself
does not reach its own containers by the parent: the kernel keeps the two apart.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.base.names import device
from weft.base.net import FAMILIES, IPAddress
from weft.datapaths import _parts
from weft.datapaths.driver import LEAST_V6_MTU, Answer, Host, Problem, Site
from weft.datapaths.options import PhysicalOptions
from weft.hoststate import Ipvlan, Link, Macvlan, Object, Sysctl, Vlan
from weft.model import Endpoint, Location, Network, Node

VLAN_ALIAS = "weft:vlan"
"""The same whichever networks are in the VLAN."""


def wire(host: Host, options: PhysicalOptions) -> str:
    """The host's own device on whose wire the network is."""
    return options.parent or host.node.uplink


def parent(host: Host, options: PhysicalOptions) -> str:
    """The device that carries the containers'."""
    return device(f"{wire(host, options)}.", str(options.vlan)) if options.vlan else wire(host, options)


def parents(host: Host, options: PhysicalOptions) -> tuple[str, ...]:
    return tuple(dict.fromkeys((wire(host, options), parent(host, options))))


def mtu(site: Site) -> int | None:
    """None: as the parent's."""
    on_uplink = wire(site.host, site.options) == site.host.node.uplink
    return site.network.mtu or (site.host.node.mtu if on_uplink else None)


def gateways(network: Network, options: PhysicalOptions) -> tuple[IPAddress, ...]:
    """The network's own, one of each family: as told, else the first address."""
    told = {address.version: address for address in options.next_hops}
    return tuple(told.get(subnet.version, subnet.network_address + 1) for subnet in network.subnets)


def refusal(host: Host, network: Network, options: PhysicalOptions) -> str:
    for feature in options.features:
        if feature in host.lacking:
            return (
                f"the kernel of {host.node.name} has no {feature} devices, which network {network.name} needs: modprobe "
                f"{'8021q' if feature == 'vlan' else feature} there, or take a kernel with them"
            )
    return ""


def network(site: Site) -> Answer:
    """Problems only: what this host cannot have is told before the first container comes."""
    if why := refusal(site.host, site.network, site.options):
        yield Problem(why)
    if (found := mtu(site)) is not None and found < LEAST_V6_MTU and 6 in site.network.families:
        yield Problem(f"MTU {found} is too small for IPv6 (RFC 8200: 1280): leave the v6 subnet out")


def segment(site: Site) -> Answer:
    options: PhysicalOptions = site.options
    if options.vlan:
        tagged = Vlan(dev=wire(site.host, options), id=options.vlan)
        yield Link(name=parent(site.host, options), type=tagged, mtu=site.network.mtu, alias=VLAN_ALIAS)


def location(site: Site, node: Node, found: Location) -> Answer:
    """The network finds it: ARP and neighbour discovery go by the parent's wire. Where that is the uplink's, it ends at
    routers; where another one leads to is not known here."""
    me = site.host.node
    if parent(site.host, site.options) != me.uplink or any(me.shares_segment(node, fam) for fam in FAMILIES):
        return
    where = " and ".join(map(str, found.addresses))
    yield Problem(
        f"{node.name} is behind a router, so {where} is on another wire than containers here: take a driver that crosses "
        "routers, or a -O parent or -O vlan that is one wire on all hosts"
    )


def interface(site: Site, ep: Endpoint, kind: Macvlan | Ipvlan, mac: str | None) -> Answer:
    """The device, and its addresses. What a router in the network advertises gives it no further ones."""
    dev, ns, mark = ep.interface, ep.namespace.path, f"weft:endpoint/{ep.network}/{ep.name}"
    yield Link(name=dev, type=kind, mtu=mtu(site), mac=mac, lent=bool(ep.owner), alias=mark, ns=ns)
    if site.host.ipv6 and (mtu(site) or LEAST_V6_MTU) >= LEAST_V6_MTU:
        name = f"net/ipv6/conf/{dev}/accept_ra"
        yield Sysctl(name=name, value="0", lasting=False, initial=True, optional=True, ns=ns)
    for address in ep.addresses:
        yield from _parts.inside(str(address), dev, ns)
    if 6 in ep.families and mac is not None:
        yield _parts.link_local_of(dev, mac, ns)


def routes(site: Site, ep: Endpoint) -> Iterator[Object]:
    for hop in gateways(site.network, site.options):
        yield from _parts.container_routes(site, ep, str(hop), ())
