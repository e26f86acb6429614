"""Who speaks BGP with whom, and what this host announces: from the model, no I/O.

Without a route reflector every node peers with every other (RFC 4271: what iBGP teaches is not passed on). Nodes with the
label `route-reflector=CLUSTER-ID` pass on (RFC 4456): then these peer with each other and with everyone, and nobody else does.
Routers that are no nodes are peered with by the nodes that their selector names. One session for each family, between
addresses of that family.

What a node may announce follows from the same model, so a session between nodes takes that and nothing else: whoever got
hold of a session (a container is seen with its host's address elsewhere) cannot draw others' packets to itself. Sessions
between nodes are signed with a password made of the cluster's secret (RFC 2385), and where no router is in between,
nothing that a router has passed on is taken (RFC 5082); each as far as both ends can.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import partial
from ipaddress import IPv4Address
from typing import Literal

import msgspec

from weft.base.errors import WeftError
from weft.base.names import digest
from weft.base.net import FAMILIES, Family, IPAddress, IPNetwork, covers, family, host_prefix, parse_network
from weft.datapaths import registry
from weft.datapaths.traits import KnownBy
from weft.model import BgpPeer, BgpSettings, Endpoint, Lease, Network, Node
from weft.model.bgp import REFLECTOR
from weft.model.selector import matches

LONGEST_NAME = 60
"""Of a protocol: BIRD's own limit is 64."""
TTL, PASSWORD = "ttl", "password"
"""A node's `bgp_guards`."""

Tunnelled = Callable[[Node, Node, Family], bool]
"""Whether a network's packets of a family go from one node to another through a tunnel."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What all follows from. `leases`: network → node → lease. `endpoints`: this host's. `floating`: every floating address,
    with its node. `present`: nodes whose agent lives. `registered`: node → the revision of its record, where it matters which
    of two is the later one. `secret`: the cluster's, "" where it is not known."""

    nodes: Mapping[str, Node]
    networks: Mapping[str, Network]
    leases: Mapping[str, Mapping[str, Lease]]
    endpoints: Iterable[Endpoint]
    settings: BgpSettings
    peers: Mapping[str, BgpPeer]
    floating: Iterable[tuple[IPAddress, str]] = ()
    present: Container[str] = ()
    registered: Mapping[str, int] = {}
    secret: str = ""


