"""Data path `udp`: a subnet per host; between hosts a program carries packets in UDP, as Flannel's backend of this name
does. For places where no tunnel of the kernel's passes.

Packet's way: container → bridge → host's routing: the whole network `40.15.0.0/16 dev weft.udp8285`, a TUN device → the
pump (`weft.tunnel`) finds the host that has the destination → a datagram to that host's port 8285, in it nothing but the
packet → its pump → its `weft.udp8285` → its routing → its bridge → container.

So per other host one line in the pump's table for each family, and no route. Each pump is a router of its own: it takes
one from the packet's TTL, and tells the sender what it cannot deliver. What comes from elsewhere than a host with a lease
is dropped by the firewall; that it comes from the sender's subnet, and goes to this host's, the pump looks at itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weft.base.errors import Invalid
from weft.base.net import FAMILIES, Family, host_prefix
from weft.datapaths import _isolation, _parts, _rules, _short, _tunnel, guard
from weft.datapaths.driver import Answer, Driver, Numbered, Problem, Site
from weft.datapaths.options import SECURED_VXLAN_PORT, VXLAN_PORT, Encrypt, FlannelOptions, Port, Underlay, check_port
from weft.datapaths.traits import OWN_SUBNET, InFlannel, KnownBy, Switched
from weft.hoststate import Address, Link, NftChain, NftElement, NftSet, Object, Tun, Tunnel, TunnelPrefix, route
from weft.hoststate.firewall import FILTER
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import COUNTER, DROP, RETURN, Jump
from weft.hoststate.rules.matches import SADDR, UDP_DPORT
from weft.hoststate.tunnels import HERE
from weft.model import Endpoint, Lease, Node
from weft.model.network import OptionValue

OVERHEAD: dict[Family, int] = {4: 28, 6: 48}
"""Octets that a datagram adds, by the underlay's family: UDP 8, IPv4 20 or IPv6 40."""


class UdpOptions(_tunnel.OverUdp, FlannelOptions, frozen=True, kw_only=True):
    outer = OVERHEAD
    port: Port = 8285
    underlay: Underlay = "ipv4"
    encrypt: Encrypt = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_port(self.port)
        if self.port == _tunnel.MESH_PORT:
            raise Invalid(f"port={self.port} is the routing mesh's: choose another")
        _tunnel.check_encrypted(self)

    @property
    def tunnel_device(self) -> str:
        return f"weft.udp{self.port}"


def network(site: Site) -> Answer:
    yield from _parts.gateway(site, _tunnel.mtu(site))
    options, node, dev = site.options, site.host.node, site.options.tunnel_device
    local = node.address(options.underlay_family)
    if local is None:  # lost after the network was set up: as with VXLAN
        yield Problem(_tunnel.refusal(site.host, site.network, options))
        return
    yield from _tunnel.unfit(site, "UDP")
    mtu = _tunnel.mtu(site)
    guards = (*guard.guards(site), *(chain.key for chain in _CHAINS))
    yield Link(name=dev, type=Tun(), mtu=mtu, guards=guards, alias=f"weft:network/{site.network.name}")
    yield Tunnel(dev=dev, local=str(local), port=options.port, mtu=mtu)
    for subnet in site.lease.subnets:
        yield TunnelPrefix(dev=dev, prefix=str(subnet), remote=HERE)
        yield Address(address=host_prefix(subnet.network_address), dev=dev)
    for subnet in site.network.subnets:
        yield route(str(subnet), dev=dev)
    yield from _isolation.via(dev, site.network.subnets)
    yield from _short.way(site, dev, framed=False)
    yield from _tunnel.untracked(options.port)
    yield from _sets()
    yield from _CHAINS
    yield NftElement(set=_PORTS, value=str(options.port))


def peer(site: Site, node: Node, lease: Lease) -> Answer:
    options: UdpOptions = site.options
    yield from guard.gateways(node, lease.subnets)
    remote = node.address(options.underlay_family)
    if site.host.node.address(options.underlay_family) is None:
        return
    if remote is None:
        yield _tunnel.unreachable(node, options.underlay_family, "UDP")
        return
    if problem := _tunnel.withheld(site, node):
        yield problem
        return
    yield from _sets()
    yield NftElement(set=f"{_PEERS}{remote.version}", value=f"{remote} . {options.port}")
    for subnet in lease.subnets:
        yield TunnelPrefix(dev=options.tunnel_device, prefix=str(subnet), remote=str(remote))


def endpoint(site: Site, ep: Endpoint) -> Answer:
    yield from _parts.attachment(site, ep, _tunnel.mtu(site))


def ways(site: Site) -> tuple[str, ...]:
    return (site.options.tunnel_device,)


def claims(options: UdpOptions) -> tuple[tuple[str, str], ...]:
    return ((f"port/{options.port}", f"port {options.port}"),)


def _from_flannel(backend: Mapping[str, Any]) -> dict[str, OptionValue]:
    return {"port": int(backend.get("port", 0)) or UdpOptions().port, "underlay": "ipv4"}


# -- who may send ------------------------------------------------------------------------------------------------------

_PORTS, _PEERS = "udp-ports", "udp-peers"
_CHAINS: tuple[NftChain, ...] = (
    NftChain(
        name="udp-tunnels",
        rules=(
            *(rule((SADDR[fam] + UDP_DPORT).among(f"{_PEERS}{fam}"), RETURN) for fam in FAMILIES),
            rule(COUNTER, DROP),
        ),
    ),
    _rules.base_chain("udp-input", "filter", "input", FILTER, rule(UDP_DPORT.among(_PORTS), Jump("udp-tunnels"))),
)
"""Only hosts with a lease send to a tunnel's port. What a container sends there never comes so far (`guard`)."""


def _sets() -> Iterator[Object]:
    yield NftSet(name=_PORTS, type=("inet_service",))
    for fam in FAMILIES:
        yield NftSet(name=f"{_PEERS}{fam}", type=(_rules.address(fam), "inet_service"))


DRIVER = Driver(
    name="udp",
    summary="a subnet per host, carried between hosts in UDP by a program",
    options=UdpOptions,
    addresses=OWN_SUBNET,
    known_by=KnownBy.LEASES,
    switched=Switched.ON_HOST,
    features=(*_parts.FEATURES, "tun"),
    network=network,
    peer=peer,
    endpoint=endpoint,
    reached=_parts.on_bridge,
    gates=_parts.on_bridge_gates,
    balancer=_parts.on_bridge_balancer,
    also=_parts.also,
    ways=ways,
    claims=claims,
    numbered=Numbered(
        option="port", claim="port/", first=8285, last=65535, but=frozenset({VXLAN_PORT, SECURED_VXLAN_PORT})
    ),
    fixed=_tunnel.encrypted(),
    refusal=_tunnel.refusal,
    flannel=InFlannel(type="udp", said="", options=_from_flannel, tell=lambda *_: None, hear=lambda _: {}),
)
