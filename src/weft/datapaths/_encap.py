"""What carries routed networks' packets between hosts where the network in between does not know their blocks: IPIP or
VXLAN, to all hosts or only to those of other segments. The routes are ours; those that need no tunnel are BGP's.

A route through a tunnel names the other host itself: `BLOCK via NODE-ADDRESS dev weft.ipip onlink`. IPIP sends to that
address; for VXLAN a neighbour entry makes the VTEP's MAC of it, and the FDB the address again. IPv6 in VXLAN goes by the
VTEP's link-local address.

A host takes IPIP packets only from hosts of the cluster; of VXLAN `_tunnel` says the same.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from weft.base.net import Family, IPNetwork, family, link_local
from weft.datapaths import _isolation, _rules, _short, _tunnel
from weft.datapaths.change import NOT_AT_ONCE, fixed, option
from weft.datapaths.driver import Answer, Host, Problem, Site
from weft.hoststate import Ipip, Link, Neighbour, NftSet, Object, route
from weft.hoststate.firewall import FILTER, RAW
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import DROP, NOTRACK
from weft.hoststate.rules.matches import DADDR, L4PROTO, SADDR
from weft.model import Lease, Network, Node

Encap = Annotated[
    Literal["never", "ipip", "ipip-cross-subnet", "vxlan", "vxlan-cross-subnet"],
    option(
        "what carries packets between hosts: nothing; or a tunnel, to all hosts or to those of other segments only.",
        fixed(NOT_AT_ONCE),
    ),
]
Tunnel = Literal["", "ipip", "vxlan"]

IPIP_DEVICE = "weft.ipip"
"""One for all networks: IPIP has nothing that would tell them apart."""
IPIP_OVERHEAD = 20
IPIP = 4
"""Protocol number of IPv4 in IPv4."""

_TUNNELS: dict[Encap, Tunnel] = {
    "never": "",
    "ipip": "ipip",
    "ipip-cross-subnet": "ipip",
    "vxlan": "vxlan",
    "vxlan-cross-subnet": "vxlan",
}


def tunnel(encap: Encap) -> Tunnel:
    return _TUNNELS[encap]


def tunnelled(options: Any, me: Node, node: Node, fam: Family) -> bool:
    """Whether packets of this family to a block of `node` go through the tunnel."""
    if not tunnel(options.encap) or (tunnel(options.encap) == "ipip" and fam == 6):
        return False
    return not options.encap.endswith("-cross-subnet") or not me.shares_segment(node, fam)


def ways(site: Site) -> tuple[str, ...]:
    """The tunnel, and the uplink where not all goes through that."""
    encap: Encap = site.options.encap
    plain = (
        not tunnel(encap) or encap.endswith("-cross-subnet") or (tunnel(encap) == "ipip" and 6 in site.network.families)
    )
    return (*filter(None, [site.options.tunnel_device]), *([site.host.node.uplink] if plain else []))


def refusal(host: Host, network: Network, options: Any) -> str:
    node = host.node
    kind = tunnel(options.encap)
    if kind == "ipip" and 4 not in network.families:
        instead = options.encap.replace(kind, "vxlan")
        return f"encap={options.encap} carries IPv4 only, and there is no IPv4 subnet: use -O encap={instead}"
    if lacking := [name for name in options.features if name in host.lacking]:
        other = "vxlan" if kind == "ipip" else "never"
        instead = options.encap.replace(kind, other) if kind == "ipip" else other
        return (
            f"the kernel of {node.name} has no {lacking[0]}, which encap={options.encap} needs: load the module there "
            f"(modprobe {lacking[0]}), or make network {network.name} with -O encap={instead}"
        )
    if kind == "ipip" and node.address(4) is None:
        return (
            f"{node.name} has no IPv4 address on {node.uplink}, which encap={options.encap} needs: give it one, or make "
            f"network {network.name} with -O encap={options.encap.replace('ipip', 'vxlan')} -O underlay=ipv6"
        )
    return _tunnel.refusal(host, network, options) if kind == "vxlan" else ""


def network(site: Site) -> Answer:
    """The tunnel's device on this host, and whose packets it takes."""
    kind = tunnel(site.options.encap)
    for way in ways(site):
        yield from _short.way(site, way, framed=way != IPIP_DEVICE)
    if kind == "vxlan":
        yield from _tunnel.vtep(site)
        yield from _isolation.via(site.options.tunnel_device, site.network.subnets)
    elif kind == "ipip":
        yield from _ipip(site)
        yield from _isolation.via(IPIP_DEVICE, (s for s in site.network.subnets if s.version == 4))


