"""The routing mesh: the way of packets from a host where a published port of a service was reached to one with a member.

It belongs to no network, so it is the same for members with any data path. All hosts have a device `weft_mesh`, a VXLAN
with entries for every other host, and an address in it that is made of the node's number. A packet's way:

1. Client → entry host, translated there (`_entries`) to the mesh address of a host with members. Its source stays.
2. By weft_mesh to that host. Its conntrack entry is marked there with the number of the entry host, which the frame's source
   MAC address tells, and it is translated to a member.
3. The member answers its client. The host finds the mark of the connection, gives it to the packet, and a routing rule for
   this mark sends it by weft_mesh to the entry host, and nowhere else: only there it can be translated back.
4. Entry host → client.

The mark is in ten bits of 32; all other bits are others'. A packet that came by weft_mesh has it, too: so the host finds that
an answer would go back there, however strictly it asks (rp_filter, by src_valid_mark). But it is not routed by the mark.
Before the tunnel's own packet leaves, the mark is taken away, or this one would be routed into the tunnel again.

What leads back to a sender by the host's own address would never leave that host. So such a connection, from a host by
another one to itself, has the entry host's mesh address as its source.

Only translated packets pass by weft_mesh, and at a host itself it ends for all but answers and ICMP.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from weft.base.names import stable_mac
from weft.base.net import FAMILIES, Family, IPAddress, IPNetwork, host_prefix
from weft.datapaths import _parts, _rules, _short, _tunnel, guard
from weft.datapaths.driver import LEAST_V6_MTU, Answer, Host, Problem
from weft.hoststate import (
    Address,
    FdbEntry,
    Link,
    Neighbour,
    NftChain,
    NftElement,
    NftSet,
    Object,
    RoutingRule,
    Sysctl,
    Vxlan,
    route,
)
from weft.hoststate.firewall import FILTER, SRCNAT
from weft.hoststate.paths import FIRST_TABLE
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import CLAMP_MSS, DROP, RETURN, Dispatch, Masquerade, Reject, SetMark
from weft.hoststate.rules.matches import (
    CT_DIRECTION,
    CT_STATE,
    CT_STATUS,
    DADDR,
    ETHER_SADDR,
    IIFNAME,
    L4PROTO,
    OIFNAME,
    SADDR,
    field,
)
from weft.model import Node

UDP_PORT = _tunnel.MESH_PORT
"""The tunnel's, on all hosts."""
DEVICE = "weft_mesh"
"""No network's device can be called so."""
PREFIXES: dict[Family, IPNetwork] = {4: ip_network("169.254.200.0/22"), 6: ip_network("fd57:4546:544d::/64")}
"""Addresses in the mesh: link-local (RFC 3927), and of a unique local prefix (RFC 4193). A host's are those of its number."""

MASK, _SHIFT = _rules.MESH_MARK, 21
_FIRST = 870
"""Priority of the first routing rule, before those of the main table (32766)."""
_MANGLE = -150
_LEFT, _CAME = OIFNAME.is_(DEVICE), IIFNAME.is_(DEVICE)
_MARKED = field(f"ct mark & {MASK:#x}")


def mark(number: int) -> int:
    """Of connections that came in by the node with this number."""
    return number << _SHIFT


def address(number: int, fam: Family) -> IPAddress:
    return PREFIXES[fam][number]


def mac(node: str) -> str:
    return stable_mac("mesh", node)


def underlay(node: Node) -> Family:
    """The family of the tunnel's own packets."""
    return 4 if node.address(4) else 6


def families(host: Host) -> tuple[Family, ...]:
    """Those in which the mesh leads anywhere."""
    v6 = host.ipv6 and _mtu(host.node) >= LEAST_V6_MTU
    return FAMILIES if v6 else (4,)


def _mtu(node: Node) -> int:
    return node.mtu - _tunnel.OVERHEAD[underlay(node)]


# -- this host ---------------------------------------------------------------------------------------------------------


def device(host: Host, number: int) -> Iterator[Object]:
    """`number`: this node's."""
    node, fam = host.node, underlay(host.node)
    yield from guard.control(host)
    yield from _parts.forwarded(host, families(host))
    yield from _parts.accept_forwarding(host)
    yield from _tunnel.accepted(_tunnel.MESH_VNI, UDP_PORT)
    yield from guard.cluster_tunnel(UDP_PORT)
    yield from _sets()
    yield from _CHAINS
    yield from _short.tracked(host)
    yield Link(
        name=DEVICE,
        type=Vxlan(vni=_tunnel.MESH_VNI, port=UDP_PORT, local=str(node.address(fam)), dev=node.uplink),
        mtu=_mtu(node),
        mac=mac(node.name),
        guards=(*guard.chains(host), *(chain.key for chain in _CHAINS)),
        alias="weft:mesh",
    )
    yield Sysctl(name=f"net/ipv4/conf/{DEVICE}/src_valid_mark", value="1", lasting=False)
    yield Sysctl(name=f"net/ipv4/conf/{DEVICE}/route_localnet", value="1", lasting=False)  # of who asks 127.0.0.1
    yield from _rules.sets("cluster")
    for fam in families(host):
        yield Address(address=host_prefix(address(number, fam)), dev=DEVICE)
        yield route(str(PREFIXES[fam]), dev=DEVICE)
        yield NftElement(set=f"cluster{fam}", value=str(PREFIXES[fam]))  # nobody is masqueraded on this way
        yield from _around(fam)


