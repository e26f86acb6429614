"""What data paths with a subnet per node have in common: the gateway bridge, the way out, a container's interface.

A container's packet leaves by its eth0, a veth whose other end is a port of the bridge `weft-NETWORK`. The bridge owns
the gateway's address, so the host routes from there: to a port of the same bridge, to another host (each data path's
own part), or out through the uplink, masqueraded. What is in no node's subnet ends at an `unreachable` route over the
whole network, so that it gets an answer at once and never strays to the default gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from weft.alloc import addresses
from weft.alloc.bridges import bridge_name
from weft.base.names import stable_mac
from weft.base.net import FAMILIES, Family, IPAddress, IPNetwork, family, link_local, parse_address
from weft.datapaths import _bypass, _isolation, _limits, _rules, _short, _spoofing, guard
from weft.datapaths.driver import Answer, Balancer, Gate, Host, Problem, Reached, Site
from weft.hoststate import (
    Address,
    Bridge,
    FdbEntry,
    IptablesChain,
    Key,
    Link,
    Neighbour,
    NftElement,
    Object,
    Route,
    Sysctl,
    Veth,
    route,
)
from weft.hoststate.firewall import SRCNAT
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT, Masquerade
from weft.hoststate.rules.matches import IIFNAME, OIFNAME, SADDR
from weft.model import Endpoint, Network, Node

FEATURES = ("bridge", "veth", "nftables")
"""What the parts in this file need of the kernel."""

FALLBACK = 1_000_000
"""Metric of default routes by a container's second and further interfaces: so high that any other default route comes first.
When the first interface goes, the kernel takes the next of them by itself, in each family."""
LAST_RESORT = 4_000_000_000
"""Metric of the unreachable route over a whole network: any other route to the same prefix comes before it."""


def gateway_address(subnet: IPNetwork) -> str:
    """The first address of a node's subnet, with its prefix length."""
    return f"{addresses.gateway(subnet)}/{subnet.prefixlen}"


def gateway(site: Site, mtu: int, *, ends_here: bool = True) -> Answer:
    """Bridge, gateway addresses, forwarding, and the rules for north-south traffic. `ends_here`: this host knows the ways to
    all other nodes' subnets, so what is in none of them gets no further."""
    network, lease, node = site.network, site.lease, site.host.node
    bridge, mac = bridge_name(network), stable_mac("bridge", node.name, network.name)
    yield from too_small(site, mtu)
    yield Link(
        name=bridge,
        type=Bridge(),
        mtu=mtu,
        mac=mac,
        group=guard.group(site),
        guards=guards(site),
        alias=f"weft:network/{network.name}",
    )
    if 6 in network.families:
        # Nobody else has the bridge's MAC, so its link-local address is good at once: until it is, the bridge cannot ask
        # for neighbours, and a new network's first packets would be lost.
        yield Sysctl(name=f"net/ipv6/conf/{bridge}/accept_dad", value="0")
        yield link_local_of(bridge, mac)
    yield from _isolation.via(bridge, lease.subnets)
    for subnet in lease.subnets:
        yield Address(address=gateway_address(subnet), dev=bridge)
    own = (ip for subnet in lease.subnets for ip in (subnet.network_address, addresses.gateway(subnet)))
    yield from _bypass.tracked(site, own)
    for subnet in network.subnets if ends_here else ():
        if subnet not in lease.subnets:
            yield route(str(subnet), type="unreachable", metric=LAST_RESORT)
    yield from forwarding(site)
    yield from rules(site, bridge)
    yield from _spoofing.checks(site.host)
    yield from _spoofing.unchecked(site)


def guards(site: Site) -> tuple[Key, ...]:
    return (*guard.guards(site), *_spoofing.guards(site.host))


def too_small(site: Site, mtu: int) -> Iterator[Problem]:
    if mtu < 1280 and 6 in site.network.families:
        uplink = site.host.node.uplink
        yield Problem(f"MTU {mtu} is too small for IPv6 (RFC 8200: 1280): raise {uplink}'s, or leave the v6 subnet out")


def forwarding(site: Site) -> Iterator[Object]:
    return forwarded(site.host, site.network.families)


def forwarded(host: Host, families: Iterable[Family]) -> Iterator[Object]:
    if 4 in families:
        yield Sysctl(name="net/ipv4/ip_forward", value="1")
    if 6 in families:
        yield Sysctl(name="net/ipv6/conf/all/forwarding", value="1")
        # With forwarding on, accept_ra=1 means "no more router advertisements", and the kernel removes the default routes
        # that it has from them. With 2 it keeps them; the reconciler sets this before forwarding.
        for dev in sorted(host.advertised):
            yield Sysctl(name=f"net/ipv6/conf/{dev}/accept_ra", value="2")


