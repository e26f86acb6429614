"""Data path `vxlan`: a subnet per host, routed between hosts through one VXLAN device (RFC 7348). Nothing is learnt.

Packet's way: container → bridge → host's routing: `40.15.26.0/24 via 40.15.26.0 dev weft.1 onlink`; the neighbour entry
turns that next hop into the other host's VTEP MAC, the FDB entry turns the MAC into its underlay address; in UDP to
that host → its `weft.1` → its routing → its bridge → container.

So per other host exactly three entries (a route and a neighbour for each family of the network, one FDB entry), and a
container's coming and going changes nothing anywhere else. With `direct-routing`, a host on the same segment gets a
plain host route instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from weft.base.errors import Invalid
from weft.base.net import host_prefix, parse_mac
from weft.datapaths import _isolation, _parts, _short, _tunnel, guard
from weft.datapaths._tunnel import OverVxlan
from weft.datapaths.change import ONE_BY_ONE, live, option
from weft.datapaths.driver import Answer, Driver, Numbered, Problem, Site
from weft.datapaths.options import SECURED_VXLAN_PORT, VXLAN_PORT, Encrypt, FlannelOptions, Port, Underlay, Vni
from weft.datapaths.traits import OWN_SUBNET, InFlannel, KnownBy, Switched
from weft.hoststate import Address, Neighbour, route
from weft.model import Endpoint, Lease, Node
from weft.model.network import OptionValue

DirectRouting = Annotated[bool, option("plain host routes to nodes on the same segment.", live(ONE_BY_ONE))]


class VxlanOptions(OverVxlan, FlannelOptions, frozen=True, kw_only=True):
    vni: Vni = 1
    port: Port = VXLAN_PORT
    underlay: Underlay = "ipv4"
    encrypt: Encrypt = False
    direct_routing: DirectRouting = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _tunnel.check(self.vni, self.port)
        _tunnel.check_encrypted(self)
        if self.encrypt and self.direct_routing:
            raise Invalid("direct-routing=true sends past the tunnel, unencrypted: leave it out, or encrypt=true")


def network(site: Site) -> Answer:
    yield from _parts.gateway(site, _tunnel.mtu(site))
    yield from _tunnel.vtep(site)
    yield from _isolation.via(site.options.tunnel_device, site.network.subnets)
    yield from (it for way in ways(site) for it in _short.way(site, way))
    if site.host.node.address(site.options.underlay_family) is not None:
        for subnet in site.lease.subnets:
            yield Address(address=host_prefix(subnet.network_address), dev=site.options.tunnel_device)


def peer(site: Site, node: Node, lease: Lease) -> Answer:
    options: VxlanOptions = site.options
    yield from guard.gateways(node, lease.subnets)
    tunnelled = []
    for subnet in lease.subnets:
        direct = _parts.direct(site, node, subnet) if options.direct_routing else None
        if direct:
            yield direct
            yield from _isolation.via(direct.dev, [subnet])
        else:
            tunnelled.append(subnet)
    if not tunnelled or site.host.node.address(options.underlay_family) is None:
        return
    if problem := _tunnel.withheld(site, node):
        yield problem
        return
    entry = _tunnel.remote(site, node, lease)
    yield entry
    if isinstance(entry, Problem):
        return
    for subnet in tunnelled:
        base = str(subnet.network_address)
        yield Neighbour(address=base, lladdr=entry.lladdr, dev=entry.dev)
        yield route(str(subnet), via=base, dev=entry.dev, onlink=True)


def endpoint(site: Site, ep: Endpoint) -> Answer:
    yield from _parts.attachment(site, ep, _tunnel.mtu(site))


def ways(site: Site) -> tuple[str, ...]:
    options: VxlanOptions = site.options
    return (options.tunnel_device, *([site.host.node.uplink] if options.direct_routing else []))


def _from_flannel(backend: Mapping[str, Any]) -> dict[str, OptionValue]:
    """Flannel leaves the port 0 to the kernel, whose own is the one of before there was RFC 7348."""
    if backend.get("gbp"):
        raise Invalid("GBP is on, and packets with a group's number are not taken here: switch it off in the config")
    return {
        "vni": int(backend.get("vni", 1)),
        "port": int(backend.get("port", 0)) or VxlanOptions().port,
        "underlay": "ipv4",
        "direct-routing": bool(backend.get("directrouting", False)),
    }


def _tell_flannel(options: VxlanOptions, data: Mapping[str, str]) -> dict[str, Any]:
    return {"VNI": options.vni, "VtepMAC": data[_tunnel.VTEP_MAC]}


def _hear_flannel(told: Mapping[str, Any]) -> dict[str, str]:
    return {_tunnel.VTEP_MAC: parse_mac(str(told["VtepMAC"]))} if told.get("VtepMAC") else {}


DRIVER = Driver(
    name="vxlan",
    summary="a subnet per host, routed between hosts through VXLAN",
    options=VxlanOptions,
    addresses=OWN_SUBNET,
    known_by=KnownBy.LEASES,
    switched=Switched.ON_HOST,
    features=(*_parts.FEATURES, "vxlan"),
    network=network,
    peer=peer,
    endpoint=endpoint,
    reached=_parts.on_bridge,
    gates=_parts.on_bridge_gates,
    balancer=_parts.on_bridge_balancer,
    also=_parts.also,
    ways=ways,
    lease_data=_tunnel.lease_data,
    claims=_tunnel.claims,
    numbered=Numbered(option="vni", claim="vni/", first=1, last=_tunnel.LARGEST_VNI),
    fixed=_tunnel.encrypted(port=SECURED_VXLAN_PORT),
    refusal=_tunnel.refusal,
    flannel=InFlannel(type="vxlan", said="vxlan", options=_from_flannel, tell=_tell_flannel, hear=_hear_flannel),
)
