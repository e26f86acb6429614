"""What containers may not reach on hosts. The same for all data paths. (Between networks: `_isolation`.)

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
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.alloc import addresses
from weft.base.net import FAMILIES, IPAddress, IPNetwork
from weft.datapaths import _isolation, _rules
from weft.datapaths.driver import Host, Site
from weft.hoststate import Key, NftChain, NftElement, NftSet, Object
from weft.hoststate.firewall import FILTER, PORTS, RAW
from weft.hoststate.links import CHECKED, UNCHECKED
from weft.hoststate.rules import Rule, rule
from weft.hoststate.rules.actions import COUNTER, DROP, RETURN, Jump
from weft.hoststate.rules.matches import (
    DADDR,
    IIFGROUP,
    L4PROTO,
    NO_WAY_BACK,
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
    rule(NO_WAY_BACK, COUNTER, DROP),
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
    apart = () if site.network.reaches is None else _isolation.keys()
    return (*chains(site.host), checked().key, *apart)


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
    yield NftSet(name="vnis", type=(PORTS["udp"], _VNI))
    yield from _control_chains(host)
    for port in host.spoken:
        yield from cluster_tunnel(port)
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