def _ipip(site: Site) -> Answer:
    node = site.host.node
    local = node.address(4)
    if local is None:
        yield Problem(refusal(site.host, site.network, site.options))
        return
    yield from _tunnel.unfit(site, "IPIP")
    yield Link(name=IPIP_DEVICE, type=Ipip(local=str(local)), mtu=node.mtu - IPIP_OVERHEAD, alias="weft:ipip")
    yield NftSet(name="known-hosts4", type=("ipv4_addr",))
    ipip = L4PROTO.is_(IPIP)
    unknown = rule(ipip, SADDR[4].not_among("known-hosts4"), DROP)
    yield _rules.base_chain("ipip-input", "filter", "input", FILTER, unknown)
    # As with VXLAN, only the packets inside are connection-tracked. Others' IPIP is left as it is.
    for hook, end in (("prerouting", SADDR[4]), ("output", DADDR[4])):
        untracked = rule(ipip, end.among("known-hosts4"), NOTRACK)
        yield _rules.base_chain(f"ipip-{hook}", "filter", hook, RAW, untracked)


def peer(site: Site, node: Node, lease: Lease) -> Answer:
    kind, me, fam = tunnel(site.options.encap), site.host.node, site.options.underlay_family
    prefixes = (*lease.subnets, *lease.hosts)
    for come_by, plain in ((_isolation.via, lease.subnets), (_isolation.moved, lease.hosts)):
        yield from come_by(me.uplink, [p for p in plain if not tunnelled(site.options, me, node, family(p))])
    if not kind or me.address(fam) is None:
        return
    remote = node.address(fam)
    through = [prefix for prefix in prefixes if tunnelled(site.options, me, node, family(prefix))]
    if through and kind == "vxlan":
        yield from _by_vxlan(site, node, lease, through)
    elif through and remote is None:
        yield Problem(f"{node.name} has no IPv4 address on {node.uplink}: IPIP cannot reach it; give it one")
    elif through:
        yield from (_onlink(site, prefix, str(remote), IPIP_DEVICE) for prefix in through)


def _by_vxlan(site: Site, node: Node, lease: Lease, prefixes: list[IPNetwork]) -> Answer:
    entry = _tunnel.remote(site, node, lease)
    yield entry
    if isinstance(entry, Problem):
        return
    hops = {family(prefix): _next_hop(node, entry.lladdr, family(prefix)) for prefix in prefixes}
    yield from (Neighbour(address=hop, lladdr=entry.lladdr, dev=entry.dev) for hop in sorted(set(hops.values())))
    yield from (_onlink(site, prefix, hops[family(prefix)], entry.dev) for prefix in prefixes)


def _next_hop(node: Node, mac: str, fam: Family) -> str:
    """The address by which the peer's VTEP is known on the VXLAN device. IPv4: the peer's own, where it has one."""
    address = node.address(4)
    return str(address) if fam == 4 and address is not None else str(link_local(mac))


def _onlink(site: Site, prefix: IPNetwork, via: str, dev: str) -> Object:
    """What the host itself sends there comes from its own address on the uplink: the tunnel's device has none."""
    source = site.host.node.address(family(prefix))
    return route(str(prefix), via=via, dev=dev, onlink=True, src=str(source or ""))