def rules(site: Site, bridge: str = "") -> Iterator[Object]:
    """There is one table for all networks. A network adds elements to its sets, and the chains that it needs, which read the
    same whichever network needs them. A chain that no network needs is not there, and costs nothing. `bridge`:
    the network's."""
    network = site.network
    yield from accept_forwarding(site.host)
    yield from guard.control(site.host)
    yield from _rules.sets("cluster")
    for subnet in network.subnets:
        yield NftElement(set=f"cluster{subnet.version}", value=str(subnet))
    yield from _isolation.here(site)
    yield from _bypass.rules(site)
    yield from _short.network(site, bridge)
    if network.internal:
        yield guard.checked()
    elif outward := network.masqueraded(site.options.masquerade):
        yield from masquerading(site.host, outward)
        yield from _short.way(site, site.host.node.uplink, translated=True)


def masquerading(host: Host, subnets: Iterable[IPNetwork]) -> Iterator[Object]:
    """To outside with the host's address, but never between addresses of Weft's networks."""
    yield from _rules.sets("masquerade")
    rules = [
        rule(SADDR[fam].among(f"masquerade{fam}"), *_rules.outside(fam), Masquerade(random=True)) for fam in FAMILIES
    ]
    yield _rules.base_chain("postrouting", "nat", "postrouting", SRCNAT, *rules)
    yield from _isolation.tracking()
    yield from _short.tracked(host)
    for subnet in subnets:
        yield NftElement(set=f"masquerade{subnet.version}", value=str(subnet))


def accept_forwarding(host: Host) -> Iterator[Object]:
    """Where iptables is in use, its FORWARD chain may have the policy drop (Docker sets it): accept ours there."""
    for fam, backend in sorted(host.iptables):
        yield IptablesChain(
            backend="nft" if backend == "nft" else "legacy",
            family=4 if fam == 4 else 6,
            table="filter",
            parent="FORWARD",
            name="WEFT-FORWARD",
            rules=tuple(rule(end.is_("weft*"), ACCEPT) for end in (IIFNAME, OIFNAME)),
        )


def direct(site: Site, node: Node, subnet: IPNetwork) -> Route | None:
    """The host route to another node's subnet, if both have an address of its family on one segment."""
    me, fam = site.host.node, family(subnet)
    mine = next((a.network for a in me.addresses if a.version == fam), None)
    next_hop = node.address(fam)
    if mine is None or next_hop is None or not me.shares_segment(node, fam):
        return None
    # Hosts whose operator put them on one segment by name need not share an on-link prefix.
    return route(str(subnet), via=str(next_hop), dev=me.uplink, onlink=next_hop not in mine)


def attachment(site: Site, endpoint: Endpoint, mtu: int) -> Answer:
    """A veth from the bridge straight into the container's namespace; its addresses and routes; ports of the host."""
    shared = Link(name=bridge_name(site.network), type=Bridge(), guards=guards(site))
    yield from port(site, endpoint, mtu, shared, hairpin=bool(endpoint.ports))
    for subnet in site.lease.subnets:
        others = (other for other in site.network.subnets if other != subnet)
        yield from container_routes(site, endpoint, str(addresses.gateway(subnet)), others)
    bridge, targets = bridge_name(site.network), [address.ip for address in endpoint.addresses]
    # Permanent, so that no ARP or ND message of another container can change who gets this one's packets.
    yield from (Neighbour(address=str(target), lladdr=endpoint.mac, dev=bridge) for target in targets)


def on_bridge(site: Site, endpoint: Endpoint) -> Reached:
    """By the network's bridge, on which all of this host's subnets are."""
    targets = tuple(address.ip for address in endpoint.addresses)
    return Reached(dev=bridge_name(site.network), targets=targets, subnets=site.lease.subnets)


def on_bridge_gates(network: Network, endpoint: Endpoint) -> tuple[Gate, ...]:
    """Routed packets and, with br_netfilter, bridged ones pass in the host's namespace."""
    bridge = bridge_name(network)
    return (Gate(addresses=on_bridge_addresses(endpoint), bridge=bridge, device=bridge),)


def on_bridge_balancer(site: Site) -> Balancer:
    """What is in no container's own subnet goes to the host."""
    bridge = bridge_name(site.network)
    return Balancer(bridge=bridge, device=bridge)


def on_bridge_addresses(endpoint: Endpoint) -> tuple[IPAddress, ...]:
    """With the link-local one, by which containers of a bridge could talk as well."""
    return (*(address.ip for address in endpoint.addresses), link_local(endpoint.mac))


