"""Who speaks BGP with whom, and what this host announces: from the model, no I/O.

Without a route reflector every node peers with every other (RFC 4271: what iBGP teaches is not passed on). Nodes with the
label `route-reflector=CLUSTER-ID` pass on (RFC 4456): then these peer with each other and with everyone, and nobody else does.
Routers that are no nodes are peered with by the nodes that their selector names. One session for each family, between
addresses of that family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Literal

import msgspec

from weft.base.errors import WeftError
from weft.base.names import digest
from weft.base.net import FAMILIES, Family, IPAddress, IPNetwork, covers, family, host_prefix, parse_network
from weft.datapaths import registry
from weft.datapaths.routed import RoutedOptions, tunnelled
from weft.model import BgpPeer, BgpSettings, Endpoint, Lease, Network, Node
from weft.model.bgp import REFLECTOR
from weft.model.selector import matches

LONGEST_NAME = 60
"""Of a protocol: BIRD's own limit is 64."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What all follows from. `leases`: network → node → lease. `endpoints`: this host's."""

    nodes: Mapping[str, Node]
    networks: Mapping[str, Network]
    leases: Mapping[str, Mapping[str, Lease]]
    endpoints: Iterable[Endpoint]
    settings: BgpSettings
    peers: Mapping[str, BgpPeer]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: of BIRD's protocol. `kind`: what the other end is; to "client" we reflect. `with_`: its name. `passive`: the
    other end connects. `on_link`: no router in between."""

    name: str
    kind: Literal["node", "client", "router"]
    with_: str
    family: Family
    local: IPAddress
    remote: IPAddress
    asn: int
    passive: bool = False
    on_link: bool = True
    router: BgpPeer | None = None


class Tunnel(msgspec.Struct, frozen=True):
    """What is in `subnets` and has one of these next hops goes through a tunnel."""

    subnets: tuple[IPNetwork, ...]
    next_hops: tuple[IPAddress, ...]


class Speaker(msgspec.Struct, frozen=True, kw_only=True):
    """One host's BIRD. `cluster_id`: "" where it reflects nothing. `blocks`: own, announced, and a blackhole for what is
    not in use. `hosts`: own addresses outside them. `floating`: external addresses of own containers. `subnets`: of all of
    Weft's networks: nothing else is taken from other nodes."""

    router_id: str
    asn: int
    settings: BgpSettings
    cluster_id: str = ""
    blocks: tuple[IPNetwork, ...] = ()
    hosts: tuple[IPNetwork, ...] = ()
    floating: tuple[IPNetwork, ...] = ()
    subnets: tuple[IPNetwork, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()
    sessions: tuple[Session, ...] = ()
    problems: tuple[str, ...] = ()

    def tunnelled(self, prefix: IPNetwork, next_hop: IPAddress) -> bool:
        """Whether Weft routes to this prefix there through a tunnel, and BIRD leaves it alone."""
        return any(next_hop in t.next_hops and any(covers(s, prefix) for s in t.subnets) for t in self.tunnels)

    def families(self) -> tuple[Family, ...]:
        return tuple(
            f for f in FAMILIES if any(s.version == f for s in (*self.subnets, *(s.local for s in self.sessions)))
        )


def speaker(me: Node, model: Model) -> Speaker | None:
    """None where this host has nothing to say: no routed network, and no router that wants to hear of it."""
    routed = dict(_routed(model.networks))
    selected = sorted((p for p in model.peers.values() if matches(p.nodes, me.labels)), key=lambda p: p.name)
    if not routed and not selected:
        return None
    own = [lease for name in routed if (lease := model.leases.get(name, {}).get(me.name))]
    subnets = tuple(s for name in routed for s in model.networks[name].subnets)
    reflectors, problems = _reflectors(model.nodes)
    sessions = list(_node_sessions(me, model, set(routed), reflectors, {family(s) for s in subnets}))
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
        tunnels=tuple(_tunnels(me, model, routed)),
        sessions=tuple(sessions),
        problems=tuple(problems),
    )


def asn(node: Node, settings: BgpSettings) -> int:
    return node.asn or settings.asn