def _around(fam: Family) -> Iterator[RoutingRule]:
    """The rules for marks are asked for marked packets only, but for those that came by the device itself."""
    yield RoutingRule(family=fam, priority=_FIRST, iif=DEVICE, goto=_FIRST + 3)
    yield RoutingRule(family=fam, priority=_FIRST + 1, mask=MASK, goto=_FIRST + 3)
    yield RoutingRule(family=fam, priority=_FIRST + 3)


def _sets() -> Iterator[NftSet]:
    yield NftSet(name="mesh-from", type=("ether_addr",), to=("verdict",))
    yield NftSet(name="mesh-back", type=("mark",), to=("verdict",))
    for fam in FAMILIES:
        yield NftSet(name=f"mesh-self{fam}", type=(_rules.address(fam), _rules.address(fam)))


def _chains() -> Iterator[NftChain]:
    back = rule(CT_DIRECTION.is_("reply"), Dispatch(by=_MARKED, map="mesh-back"))
    came = rule(_CAME, CT_DIRECTION.is_("original"), Dispatch(by=ETHER_SADDR, map="mesh-from"))
    yield _rules.base_chain("mesh-prerouting", "filter", "prerouting", _MANGLE, came, back)
    yield _rules.base_chain("mesh-output", "route", "output", _MANGLE, back)
    forgotten = rule(_LEFT, SetMark(0, MASK))
    clamped = rule(_LEFT, field("tcp flags").is_("syn/syn,rst"), CLAMP_MSS)
    yield _rules.base_chain("mesh-postrouting", "filter", "postrouting", _MANGLE, forgotten, clamped)
    itself = (rule(_LEFT, (SADDR[fam] + DADDR[fam]).among(f"mesh-self{fam}"), Masquerade()) for fam in FAMILIES)
    yield _rules.base_chain("mesh-source", "nat", "postrouting", SRCNAT - 1, *itself)
    translated = (rule(end, CT_STATUS.is_("dnat"), RETURN) for end in (_CAME, _LEFT))
    others = (rule(end, DROP) for end in (_CAME, _LEFT))
    yield _rules.base_chain("mesh-forward", "filter", "forward", FILTER, *translated, *others)
    yield _rules.base_chain(
        "mesh-input",
        "filter",
        "input",
        FILTER,
        rule(_CAME, CT_STATE.is_("established", "related"), RETURN),
        rule(_CAME, L4PROTO.is_("icmp", "ipv6-icmp"), RETURN),
        rule(_CAME, L4PROTO.is_("tcp"), Reject("tcp-reset")),
        rule(_CAME, Reject()),
    )


_CHAINS = tuple(_chains())


# -- another host ------------------------------------------------------------------------------------------------------


def peer(host: Host, node: Node) -> Answer:
    """What leads to another host, and back to it. `node` has a number."""
    fam = underlay(host.node)
    remote = node.address(fam)
    if remote is None:
        yield Problem(
            f"{node.name} has no IPv{fam} address on {node.uplink}: published ports of services do not lead there "
            "from here; give it one"
        )
        return
    yield FdbEntry(lladdr=mac(node.name), dst=str(remote), dev=DEVICE)
    for fam in families(host):
        yield from _way_back(node, fam)
    yield from _marking(node)
    for own in node.addresses:
        pair = f"{own.ip} . {address(node.number, 4 if own.version == 4 else 6)}"
        yield NftElement(set=f"mesh-self{own.version}", value=pair)


def _way_back(node: Node, fam: Family) -> Iterator[Object]:
    via, table = str(address(node.number, fam)), FIRST_TABLE + node.number
    yield Neighbour(address=via, lladdr=mac(node.name), dev=DEVICE)
    yield route("0.0.0.0/0" if fam == 4 else "::/0", via=via, dev=DEVICE, onlink=True, table=table)
    yield RoutingRule(family=fam, priority=_FIRST + 2, mark=mark(node.number), mask=MASK, table=table)


def _marking(node: Node) -> Iterator[Object]:
    """The connection is marked, and the packet at hand. Bits that are others' stay."""
    yield from _sets()
    chain, own = f"mesh-by-{node.number}", mark(node.number)
    both = rule(SetMark(own, MASK, of="ct mark"), SetMark(own, MASK))
    yield NftChain(name=chain, rules=(both,))
    yield NftElement(set="mesh-from", value=mac(node.name), to=f"goto {chain}")
    yield NftElement(set="mesh-back", value=f"{own:#010x}", to=f"goto {chain}")
