"""Data path `routed`: pure L3, as Calico has it. No bridge; every container is a /32 (/128) on its host end.

Not whole yet: peers' blocks, tunnels, rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from weft.base.errors import Invalid
from weft.base.net import Family
from weft.datapaths import _parts
from weft.datapaths.driver import Answer, BlockOptions, Driver, Site
from weft.hoststate import Address, Link, Object, Sysctl, Veth, route
from weft.model import Endpoint, Node

HOST_END_MAC = "ee:ee:ee:ee:ee:ee"
"""Of every host end: each is alone on its link with one container."""
GATEWAY: dict[Family, str] = {4: "169.254.1.1", 6: "fe80::ecee:eeff:feee:eeee"}
"""Containers' next hop: v4's exists nowhere, the host end answers for it (proxy ARP); v6's is the host end's link-local
address, made from its MAC (RFC 4291 appendix A)."""

Encap = Literal["never", "ipip", "ipip-cross-subnet", "vxlan", "vxlan-cross-subnet"]


class RoutedOptions(BlockOptions, frozen=True, kw_only=True, rename="kebab"):
    """`encap`: what carries packets between hosts: nothing; or a tunnel, to all hosts or to those of other segments only.
    `vni`, `port`: VXLAN's. `share`: the name of another routed network whose subnets, blocks and data path this one uses;
    "": its own."""

    encap: Encap = "never"
    vni: int = 4096
    port: int = 4789
    share: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.vni < 1 << 24:
            raise Invalid(f"vni={self.vni} is outside 1 to {(1 << 24) - 1} (RFC 7348: 24 bits)")
        if not 1 <= self.port < 1 << 16:
            raise Invalid(f"port={self.port} is outside 1 to 65535")


def _mtu(site: Site) -> int:
    return site.network.mtu or site.host.node.mtu


def tunnelled(me: Node, node: Node, options: RoutedOptions, family: Family) -> bool:
    """Whether what `me` sends to `node`'s containers goes through the network's tunnel. IPIP carries IPv4 only."""
    if options.encap == "never" or (options.encap.startswith("ipip") and family == 6):
        return False
    return not options.encap.endswith("-cross-subnet") or not me.shares_segment(node, family)


def network(site: Site) -> Answer:
    yield from _parts.forwarding(site)
    yield from _parts.accept_forwarding(site.host)


def endpoint(site: Site, ep: Endpoint) -> Answer:
    yield from _pair(site, ep)
    for address in ep.addresses:
        inner = f"{address.ip}/{address.max_prefixlen}"
        yield Address(address=inner, dev=ep.interface, ns=ep.namespace.path)
        yield route(inner, dev=ep.host_interface)
        gateway = GATEWAY[4 if address.version == 4 else 6]
        if address.version == 4:
            yield route(f"{gateway}/32", dev=ep.interface, ns=ep.namespace.path)
        yield _parts.default_route(4 if address.version == 4 else 6, gateway, ep.interface, ep.namespace.path)


def _pair(site: Site, ep: Endpoint) -> Iterator[Object]:
    mark, ns = f"weft:endpoint/{ep.network}/{ep.name}", ep.namespace.path
    outer, inner = ep.host_interface, ep.interface
    yield Link(name=outer, type=Veth(peer=inner, peer_ns=ns), mtu=_mtu(site), mac=HOST_END_MAC, alias=mark)
    yield Link(
        name=inner, type=Veth(peer=outer, peer_ns="", primary=False), mtu=_mtu(site), mac=ep.mac, alias=mark, ns=ns
    )
    if 4 in ep.families:
        yield Sysctl(name=f"net/ipv4/conf/{outer}/proxy_arp", value="1")


DRIVER = Driver(
    name="routed",
    summary="pure L3: containers routed one by one, hosts' blocks spread by BGP, tunnels only where needed",
    options=RoutedOptions,
    blocks=True,
    features=("veth", "nftables", "bird"),
    network=network,
    endpoint=endpoint,
)
