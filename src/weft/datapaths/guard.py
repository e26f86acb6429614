"""What containers may not reach on hosts, and what keeps internal networks closed. The same for all data paths.

What a packet may do follows from the device that it comes in by, never from the address that it claims. Rules tell
containers' devices by their group (`weft.hoststate.links`):

- Packets of devices in the group CHECKED must come from where the answer would go (strict reverse path, RFC 3704). From
  there on their source address can be believed. These are routed containers, and bridges of internal networks.
- Packets of any container's device do not reach what controls the cluster, on any of its hosts: tunnels, BGP, the store,
  the agents. Masqueraded, they would come from a host's address, which others trust. They are stopped where they begin,
  so each host answers for its own containers: the chain `here` sees what is sent to this host, `elsewhere` what is sent to
  others. Both come after the translation of published ports, which therefore work with any number.
- A host takes VXLAN packets of its networks only from hosts of the cluster, and only at its own underlay address.
  Packets with other networks' numbers on the same port are not ours to judge.
- To an internal network come only packets of its own containers (checked), and of other hosts by the devices that carry
  the network (set `inside`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from weft.alloc import addresses
from weft.base.net import FAMILIES, IPAddress, IPNetwork, host_text
from weft.datapaths import _rules
from weft.datapaths.driver import Host, Site
from weft.hoststate import Key, NftChain, NftElement, NftSet, Object
from weft.hoststate.firewall import FILTER, RAW
from weft.hoststate.links import CHECKED, UNCHECKED
from weft.hoststate.rules import Rule, rule
from weft.hoststate.rules.actions import ACCEPT, DROP, RETURN, Jump
from weft.hoststate.rules.matches import (
    DADDR,
    IIFGROUP,
    IIFNAME,
    L4PROTO,
    NO_WAY_BACK,
    OIFGROUP,
    SADDR,
    TCP_DPORT,
    UDP_DPORT,
    field,
)
from weft.model import Node

NOWHERE = "169.254.1.1"
"""Routed containers' next hop, which exists nowhere: what is sent to it ends here."""
BGP = 179
BRIDGE_RULES = "nft-bridge"
"""What a kernel may lack: nftables' family `bridge` (name of `weft doctor`)."""
TUNNELS = rule(L4PROTO.is_(4, 41, 47), DROP), rule(UDP_DPORT.among("cluster-tunnels"), DROP)
"""Packets of IPIP, of IPv6 in IPv4 and of GRE, and of all VXLAN networks of the cluster."""

_CONTAINERS = f"{CHECKED}-{UNCHECKED}"
_VNI = "@th,96,24"
"""Behind 8 octets of UDP and 4 of VXLAN (RFC 7348 section 5)."""

# What is the same on every host is made once: each container's device asks for it.
_NOT_CONTAINERS = rule(IIFGROUP.is_not(_CONTAINERS), RETURN)
_CONTROL_HERE = (rule(TCP_DPORT.among("control-ports"), DROP),)
_CONTROL_ELSEWHERE = tuple(rule((DADDR[fam] + TCP_DPORT).among(f"control{fam}"), DROP) for fam in FAMILIES)
_OUR_VNIS = rule((UDP_DPORT + field(_VNI)).among("vnis"), DROP)
_INPUT = _rules.base_chain(
    "input",
    "filter",
    "input",
    FILTER,
    rule(IIFGROUP.is_(_CONTAINERS), Jump("here")),
    rule(UDP_DPORT.among("tunnel-ports"), Jump("tunnelled")),
)
_TO_HOSTS = _rules.base_chain(
    "to-hosts",
    "filter",
    "forward",
    FILTER,
    *(rule(DADDR[fam].among(f"hosts{fam}"), Jump("elsewhere")) for fam in FAMILIES),
)
_CHECKED = _rules.base_chain(
    "checked",
    "filter",
    "prerouting",
    RAW,
    rule(IIFGROUP.is_not(CHECKED), RETURN),
    rule(NO_WAY_BACK, DROP),
    rule(DADDR[4].is_(NOWHERE), DROP),
)


def group(site: Site) -> int:
    """Of the bridge that a network's containers are on."""
    return CHECKED if site.network.internal else UNCHECKED


def checked() -> NftChain:
    """What is dropped of packets whose source address has to be true."""
    return _CHECKED


def guards(site: Site) -> tuple[Key, ...]:
    """Keys of the rules that have to stand before any device is made by which the network's containers send."""
    inner = isolation(site.network.subnets) if site.network.internal else ()
    return (*chains(site.host), *(obj.key for obj in (checked(), *inner) if not isinstance(obj, NftSet)))


def chains(host: Host) -> tuple[Key, ...]:
    """Those of `control`, which any device for containers waits for."""
    return tuple(chain.key for chain in _control_chains(host))


# -- what containers may not reach -------------------------------------------------------------------------------------


def control(host: Host) -> Iterator[Object]:
    """Rules and sets; what this host itself puts into them. (Of other hosts: `known_node`, `gateways`.)"""
    yield NftSet(name="cluster-tunnels", type=("inet_service",))
    yield NftSet(name="control-ports", type=("inet_service",))
    yield from _cluster_sets()
    yield NftSet(name="tunnel-ports", type=("inet_service",))
    yield NftSet(name="vnis", type=("inet_service", _VNI))
    yield from _control_chains(host)
    for port in sorted({BGP, *host.node.control}):
        yield NftElement(set="control-ports", value=str(port))
    for address, port in sorted(host.store, key=str):
        yield _host(address)
        yield _port(address, port)