def also(site: Site, endpoint: Endpoint, own: tuple[IPAddress, ...]) -> Answer:
    yield from _spoofing.also(site, endpoint.host_interface, endpoint.mac, endpoint, own)


def port(site: Site, endpoint: Endpoint, mtu: int, bridge: Link, *, hairpin: bool = False) -> Iterator[Object]:
    """The container's interface as a port of this bridge, with its limits, the addresses, and what it may send."""
    ns, mark = endpoint.namespace.path, f"weft:endpoint/{endpoint.network}/{endpoint.name}"
    names = endpoint.host_interface, endpoint.interface
    for obj in veth(bridge, *names, ns, mtu=mtu, mac=endpoint.mac, mark=mark, hairpin=hairpin):
        inside_it = isinstance(obj, Link) and obj.ns == ns
        yield msgspec.structs.replace(obj, lent=True) if inside_it and endpoint.owner else obj
    yield from _limits.limits(endpoint.bandwidth, names[0], mtu=mtu, mark=mark, ns=bridge.ns)
    owned = tuple(address.ip for address in endpoint.addresses)
    yield from _spoofing.port(site, endpoint, names[0], endpoint.mac, owned, bridge.ns)
    yield from _short.port(site, endpoint, names[0], owned, bridge.name, bridge.ns)
    for address in endpoint.addresses:
        yield from inside(str(address), endpoint.interface, ns)
    if 6 in endpoint.families:
        yield link_local_of(endpoint.interface, endpoint.mac, ns)


def link_local_of(dev: str, mac: str, ns: str = "") -> Address:
    """The kernel makes this address by itself, but does not put it back: without it a device cannot ask for neighbours, and
    whatever is routed over it is lost (RFC 4861 section 7.2.2)."""
    return Address(address=f"{link_local(mac)}/64", dev=dev, ns=ns)


def inside(address: str, dev: str, ns: str) -> Iterator[Object]:
    """An address, with its prefix length, on a container's device. A container may begin without IPv6 (Docker's do, that are
    in no network with IPv6); that is no reason to give it none on a device of a network that has it."""
    if ":" in address:
        yield Sysctl(name=f"net/ipv6/conf/{dev}/disable_ipv6", value="0", lasting=False, initial=True, ns=ns)
    yield Address(address=address, dev=dev, ns=ns)


def veth(
    bridge: Link,
    name: str,
    inside: str,
    ns: str,
    *,
    mtu: int,
    mac: str,
    mark: str,
    hairpin: bool = False,
    isolated: bool = False,
) -> Iterator[Link | FdbEntry]:
    """A port `name` of the bridge, in the bridge's namespace, whose other end is the container's device `inside`.

    `hairpin`: where packets between a bridge's ports pass the host's rules too (br_netfilter), a container that asks for
    its own published port is answered by the port it came from.

    The bridge learns nothing from what a container sends, else one that claims another's MAC address would get its frames.
    It knows the container's address from here; frames to others behind it (a bridge in the container) go to all ports.
    """
    yield Link(
        name=name,
        type=Veth(peer=inside, peer_ns=ns),
        mtu=mtu,
        master=bridge.name,
        hairpin=hairpin,
        isolated=isolated,
        learning=False,
        guards=bridge.guards,
        alias=mark,
        ns=bridge.ns,
    )
    yield FdbEntry(lladdr=mac, dev=name, bridge=bridge.name, ns=bridge.ns)
    end = Veth(peer=name, peer_ns=bridge.ns, primary=False)
    yield Link(name=inside, type=end, mtu=mtu, mac=mac, alias=mark, ns=ns)


def default_route(family: Family, via: str, dev: str, endpoint: Endpoint) -> Route:
    """By `dev`, one of the endpoint's interfaces."""
    metric = FALLBACK + endpoint.rank if endpoint.rank else 0
    prefix = "0.0.0.0/0" if family == 4 else "::/0"
    return route(prefix, via=via, dev=dev, metric=metric, ns=endpoint.namespace.path)


def container_routes(site: Site, endpoint: Endpoint, via: str, others: Iterable[IPNetwork]) -> Iterator[Object]:
    """Routes by `via`: to outside, if this interface leads there; and to `others`, the network's other subnets, unless the
    default route is sure to take the same way."""
    dev, ns, fam = endpoint.interface, endpoint.namespace.path, family(parse_address(via))
    if endpoint.default_route and not site.network.internal:
        yield default_route(fam, via, dev, endpoint)
        if not endpoint.rank:
            return
    for subnet in others:
        if subnet.version == fam:
            yield route(str(subnet), via=via, dev=dev, ns=ns)
