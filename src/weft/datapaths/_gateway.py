"""The way out for containers whose network has none of its own: a second interface in a bridge of the host's.

Packet's way out: container's eth1 → port of the bridge `weft_gw` (no network can be called so) → the host routes → its
uplink, masqueraded as the host. All overlay networks of a host share the bridge, but containers of one network must not
reach those of another through it. So its ports are isolated: they send to the host only. And what the host would route from
the bridge back into it is dropped. Each host uses the same subnets, which nothing outside ever sees. The host's neighbour
entries for containers are permanent, so that no ARP or ND message of one container can change who gets another's answers.

Published ports are the exception. Where the host's rules see bridged packets (br_netfilter: Docker, Kubernetes), a packet
to the host's address is translated in the bridge already, as it comes in, and the kernel then passes it from port to port
(br_nf_pre_routing_finish() in net/bridge/br_netfilter_hooks.c). So the ports of containers that publish are not isolated.
Rules keep them apart instead: a frame that comes in may be for the host only, which is seen before the translation.
Whatever is bridged afterwards was translated, but for broadcasts and multicasts; these do not pass.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.alloc import addresses
from weft.base.names import device, stable_mac
from weft.base.net import FAMILIES, IPAddress, family
from weft.datapaths import _isolation, _limits, _parts, _rules, _short, _spoofing, guard
from weft.datapaths.driver import Answer, Reached, Site
from weft.hoststate import Address, Bridge, Link, Neighbour, NftChain, NftElement, Object
from weft.hoststate.firewall import BRIDGE as BRIDGE_TABLE
from weft.hoststate.firewall import BRIDGE_FILTER, FILTER, SRCNAT
from weft.hoststate.links import GATEWAY_ALIAS, UNCHECKED
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT, DROP, Masquerade
from weft.hoststate.rules.matches import CT_STATUS, DADDR, IIFNAME, OIFNAME, PKTTYPE, SADDR, field
from weft.model import Endpoint

BRIDGE = "weft_gw"
_PORT = "weftg"
"""How the names of the bridge's ports begin. An id follows, in hexadecimal digits: no other port's name begins so."""


def bridge(site: Site) -> Link:
    mtu, mac = site.host.node.mtu, _mac(site)
    spoofing = _spoofing.guards(site.host)
    apart = (*_isolation.keys(), *(chain.key for chain in _apart(site)))
    guards = (*guard.chains(site.host), *spoofing, *apart)
    return Link(name=BRIDGE, type=Bridge(), mtu=mtu, mac=mac, group=UNCHECKED, guards=guards, alias=GATEWAY_ALIAS)


def _mac(site: Site) -> str:
    return stable_mac("gateway", site.host.node.name)


def common(site: Site) -> Iterator[Object]:
    """For all containers of the host."""
    yield bridge(site)
    yield from _parts.forwarding(site)
    yield from _parts.accept_forwarding(site.host)
    yield from _rules.sets("gateway")
    elsewhere = OIFNAME.is_not(BRIDGE)
    masquerading = [
        rule(
            elsewhere,
            SADDR[fam].among(f"gateway{fam}"),
            DADDR[fam].is_not(_rules.MULTICAST[fam]),
            Masquerade(random=True),
        )
        for fam in FAMILIES
    ]
    yield from _isolation.rules()
    yield from _apart(site)
    yield from _spoofing.checks(site.host)
    yield _rules.base_chain("gateway-postrouting", "nat", "postrouting", SRCNAT, *masquerading)
    yield from _isolation.tracking()
    if _short.on(site):
        yield from _short.network(site, BRIDGE)
    else:
        yield from _short.gaps(site.host)
    yield from _short.tracked(site.host)
    yield from _short.way(site, site.host.node.uplink, translated=True)


def _apart(site: Site) -> Iterator[NftChain]:
    """What keeps containers apart, but for published ports. The bridge's hooks come before br_netfilter's (priority 0)."""
    back = IIFNAME.is_(BRIDGE), OIFNAME.is_(BRIDGE)
    apart = rule(*back, CT_STATUS.is_("dnat"), ACCEPT), rule(*back, DROP)
    yield _rules.base_chain("gateway-forward", "filter", "forward", FILTER, *apart)
    if guard.BRIDGE_RULES in site.host.lacking:
        return
    here, many = IIFNAME.is_(f"{_PORT}*"), ("broadcast", "multicast")
    for hook, kept in {
        "prerouting": rule(here, PKTTYPE.is_not(*many), field("ether daddr").is_not(_mac(site)), DROP),
        "forward": rule(here, PKTTYPE.is_(*many), DROP),
    }.items():
        yield _rules.base_chain(f"gateway-bridge-{hook}", "filter", hook, BRIDGE_FILTER, kept, table=BRIDGE_TABLE)


def port(site: Site, endpoint: Endpoint) -> Iterator[Object]:
    """One container's. One that was attached before the network became internal has none any more."""
    gateway = endpoint.gateway
    if gateway is None or site.network.internal:
        return
    name, ns, eth = _port_name(endpoint), endpoint.namespace.path, gateway.interface
    mac, mtu = _port_mac(endpoint), site.host.node.mtu
    hairpin = bool(endpoint.ports)
    isolated = not endpoint.ports or guard.BRIDGE_RULES in site.host.lacking
    yield from _parts.veth(
        bridge(site), name, eth, ns, mtu=mtu, mac=mac, mark=GATEWAY_ALIAS, hairpin=hairpin, isolated=isolated
    )
    yield from _limits.limits(endpoint.bandwidth, name, mtu=mtu, mark=GATEWAY_ALIAS)
    own = tuple(address.ip for address in gateway.addresses)
    yield from _spoofing.port(site, endpoint, name, mac, own)
    yield from _short.port(site, endpoint, name, own, BRIDGE, translated=True)
    for address in gateway.addresses:
        subnet = address.network
        yield NftElement(set=f"gateway{subnet.version}", value=str(subnet))
        yield from _isolation.via(BRIDGE, [subnet])
        yield Address(address=_parts.gateway_address(subnet), dev=BRIDGE)
        yield from _parts.inside(str(address), eth, ns)
        if address.version == 6:
            yield _parts.link_local_of(BRIDGE, _mac(site))
            yield _parts.link_local_of(eth, mac, ns)
        yield Neighbour(address=str(address.ip), lladdr=mac, dev=BRIDGE)
        yield _parts.default_route(family(subnet), str(addresses.gateway(subnet)), eth, endpoint)


def also(site: Site, endpoint: Endpoint, own: tuple[IPAddress, ...]) -> Answer:
    """By its second interface, which is the way to everywhere else."""
    if endpoint.gateway is not None:
        yield from _spoofing.also(site, _port_name(endpoint), _port_mac(endpoint), endpoint, own)


def _port_name(endpoint: Endpoint) -> str:
    return device(_PORT, endpoint.id[:10])


def _port_mac(endpoint: Endpoint) -> str:
    return stable_mac("gateway", endpoint.id)


def reached(_: object, endpoint: Endpoint) -> Reached | None:
    """By its second interface."""
    if endpoint.gateway is None:
        return None
    addresses = endpoint.gateway.addresses
    return Reached(dev=BRIDGE, targets=tuple(a.ip for a in addresses), subnets=tuple(a.network for a in addresses))