def _control_chains(host: Host) -> Iterator[NftChain]:
    here, there = ((), ()) if host.control_open else (_CONTROL_HERE, _CONTROL_ELSEWHERE)
    yield NftChain(name="here", rules=(*TUNNELS, *here))
    yield NftChain(name="elsewhere", rules=(_NOT_CONTAINERS, *TUNNELS, *there))
    yield NftChain(name="tunnelled", rules=(*_from_known_hosts(host.node), _OUR_VNIS))
    yield _INPUT
    yield _TO_HOSTS


def _cluster_sets() -> Iterator[NftSet]:
    for fam in FAMILIES:
        yield NftSet(name=f"known-hosts{fam}", type=(_rules.address(fam),))
        yield NftSet(name=f"hosts{fam}", type=(_rules.address(fam),))
        yield NftSet(name=f"control{fam}", type=(_rules.address(fam), "inet_service"))


def _from_known_hosts(me: Node) -> Iterator[Rule]:
    for fam in FAMILIES:
        if (local := me.address(fam)) is not None:
            yield rule(SADDR[fam].among(f"known-hosts{fam}"), DADDR[fam].is_(local), RETURN)


def known_node(me: Node, node: Node) -> Iterator[Object]:
    """Another host of the cluster, whether or not it takes part in a network that is on this one."""
    yield from _cluster_sets()
    for address in (a.ip for a in node.addresses):
        if address in (a.ip for a in me.addresses):
            continue  # a host that was installed anew under another name
        yield NftElement(set=f"known-hosts{address.version}", value=str(address))
        yield _host(address)
        yield from (_port(address, port) for port in sorted({BGP, *node.control}))


def gateways(node: Node, subnets: Iterable[IPNetwork]) -> Iterator[Object]:
    """The addresses that another host has in its own subnets: by these, too, containers reach it."""
    for subnet in subnets:
        for address in (subnet.network_address, addresses.gateway(subnet)):
            yield _host(address)
            yield from (_port(address, port) for port in sorted({BGP, *node.control}))


def cluster_tunnel(port: int | None) -> Iterator[Object]:
    """Of a network that need not be on this host."""
    if port is not None:
        yield NftSet(name="cluster-tunnels", type=("inet_service",))
        yield NftElement(set="cluster-tunnels", value=str(port))


def _host(address: IPAddress) -> NftElement:
    return NftElement(set=f"hosts{address.version}", value=str(address))


def _port(address: IPAddress, port: int) -> NftElement:
    return NftElement(set=f"control{address.version}", value=f"{address} . {port}")


# -- internal networks -------------------------------------------------------------------------------------------------


def isolation(subnets: Iterable[IPNetwork]) -> Iterator[Object]:
    """Nothing of an internal network is forwarded out of it, and nothing into it.

    Where br_netfilter is loaded (Docker, Kubernetes), packets between two ports of one bridge pass these rules as well. Then
    multicast from container to container has to pass: IPv6 asks so for a neighbour (RFC 4861, 7.2.2)."""
    subnets = tuple(subnets)
    yield checked()
    yield from _rules.sets("inside", "ifname", "", "")
    yield from _rules.sets("internal")
    yield from _rules.sets("within", "", "")
    rules: list[Rule] = []
    checked_in, checked_out = IIFGROUP.is_(CHECKED), OIFGROUP.is_(CHECKED)
    for fam in FAMILIES:
        from_it, to_it = SADDR[fam].among(f"internal{fam}"), DADDR[fam].among(f"internal{fam}")
        ends = SADDR[fam] + DADDR[fam]
        elsewhere, not_inside = ends.not_among(f"within{fam}"), (IIFNAME + ends).not_among(f"inside{fam}")
        rules.append(rule(checked_in, checked_out, DADDR[fam].is_(_rules.MULTICAST[fam]), ACCEPT))
        rules.append(rule(from_it, elsewhere, DROP))
        rules.append(rule(checked_in, to_it, elsewhere, DROP))
        rules.append(rule(IIFGROUP.is_not(CHECKED), to_it, not_inside, DROP))
    yield _rules.base_chain("forward", "filter", "forward", FILTER, *rules)
    for subnet in subnets:
        yield NftElement(set=f"internal{subnet.version}", value=str(subnet))
    for one, other in _pairs(subnets, subnets):
        yield NftElement(set=f"within{one.version}", value=f"{one} . {other}")


def inside(site: Site, device: str, sources: Iterable[IPNetwork] | None = None) -> Iterator[Object]:
    """By `device` come packets of an internal network from other hosts, from these `sources` (None: any of it)."""
    if not site.network.internal:
        return
    subnets = site.network.subnets
    for source, target in _pairs(subnets if sources is None else sources, subnets):
        text = host_text(source)
        yield NftElement(set=f"inside{source.version}", value=f'"{device}" . {text} . {target}')


def _pairs(some: Iterable[IPNetwork], others: Iterable[IPNetwork]) -> Iterator[tuple[IPNetwork, IPNetwork]]:
    return ((one, other) for one, other in product(some, others) if one.version == other.version)