class PlannedSession(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: of BIRD's protocol. `kind`: what the other end is; to "client" we reflect. `with_`: its name. `passive`: the
    other end connects. `on_link`: no router in between. `password`: TCP MD5 (RFC 2385). `signed`: both ends can have one.
    `ttl_security`: RFC 5082. `announces`: all that a node may tell of itself; `reflects`: it may also tell what others may."""

    name: str
    kind: Literal["node", "client", "router"]
    with_: str
    family: Family
    local: IPAddress
    remote: IPAddress
    asn: int
    passive: bool = False
    on_link: bool = True
    password: str = ""
    signed: bool = False
    ttl_security: bool = False
    announces: tuple[IPNetwork, ...] = ()
    reflects: bool = False
    router: BgpPeer | None = None


class Tunnel(msgspec.Struct, frozen=True):
    """What is in `subnets` and has one of these next hops goes through a tunnel."""

    subnets: tuple[IPNetwork, ...]
    next_hops: tuple[IPAddress, ...]


class Origin(msgspec.Struct, frozen=True):
    """All that may be told of one other node, whoever tells it. `next_hop`: its address."""

    next_hop: IPAddress
    prefixes: tuple[IPNetwork, ...]


class Speaker(msgspec.Struct, frozen=True, kw_only=True):
    """One host's BIRD. `cluster_id`: "" where it reflects nothing. `blocks`: own, announced, and a blackhole for what is
    not in use. `hosts`: own addresses outside them. `floating`: external addresses of own containers. `subnets`: of all of
    Weft's networks. `origins`: what a reflector may tell, by the node that it is of. `unsigned`: there is no secret yet for
    the sessions that need one."""

    router_id: str
    asn: int
    settings: BgpSettings
    cluster_id: str = ""
    blocks: tuple[IPNetwork, ...] = ()
    hosts: tuple[IPNetwork, ...] = ()
    floating: tuple[IPNetwork, ...] = ()
    subnets: tuple[IPNetwork, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()
    origins: tuple[Origin, ...] = ()
    sessions: tuple[PlannedSession, ...] = ()
    problems: tuple[str, ...] = ()

    def tunnelled(self, prefix: IPNetwork, next_hop: IPAddress) -> bool:
        """Whether Weft routes to this prefix there through a tunnel, and BIRD leaves it alone."""
        return any(next_hop in t.next_hops and any(covers(s, prefix) for s in t.subnets) for t in self.tunnels)

    @property
    def unsigned(self) -> bool:
        return any(s.signed and not s.password for s in self.sessions)

    def families(self) -> tuple[Family, ...]:
        return tuple(
            f for f in FAMILIES if any(s.version == f for s in (*self.subnets, *(s.local for s in self.sessions)))
        )


def speaker(me: Node, model: Model) -> Speaker | None:
    """None where this host has nothing to say: no network that BGP announces, and no router that wants to hear of it."""
    networks = dict(announced(model.networks))
    selected = spoken_to(me, model)
    if not networks and not selected:
        return None
    own = [lease for name in networks if (lease := model.leases.get(name, {}).get(me.name))]
    subnets = tuple(s for name in networks for s in model.networks[name].subnets)
    reflectors, problems = _reflectors(model.nodes)
    speaking, twins = others(me, model)
    problems += twins
    told = _told(model, networks)
    sessions = list(_node_sessions(me, model, set(networks), reflectors, {family(s) for s in subnets}, speaking, told))
    problems += _unprotected(me, sessions)
    for peer in selected:
        found = _router_session(me, peer, sessions)
        if isinstance(found, str):
            problems.append(found)
        else:
            sessions.append(found)
    return Speaker(
        router_id=router_id(me),
        asn=asn(me, model.settings),
        settings=model.settings,
        cluster_id=reflectors.get(me.name, ""),
        blocks=_sorted(s for lease in own for s in lease.subnets),
        hosts=_sorted(s for lease in own for s in lease.hosts),
        floating=_sorted(parse_network(host_prefix(a)) for e in model.endpoints for a in e.floating),
        subnets=_sorted(subnets),
        tunnels=tuple(_tunnels(me, model, networks)),
        origins=tuple(_origins(speaking, told)) if any(s.reflects for s in sessions) else (),
        sessions=tuple(sessions),
        problems=tuple(problems),
    )


def others(me: Node, model: Model) -> tuple[dict[str, Node], list[str]]:
    """The nodes that there are to speak to, and what is wrong with the rest. A host that was installed anew under another
    name has its former self's address, whose record stays for as long as its tenure: it is the one whose agent lives, or
    that came later, that speaks BGP there."""
    ranked = sorted(
        (n for n in model.nodes.values() if n.name != me.name),
        key=lambda n: (n.name not in model.present, -model.registered.get(n.name, 0), n.name),
    )
    taken = {a.ip: me for a in me.addresses}
    found, problems = [], []
    for node in ranked:
        twin = next((taken[a.ip] for a in node.addresses if a.ip in taken), None)
        if twin is None:
            found.append(node)
            taken.update((a.ip, node) for a in node.addresses)
        elif node.name in model.present:
            problems.append(
                f"{node.name} has the same address as {twin.name}, so BGP is spoken with {twin.name} only: give it another "
                f"one, or, where its host has a new name, remove the old one with `weft node rm {node.name}`"
            )
    return {n.name: n for n in sorted(found, key=lambda n: n.name)}, problems


def _told(model: Model, networks: Iterable[str]) -> dict[str, tuple[IPNetwork, ...]]:
    """What each node may announce: its blocks, addresses that live there without, and floating ones."""
    found: dict[str, list[IPNetwork]] = {}
    for network in networks:
        for name, lease in model.leases.get(network, {}).items():
            found.setdefault(name, []).extend((*lease.subnets, *lease.hosts))
    for address, name in model.floating:
        found.setdefault(name, []).append(parse_network(host_prefix(address)))
    return {name: _sorted(prefixes) for name, prefixes in found.items()}


def _of_family(prefixes: Iterable[IPNetwork], fam: Family) -> tuple[IPNetwork, ...]:
    return tuple(p for p in prefixes if p.version == fam)


def _origins(nodes: Mapping[str, Node], told: Mapping[str, tuple[IPNetwork, ...]]) -> Iterator[Origin]:
    for name, node in nodes.items():
        for fam in FAMILIES:
            prefixes, hop = _of_family(told.get(name, ()), fam), node.address(fam)
            if prefixes and hop is not None:
                yield Origin(hop, prefixes)


def asn(node: Node, settings: BgpSettings) -> int:
    return node.asn or settings.asn


def router_id(node: Node) -> str:
    """Four octets, unique in the cluster (RFC 6286): the IPv4 address, or, without one, made from the name."""
    v4 = node.address(4)
    if v4 is not None:
        return str(v4)
    octets = digest("router id", node.name)
    return str(IPv4Address(bytes([1 + octets[0] % 223, *octets[1:4]])))


def spoken_to(me: Node, model: Model) -> list[BgpPeer]:
    """Routers that select this node."""
    return sorted((p for p in model.peers.values() if matches(p.nodes, me.labels)), key=lambda p: p.name)


def announced(networks: Mapping[str, Network]) -> Iterator[tuple[str, Tunnelled]]:
    """Those whose containers are known by BGP, and that this version of Weft understands."""
    for name, network in sorted(networks.items()):
        driver = registry.of(network)
        if driver.known_by is KnownBy.BGP:
            try:
                options = registry.parse_options(network)
            except WeftError:
                continue
            yield name, partial(driver.tunnelled, options)


def _reflectors(nodes: Mapping[str, Node]) -> tuple[dict[str, str], list[str]]:
    """Cluster ids by node; what is wrong with the others' labels."""
    found: dict[str, str] = {}
    problems = []
    for name, node in sorted(nodes.items()):
        text = node.labels.get(REFLECTOR)
        if text is None:
            continue
        try:
            found[name] = str(IPv4Address(text))
        except ValueError:
            problems.append(
                f"{name}: label {REFLECTOR}={text} is no cluster id, so it reflects nothing: write it as an IPv4 address, "
                "such as 224.0.0.1"
            )
    return found, problems


def _node_sessions(
    me: Node,
    model: Model,
    networks: set[str],
    reflectors: Mapping[str, str],
    families: set[Family],
    nodes: Mapping[str, Node],
    told: Mapping[str, tuple[IPNetwork, ...]],
) -> Iterator[PlannedSession]:
    if not reflectors and not model.settings.mesh:
        return
    members = {name for network in networks for name in model.leases.get(network, {})} | reflectors.keys()
    for name in sorted(members & nodes.keys()):
        node = nodes[name]
        if reflectors and me.name not in reflectors and name not in reflectors:
            continue
        client = me.name in reflectors and name not in reflectors
        for fam in FAMILIES:
            local, remote = me.address(fam), node.address(fam)
            if fam in families and local is not None and remote is not None:
                signed = PASSWORD in me.bgp_guards and PASSWORD in node.bgp_guards
                yield PlannedSession(
                    name=_protocol(f"node{fam}:{name}"),
                    kind="client" if client else "node",
                    with_=name,
                    family=fam,
                    local=local,
                    remote=remote,
                    asn=asn(node, model.settings),
                    passive=_passive(me, node, reflectors, fam),
                    on_link=_adjacent(me, node, fam),
                    password=_password(model.secret, local, remote) if signed and model.secret else "",
                    signed=signed,
                    ttl_security=TTL in me.bgp_guards and TTL in node.bgp_guards and _adjacent(me, node, fam),
                    announces=_of_family(told.get(name, ()), fam),
                    reflects=name in reflectors,
                )


def _adjacent(one: Node, other: Node, fam: Family) -> bool:
    """Whether no router is between them, as each of them sees it: both ends are to answer this alike."""
    return all(a.shares_segment(b, fam) and a.on_link(b, fam) for a, b in ((one, other), (other, one)))


def _password(secret: str, one: IPAddress, other: IPAddress) -> str:
    """Of the session between two addresses: who learns one password has that of no other session."""
    ends = " ".join(sorted((str(one), str(other))))
    return hmac.digest(bytes.fromhex(secret), f"weft bgp {ends}".encode(), "sha256").hex()


def _unprotected(me: Node, sessions: Iterable[PlannedSession]) -> list[str]:
    """What keeps sessions between nodes from having a password, a line."""
    open_ones = sorted({s.with_ for s in sessions if not s.signed})
    if not open_ones:
        return []
    if PASSWORD not in me.bgp_guards:
        return [
            f"the kernel of {me.name} has no TCP MD5 signatures, so its BGP sessions with other nodes have no password: "
            "take a kernel with CONFIG_TCP_MD5SIG"
        ]
    named = ", ".join(open_ones[:3]) + (f" and {len(open_ones) - 3} more" if len(open_ones) > 3 else "")
    return [
        f"BGP sessions have no password with {named}: an agent of an older version runs there, which is to be upgraded, or "
        "the kernel there has no TCP MD5 signatures"
    ]


def _passive(me: Node, node: Node, reflectors: Mapping[str, str], fam: Family) -> bool:
    """Both connecting at once would be a collision each time. A reflector connects to its clients, and not they to it: when
    it starts, hundreds would want to at once, of which BIRD lets 8 wait (its backlog, listen(2)); for the rest TCP took
    up to two minutes."""
    if (me.name in reflectors) != (node.name in reflectors):
        return me.name not in reflectors
    local, remote = me.address(fam), node.address(fam)
    return local is not None and remote is not None and int(local) < int(remote)


def _router_session(me: Node, peer: BgpPeer, sessions: Iterable[PlannedSession]) -> PlannedSession | str:
    """Or why there is none."""
    fam = family(peer.address)
    mine = next((a for a in me.addresses if a.version == fam), None)
    if mine is None:
        return f"bgp peer {peer.name}: {me.name} has no IPv{fam} address on {me.uplink} to reach {peer.address} from"
    if mine.ip == peer.address:
        return f"bgp peer {peer.name}: {peer.address} is {me.name}'s own address: give the router's, or leave {me.name} out"
    same = next((s.with_ for s in sessions if s.remote == peer.address), "")
    if same:
        return (
            f"bgp peer {peer.name}: {peer.address} is {same}'s address too, and {me.name} peers with that: remove one"
        )
    return PlannedSession(
        name=_protocol(f"router:{peer.name}"),
        kind="router",
        with_=peer.name,
        family=fam,
        local=mine.ip,
        remote=peer.address,
        asn=peer.asn,
        on_link=peer.address in mine.network,
        password=peer.password,
        ttl_security=peer.ttl_security,
        router=peer,
    )


def _tunnels(me: Node, model: Model, networks: Mapping[str, Tunnelled]) -> Iterator[Tunnel]:
    for name, tunnelled in networks.items():
        holders = [
            n for holder in sorted(model.leases.get(name, {})) if holder != me.name and (n := model.nodes.get(holder))
        ]
        for fam in FAMILIES:
            subnets = tuple(s for s in model.networks[name].subnets if s.version == fam)
            hops = tuple(a for n in holders if (a := n.address(fam)) and tunnelled(me, n, fam))
            if subnets and hops:
                yield Tunnel(subnets, hops)


def _protocol(name: str) -> str:
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{digest(name).hex()[:8]}"


def _sorted(prefixes: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    return tuple(sorted(set(prefixes), key=lambda p: (p.version, int(p.network_address), p.prefixlen)))