def router_id(node: Node) -> str:
    """Four octets, unique in the cluster (RFC 6286): the IPv4 address, or, without one, made from the name."""
    v4 = node.address(4)
    if v4 is not None:
        return str(v4)
    octets = digest("router id", node.name)
    return str(IPv4Address(bytes([1 + octets[0] % 223, *octets[1:4]])))


def _routed(networks: Mapping[str, Network]) -> Iterator[tuple[str, RoutedOptions]]:
    """Those with blocks that this version of Weft understands."""
    for name, network in sorted(networks.items()):
        if network.driver in registry.DRIVERS and registry.driver(network.driver).blocks:
            try:
                options = registry.parse_options(network)
            except WeftError:
                continue
            if isinstance(options, RoutedOptions):
                yield name, options


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
    me: Node, model: Model, routed: set[str], reflectors: Mapping[str, str], families: set[Family]
) -> Iterator[Session]:
    if not reflectors and not model.settings.mesh:
        return
    members = {name for network in routed for name in model.leases.get(network, {})} | reflectors.keys()
    for name in sorted(members - {me.name}):
        node = model.nodes.get(name)
        if node is None or (reflectors and me.name not in reflectors and name not in reflectors):
            continue
        client = me.name in reflectors and name not in reflectors
        for fam in FAMILIES:
            local, remote = me.address(fam), node.address(fam)
            if fam in families and local is not None and remote is not None and local != remote:
                yield Session(
                    name=_protocol(f"node{fam}:{name}"),
                    kind="client" if client else "node",
                    with_=name,
                    family=fam,
                    local=local,
                    remote=remote,
                    asn=asn(node, model.settings),
                    passive=_passive(me, node, reflectors, fam),
                )


def _passive(me: Node, node: Node, reflectors: Mapping[str, str], fam: Family) -> bool:
    """Both connecting at once would be a collision each time. A reflector connects to its clients, and not they to it: when
    it starts, hundreds would want to at once, of which BIRD lets 8 wait (its backlog, listen(2)); for the rest TCP took
    up to two minutes."""
    if (me.name in reflectors) != (node.name in reflectors):
        return me.name not in reflectors
    local, remote = me.address(fam), node.address(fam)
    return local is not None and remote is not None and int(local) < int(remote)


def _router_session(me: Node, peer: BgpPeer, others: Iterable[Session]) -> Session | str:
    """Or why there is none."""
    fam = family(peer.address)
    mine = next((a for a in me.addresses if a.version == fam), None)
    if mine is None:
        return f"bgp peer {peer.name}: {me.name} has no IPv{fam} address on {me.uplink} to reach {peer.address} from"
    if mine.ip == peer.address:
        return f"bgp peer {peer.name}: {peer.address} is {me.name}'s own address: give the router's, or leave {me.name} out"
    same = next((s.with_ for s in others if s.remote == peer.address), "")
    if same:
        return (
            f"bgp peer {peer.name}: {peer.address} is {same}'s address too, and {me.name} peers with that: remove one"
        )
    return Session(
        name=_protocol(f"router:{peer.name}"),
        kind="router",
        with_=peer.name,
        family=fam,
        local=mine.ip,
        remote=peer.address,
        asn=peer.asn,
        on_link=peer.address in mine.network,
        router=peer,
    )


def _tunnels(me: Node, model: Model, routed: Mapping[str, RoutedOptions]) -> Iterator[Tunnel]:
    for name, options in routed.items():
        others = [
            n for holder in sorted(model.leases.get(name, {})) if holder != me.name and (n := model.nodes.get(holder))
        ]
        for fam in FAMILIES:
            subnets = tuple(s for s in model.networks[name].subnets if s.version == fam)
            hops = tuple(a for n in others if (a := n.address(fam)) and tunnelled(me, n, options, fam))
            if subnets and hops:
                yield Tunnel(subnets, hops)


def _protocol(name: str) -> str:
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{digest(name).hex()[:8]}"


def _sorted(prefixes: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    return tuple(sorted(set(prefixes), key=lambda p: (p.version, int(p.network_address), p.prefixlen)))
