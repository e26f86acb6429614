"""Data path `routed`: pure L3, as Calico has it. No bridge; every container is a host route of its own.

Packet's way, container on node-1 to one on node-2:

1. The container has a /32, and `default via 169.254.1.1 dev eth0`. That address exists nowhere: the other end of its
   veth, in the host's namespace, answers the ARP question with its own MAC (`proxy_arp`). IPv6 needs no such trick: the
   next hop is that end's link-local address.
2. Rules drop what does not come from this container's own addresses (strict reverse path; see `guard`).
3. The host routes: to another container of its own by `197.19.38.139 dev weft0123… scope link`, to node-2's block as BGP
   has it, or through a tunnel (`_encap`), to outside masqueraded.
4. node-2 routes to the container by its host route; a permanent neighbour entry says its MAC, so that no ARP message of
   anybody's can change who gets its packets.

For each address of a container its host has one route and one neighbour entry, and no rule: rules match the group of its
device. Its coming and going changes nothing on other hosts, which route whole blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weft.base.errors import Invalid
from weft.base.names import digest
from weft.base.net import Family, IPAddress, family, host_prefix, link_local, parse_network
from weft.datapaths import _encap, _limits, _parts, _short, _spoofing, _tunnel, guard
from weft.datapaths._encap import Encap
from weft.datapaths._tunnel import OverVxlan
from weft.datapaths.change import fixed
from weft.datapaths.driver import Answer, Balancer, Driver, Gate, Host, Numbered, Reached, Site
from weft.datapaths.options import PoolOptions, Port, Share, Underlay, Vni
from weft.datapaths.traits import BLOCKS, KnownBy, Switched, WayOut
from weft.hoststate import Link, Neighbour, Object, Sysctl, Veth, route
from weft.model import Endpoint, Lease, Network, Node

HOST_END_MAC = "ee:ee:ee:ee:ee:ee"
"""Of every host end: each is alone on its link with one container."""
NEXT_HOPS: dict[Family, str] = {4: guard.NOWHERE, 6: str(link_local(HOST_END_MAC))}
"""Containers' next hop: v4's exists nowhere, the host end answers for it (proxy ARP); v6's is the host end's link-local
address, made from its MAC."""


class RoutedOptions(OverVxlan, PoolOptions, frozen=True, kw_only=True):
    """`vni`, `port`, `underlay` are VXLAN's, and say nothing without it."""

    encap: Encap = "never"
    vni: Vni = 4096
    port: Port = 4789
    underlay: Underlay = "ipv4"
    share: Share = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _tunnel.check(self.vni, self.port)
        if self.tunnel == "ipip" and self.underlay == "ipv6":
            instead = self.encap.replace("ipip", "vxlan")
            raise Invalid(f"encap={self.encap} sends between IPv4 addresses only: underlay=ipv6 takes encap={instead}")

    @property
    def tunnel(self) -> _encap.Tunnel:
        return _encap.tunnel(self.encap)

    @property
    def overhead(self) -> int:
        if self.tunnel == "vxlan":
            return super().overhead
        return _encap.IPIP_OVERHEAD if self.tunnel else 0

    @property
    def features(self) -> tuple[str, ...]:
        return (self.tunnel,) if self.tunnel else ()

    @property
    def udp_port(self) -> int | None:
        return super().udp_port if self.tunnel == "vxlan" else None

    @property
    def tunnel_vni(self) -> int | None:
        return super().tunnel_vni if self.tunnel == "vxlan" else None

    @property
    def tunnel_device(self) -> str:
        if self.tunnel == "vxlan":
            return super().tunnel_device
        return _encap.IPIP_DEVICE if self.tunnel else ""


def network(site: Site) -> Answer:
    yield from _parts.too_small(site, _tunnel.mtu(site))
    yield from _parts.forwarding(site)
    yield from _parts.rules(site)
    yield guard.checked()
    if 4 in site.network.families:
        # The kernel answers ARP only for what it has a route to; there need not be a default route.
        yield route(f"{NEXT_HOPS[4]}/32", dev="lo")
    yield from _encap.network(site)


def peer(site: Site, node: Node, lease: Lease) -> Answer:
    yield from _encap.peer(site, node, lease)


def endpoint(site: Site, ep: Endpoint) -> Answer:
    yield from _pair(site, ep)
    yield from _sysctls(ep)
    targets = [address.ip for address in ep.addresses]
    yield from _short.port(site, ep, ep.host_interface, targets)
    for address in targets:
        yield from _host_route(ep, address)
    for fam in sorted({family(address) for address in targets}):
        if fam == 4:
            yield route(f"{NEXT_HOPS[4]}/32", dev=ep.interface, ns=ep.namespace.path, metric=_metric(ep))
        yield from _parts.container_routes(site, ep, NEXT_HOPS[fam], site.network.subnets)


def reached(_: Site, ep: Endpoint) -> Reached:
    """Each by a device of its own, on which there is nobody else."""
    targets = tuple(address.ip for address in ep.addresses)
    own = tuple(parse_network(host_prefix(address)) for address in targets)
    return Reached(dev=ep.host_interface, targets=targets, subnets=own)


def gates(_: Network, ep: Endpoint) -> tuple[Gate, ...]:
    """Also with its floating addresses: it may have them on a device of its own, and send from them."""
    own = tuple(address.ip for address in ep.addresses)
    return (Gate(addresses=(*own, *ep.floating), device=ep.host_interface),)


def balancer(site: Site) -> Balancer:
    """Each container has a link with the host alone. The host itself sends to containers as the uplink's address."""
    return Balancer(device=site.host.node.uplink)


def _metric(ep: Endpoint) -> int:
    """Metric of the route to the next hop. That is the same in all routed networks, so a container with several interfaces
    has several routes to it, which have to differ in something."""
    first = ep.default_route and not ep.rank
    return 0 if first else 1 + int.from_bytes(digest(ep.id)[:3], "big")


def _pair(site: Site, ep: Endpoint) -> Iterator[Object]:
    mark, ns, mtu = f"weft:endpoint/{ep.network}/{ep.name}", ep.namespace.path, _tunnel.mtu(site)
    outer, inner = ep.host_interface, ep.interface
    pair = Veth(peer=inner, peer_ns=ns), Veth(peer=outer, peer_ns="", primary=False)
    group, guards = _spoofing.group(site, ep), guard.guards(site)
    yield Link(name=outer, type=pair[0], mtu=mtu, mac=HOST_END_MAC, group=group, guards=guards, alias=mark)
    yield Link(name=inner, type=pair[1], mtu=mtu, mac=ep.mac, lent=bool(ep.owner), alias=mark, ns=ns)
    if 6 in ep.families:
        yield _parts.link_local_of(outer, HOST_END_MAC)
        yield _parts.link_local_of(inner, ep.mac, ns)
    yield from _limits.limits(ep.bandwidth, outer, mtu=mtu, mark=mark)


_SYSCTLS: dict[Family, dict[str, str]] = {
    4: {
        "net/ipv4/conf/{}/proxy_arp": "1",
        "net/ipv4/conf/{}/forwarding": "1",  # without it nothing is answered for others
        "net/ipv4/neigh/{}/proxy_delay": "0",  # by default such answers wait for up to 0.8 s
    },
    6: {
        "net/ipv6/conf/{}/accept_dad": "0",  # nobody else can have the next hop's address: it is good at once
        "net/ipv6/conf/{}/addr_gen_mode": "0",  # and is made of the MAC
    },
}


def _sysctls(ep: Endpoint) -> Iterator[Sysctl]:
    for fam in sorted(set(ep.families)):
        for name, value in _SYSCTLS[fam].items():
            yield Sysctl(name=name.format(ep.host_interface), value=value, lasting=False)


def _host_route(ep: Endpoint, address: IPAddress) -> Iterator[Object]:
    """The address on the container's device, alone on its link; and how the host reaches it."""
    yield from _parts.inside(host_prefix(address), ep.interface, ep.namespace.path)
    yield Neighbour(address=str(address), lladdr=ep.mac, dev=ep.host_interface)
    yield route(host_prefix(address), dev=ep.host_interface)


def refusal(host: Host, network: Network, options: Any) -> str:
    return _encap.refusal(host, network, options)


def lease_data(host: Host, network: Network, options: Any) -> dict[str, str]:
    return _tunnel.lease_data(host, network, options) if options.tunnel == "vxlan" else {}


def claims(options: Any) -> tuple[tuple[str, str], ...]:
    return _tunnel.claims(options) if options.tunnel == "vxlan" else ()


DRIVER = Driver(
    name="routed",
    summary="pure L3: a route per container, hosts' blocks spread by BGP, tunnels where needed",
    options=RoutedOptions,
    addresses=BLOCKS,
    known_by=KnownBy.BGP,
    switched=Switched.NOWHERE,
    way_out=WayOut(next_hops=NEXT_HOPS),
    features=("veth", "nftables"),
    changes={"subnets": fixed("each of them is a pool", "`weft pool` adds and removes pools")},
    daemons=("bird",),
    network=network,
    peer=peer,
    endpoint=endpoint,
    reached=reached,
    gates=gates,
    balancer=balancer,
    numbered=Numbered(
        option="vni", claim="vni/", first=4096, last=_tunnel.LARGEST_VNI, needed=lambda o: o.tunnel == "vxlan"
    ),
    ways=_encap.ways,
    lease_data=lease_data,
    claims=claims,
    refusal=refusal,
    tunnelled=_encap.tunnelled,
)
