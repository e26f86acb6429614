"""What the agent knows, as the API's replies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from weft import __version__
from weft.agent import versions
from weft.agent.fast_counts import Fast
from weft.agent.parts import Parts
from weft.agent.resources import paths
from weft.agent.resources.verdict import CONVERGED, CONVERGING, DEGRADED, STARTING, judged
from weft.api import types as t
from weft.base.errors import WeftError
from weft.base.net import (
    IPAddress,
    IPInterface,
    IPNetwork,
    contains,
    family,
    parse_address,
    parse_interface,
    parse_network,
)
from weft.cluster.foreign import Foreign, Guest
from weft.compile import endpoint as endpoints
from weft.compile import foreign, names
from weft.compile import peer as peers
from weft.compile.handover import with_inside
from weft.daemons.tunnels import TunnelStatus
from weft.datapaths import registry
from weft.datapaths.traits import KnownBy
from weft.hoststate import Link, Object, Route
from weft.hoststate.union import Source
from weft.model import Endpoint, Network, Node, to_builtins
from weft.model.foreign import kind_of
from weft.model.network import OptionValue
from weft.policy import reach
from weft.tunnel.counters import DROPS, RECEIVED, SENT

if TYPE_CHECKING:
    from weft.bgp.replies import BirdRoute
    from weft.cluster.view import View
    from weft.daemons.bgp_sessions import SessionStatus


def node(parts: Parts, n: Node) -> t.NodeInfo:
    view = parts.view
    held = {name: leases[n.name].subnets for name, leases in sorted(view.leases.items()) if n.name in leases}
    return t.NodeInfo(
        name=n.name,
        addresses=n.addresses,
        uplink=n.uplink,
        mtu=n.mtu,
        segment=n.segment or ", ".join(str(a.network) for a in n.addresses),
        version=n.version,
        alive=n.name in view.present,
        evidence=parts.liveness.evidence(n.name),
        withdrawn=n.name in parts.liveness.dead,
        this=n.name == view.me,
        policy=n.policy,
        subnets=held,
    )


def network(parts: Parts, n: Network, endpoints: int) -> t.NetworkInfo:
    view = parts.view
    leases = tuple(
        t.LeaseInfo(
            node=name,
            subnets=lease.subnets,
            addresses=_underlay(view, name),
            alive=name in view.present,
            data=lease.data,
        )
        for name, lease in sorted(view.leases.get(n.home, {}).items())
    )
    leases += tuple(_foreign_lease(guest) for guest in view.derived(Foreign).guests(n.home))
    return msgspec.structs.replace(network_alone(parts, n), leases=leases, endpoints=endpoints)


def network_alone(parts: Parts, n: Network) -> t.NetworkInfo:
    """Without who is in it."""
    view = parts.view
    return t.NetworkInfo(
        name=n.name,
        driver=n.driver,
        subnets=n.subnets,
        pools=n.pools,
        options=_options(n),
        internal=n.internal,
        mtu=n.mtu,
        labels=n.labels,
        reaches=reach.met(view.networks, n),
        one_sided=tuple(reach.one_sided(view.networks, n)),
        fast=_fast(parts, n),
        problems=tuple(p.text for p in problems(parts) if p.network == n.name),
    )


def _fast(parts: Parts, n: Network) -> str:
    """Of the network whose data path it uses."""
    home, host = parts.view.networks.get(n.home, n), parts.compiler.host
    try:
        return "" if host is None else registry.bypass(host, home)
    except WeftError:
        return ""


def _foreign_lease(guest: Guest) -> t.LeaseInfo:
    lease = guest.lease
    addresses = tuple(a.ip for a in guest.node.addresses)
    return t.LeaseInfo(
        node=lease.node,
        subnets=lease.subnets,
        addresses=addresses,
        alive=True,
        foreign=kind_of(lease.node),
        data=lease.data,
    )


def _options(n: Network) -> dict[str, OptionValue]:
    """All that are in force and say something; as they were given where another version of Weft made the network."""
    try:
        options: dict[str, OptionValue] = to_builtins(registry.parse_options(n))
    except WeftError:
        return n.options
    return {name: value for name, value in options.items() if value or value is False}


def endpoint(parts: Parts, e: Endpoint) -> t.EndpointInfo:
    inside = tuple(_inside(parts, e)) if e.node == parts.view.me else ()
    link = next((o for o in inside if isinstance(o, Link) and o.name == e.interface), None)
    return t.EndpointInfo(
        id=e.id,
        name=e.name,
        network=e.network,
        node=e.node,
        container=e.container,
        namespace=e.namespace.path,
        interface=e.interface,
        host_interface=parts.view.driver(e.network).host_end(e),
        mac=e.mac,
        addresses=e.addresses,
        gateways=tuple(_gateways(parts.view, e)),
        mtu=link.mtu or 0 if link else 0,
        routes=tuple(_routes(inside)),
        labels=e.labels,
        policy_namespace=e.policy_namespace,
        named_ports=e.named_ports,
        aliases=e.aliases,
        resolver=names.ADDRESS if names.served(parts.view, e.network) else "",
        ports=e.ports,
        floating=e.floating,
        bandwidth=e.bandwidth,
        spoofing=e.spoofing,
        offload=e.offload,
        owner=e.owner,
        handover=e.handover,
        second=_second(e, inside),
    )


def located(parts: Parts) -> Iterator[t.EndpointInfo]:
    """Others' containers as this host knows them: where they are, and what policy can say of them."""
    view = parts.view
    for network in sorted(view.followed):
        for id, found in sorted(view.locations.get(network, {}).items()):
            if found.node != view.me:
                yield t.EndpointInfo(
                    id=id,
                    name=found.name,
                    network=network,
                    node=found.node,
                    container="",
                    namespace="",
                    interface="",
                    host_interface="",
                    mac=found.mac,
                    addresses=tuple(
                        _within(address, _on_link(view, network, found.node)) for address in found.addresses
                    ),
                    labels=found.labels,
                    policy_namespace=found.namespace,
                    named_ports=found.ports,
                    aliases=found.aliases,
                )


def _on_link(view: View, network: str, node: str) -> tuple[IPNetwork, ...]:
    """Whose length the addresses of a node's containers have; none where each stands alone."""
    of, lease = view.driver(network).addresses, view.lease(network, node)
    if of.pools or network not in view.networks:
        return ()
    return lease.subnets if lease and not of.blocks else view.networks[network].subnets


def _within(address: IPAddress, subnets: Iterable[IPNetwork]) -> IPInterface:
    length = next((s.prefixlen for s in subnets if contains(s, address)), address.max_prefixlen)
    return parse_interface(f"{address}/{length}")


def unfollowed(view: View, network: str = "", node: str = "") -> str:
    """What this host does not know of the endpoints in these networks, on these nodes ("" for all); "" for nothing."""
    strange = sorted(name for name in view.networks if network in ("", name) and name not in view.followed)
    if not strange or node == view.me or not view.nodes.keys() - {view.me}:
        return ""
    more = f" and {len(strange) - MANY} more" if len(strange) > MANY else ""
    return f"what other nodes have in {', '.join(strange[:MANY])}{more} is not known here"


MANY = 8
"""So many networks are named in one line."""


def _gateways(view: View, e: Endpoint) -> Iterator[IPAddress]:
    """Next hops that it could have, in the order of its addresses."""
    if found := registry.gateways(view.networks.get(e.network)):
        return (hop for address in e.addresses for hop in found if hop.version == address.version)
    driver = view.driver(e.network)
    return driver.way_out.hops(e, view.lease(e.network, e.node) if driver.addresses.routed else None)


def _second(e: Endpoint, inside: Iterable[Object]) -> t.SecondInterface | None:
    if e.gateway is None:
        return None
    macs = (o.mac or "" for o in inside if isinstance(o, Link) and o.name == e.gateway.interface)
    return t.SecondInterface(interface=e.gateway.interface, mac=next(macs, ""), addresses=e.gateway.addresses)


def _inside(parts: Parts, e: Endpoint) -> Iterator[Object]:
    """What is wanted in the container's namespace; of what is handed over, of its engine."""
    ns = with_inside(e).namespace.path
    wanted = parts.compiler.whole(e) if e.handover else parts.loop.contribution(Source(endpoints.NAME, e.network, e.id))
    return (o for o in (wanted.objects if wanted else ()) if o.ns == ns)


def _routes(inside: Iterable[Object]) -> Iterator[t.RouteInfo]:
    for o in inside:
        if isinstance(o, Route):
            via = parse_address(o.via) if o.via else None
            yield t.RouteInfo(destination=parse_network(o.prefix), gateway=via)


def problems(parts: Parts) -> Iterator[t.Problem]:
    """What cannot be had here: from the data paths, from leasing, from the store."""
    for source, texts in sorted(parts.loops.problems.items()):
        peer = _peer_of(parts.view, source)
        for text in texts:
            yield t.Problem(network=source.network, peer=peer, text=text)
    for name, text in parts.leases.refused.items():
        if name in parts.view.networks:
            yield t.Problem(network=name, peer="", text=text)
    for key, text in parts.view.broken.items():
        yield t.Problem(
            network="",
            peer="",
            text=f"{key} in the store cannot be read: {text}{versions.hint(parts.view)}{_way_out(key)}",
        )
    for text in (
        *parts.supervisor.problems(),
        *parts.view.problems(),
        *parts.policy_log.problems(),
        *parts.names.problems(),
        *parts.targets.problems(),
        *parts.env_files.problems(),
        *parts.tunnels.problems(),
        *(parts.cluster.owed.problems() if parts.complete.is_set() else ()),
        *(parts.mesh.problems() if parts.mesh is not None else ()),
    ):
        yield t.Problem(network="", peer="", text=text)
    for name, text in (
        *parts.evidence.problems(),
        *parts.put_back.problems(),
        *parts.flannel.problems(),
        *_of_services(parts),
    ):
        yield t.Problem(network=name, peer="", text=text)
    if parts.journal.trouble:
        yield t.Problem(network="", peer="", text=parts.journal.trouble)
    for found in parts.routing.unreached():
        yield t.Problem(network=found.network, peer=found.peer, text=found.text)
    for peer, text in parts.routing.problems():
        yield t.Problem(network="", peer=peer, text=text)
    yield from _switched_off(parts)
    for text in parts.loops.conflicts:
        yield t.Problem(network="", peer="", text=text)


def _peer_of(view: View, source: Source) -> str:
    """Whom a problem of this source is about."""
    if source.contributor == foreign.NAME:
        guest = view.derived(Foreign).guest(source.network, source.name)
        return guest.node.name if guest else ""
    return source.name if source.contributor == peers.NAME else ""


def _of_services(parts: Parts) -> Iterator[tuple[str, str]]:
    """By network."""
    found = (*parts.published.problems(), *parts.automatic.problems())
    return ((at.network, f"service {at.name}: {text}") for at, text in found)


def _way_out(key: str) -> str:
    """Of a record that cannot be read."""
    kind, _, name = key.partition("/")
    ways = {"networks": f"weft network rm {name} --force", "services": f"weft service rm {name}"}
    return f"; `{ways[kind]}` removes it" if kind in ways else ""


def _switched_off(parts: Parts) -> Iterator[t.Problem]:
    """What containers do without, since somebody decided so in their namespaces."""
    there = {e.namespace.path: e for e in parts.view.endpoints.values()}
    for ns, why in sorted({(key[1], why) for key, why in parts.loop.waived.items() if why}):
        if ns in there:
            yield t.Problem(network=there[ns].network, peer="", text=f"{there[ns].name}: {why}: it goes without there")


def status(parts: Parts, *, silent: bool = False) -> t.Status:
    """`silent`: the store does not answer just now."""
    return judged(_status(parts), waiting_for=parts.waiting_for, silent=silent)


def _status(parts: Parts) -> t.Status:
    view, loops = parts.view, parts.loops
    me = parts.node
    found = tuple(problems(parts))
    return t.Status(
        version=__version__,
        node=view.me,
        addresses=me.addresses if me else (),
        uplink=me.uplink if me else "",
        why=parts.why,
        policy=parts.config.policy,
        mtu=me.mtu if me else 0,
        state=_state(parts),
        started=parts.started,
        store=store(parts),
        objects=loops.counts(),
        repairs=loops.repairs,
        last_repair=loops.last_repair,
        last_resync=loops.kernel.last_resync,
        troubles=loops.troubles(),
        problems=found,
        notes=tuple(versions.notes(view)),
        peers=(
            *(_peer(parts, n) for _, n in sorted(view.nodes.items()) if n.name != view.me),
            *_foreign_peers(parts),
        ),
        bgp=bgp_status(parts),
        tunnels=tuple(map(_tunnel, parts.tunnels.states())),
        networks=tuple(_network_status(view, n, found) for _, n in sorted(view.networks.items())),
        means=parts.fast_counts.means,
        fast=tuple(_passed_on(network, fast) for network, fast in parts.fast_counts.found.items()),
    )


def _passed_on(network: str, found: Fast) -> t.FastStatus:
    return t.FastStatus(
        network=network,
        flows=dict[str, int](found.flows.items()),
        packets=found.packets,
        octets=found.octets,
        asked=found.entered,
    )


def _tunnel(state: TunnelStatus) -> t.TunnelStatus:
    counts = state.counts
    return t.TunnelStatus(
        device=state.device,
        sent=counts[SENT[0]],
        sent_octets=counts[SENT[1]],
        received=counts[RECEIVED[0]],
        received_octets=counts[RECEIVED[1]],
        dropped={reason: counts[reason] for reason in DROPS if counts[reason]},
        trouble=state.trouble,
    )


def store(parts: Parts) -> t.StoreStatus:
    """As it is now: a store that lost its identity may have been lost in another way before."""
    found, known = parts.store_status, parts.known
    if known.doubt:
        found = msgspec.structs.replace(found, state="refused", reason=known.doubt)
    return msgspec.structs.replace(found, cluster=known.cluster, kept=tuple(sorted(parts.view.kept)))


def bgp_status(parts: Parts) -> t.BgpStatus | None:
    """As it was last looked at; None where BGP is not spoken."""
    routing = parts.routing
    if not routing.states and not routing.trouble:
        return None
    up, unknown = routing.count("Established"), routing.count("Unknown")
    reason = (
        f"{routing.trouble}; the state of its sessions is unknown" if unknown and routing.trouble else routing.trouble
    )
    return t.BgpStatus(
        sessions=len(routing.states), established=up, unknown=unknown, restarts=routing.restarts, reason=reason
    )


def bgp_session(state: SessionStatus) -> t.BgpSession:
    session, protocol = state.session, state.protocol
    return t.BgpSession(
        name=session.with_,
        kind=session.kind,
        local=session.local,
        address=session.remote,
        asn=session.asn,
        state=protocol.state,
        since=protocol.since if protocol.up else state.down_since,
        received=protocol.received,
        filtered=protocol.filtered,
        announced=protocol.announced,
        last_error=protocol.error,
        reason=state.verdict.reason,
        advice=state.verdict.advice,
    )


def bgp_route(parts: Parts, route: BirdRoute) -> t.BgpRoute:
    session = parts.routing.session(route.protocol)
    return t.BgpRoute(
        prefix=parse_network(route.prefix),
        type=route.type,
        source=session.with_ if session else _SOURCES.get(route.protocol[:-1], route.protocol),
        best=route.best,
        since=route.since,
        next_hops=route.via,
        bgp_next_hop=route.next_hop,
        tunnelled=parts.routing.tunnelled(route),
        as_path=route.attributes.get("as_path", ""),
        communities=_communities(route),
        med=int(route.attributes.get("med", 0)),
    )


_SOURCES = {"own": "own block", "hosts": "own address", "floating": "floating address", "kernel": "kernel"}
"""BIRD's protocol without its family → what brought the route."""


def _communities(route: BirdRoute) -> tuple[str, ...]:
    """As BIRD writes them: `(64512,100) (64512, 1, 2)`."""
    texts = (route.attributes.get(name, "") for name in ("community", "large_community"))
    return tuple(":".join(re.findall(r"[^\s,]+", one)) for text in texts for one in re.findall(r"\(([^)]*)\)", text))


def _state(parts: Parts) -> str:
    """As far as the kernel is concerned."""
    if parts.known.doubt:
        return DEGRADED
    if not parts.loop.started:
        return STARTING
    return CONVERGING if parts.loops.busy else CONVERGED


def _peer(parts: Parts, n: Node) -> t.PeerStatus:
    me = parts.node
    return t.PeerStatus(
        name=n.name,
        addresses=_underlay(parts.view, n.name),
        alive=n.name in parts.view.present,
        evidence=parts.liveness.evidence(n.name),
        withdrawn=n.name in parts.liveness.dead,
        same_segment=me is not None
        and all(me.shares_segment(n, family(a)) for a in n.addresses if me.address(family(a))),
        way=paths.path(parts, n.name),
    )


def foreign_nodes(parts: Parts) -> Iterator[t.NodeInfo]:
    """Each once, in whatever networks it is."""
    known = parts.view.derived(Foreign)
    found: dict[str, Node] = {}
    held: dict[str, dict[str, tuple[IPNetwork, ...]]] = {}
    for network in sorted(known.networks()):
        for guest in known.guests(network):
            name = guest.node.name
            found[name], subnets = guest.node, held.setdefault(name, {})
            subnets[network] = (*subnets.get(network, ()), *guest.lease.subnets)
    for name, n in sorted(found.items()):
        yield t.NodeInfo(
            name=name, addresses=n.addresses, uplink="", mtu=0, foreign=kind_of(name), alive=True, subnets=held[name]
        )


def _foreign_peers(parts: Parts) -> Iterator[t.PeerStatus]:
    me = parts.node
    for n in foreign_nodes(parts):
        here = any(contains(a.network, other.ip) for a in (me.addresses if me else ()) for other in n.addresses)
        addresses = tuple(a.ip for a in n.addresses)
        yield t.PeerStatus(name=n.name, addresses=addresses, alive=True, foreign=n.foreign, same_segment=here)


def _network_status(view: View, n: Network, found: tuple[t.Problem, ...]) -> t.NetworkStatus:
    lease = view.lease(n.home, view.me)
    if view.driver(n.name).known_by is KnownBy.LOCATIONS:
        located = view.locations.get(n.name, {}).values() if view.endpoints_of(n.name) else ()
        subnets, nodes = n.subnets, {found.node for found in located}
    else:
        subnets, nodes = lease.subnets if lease else (), set(view.leases.get(n.home, {}))
        nodes |= {guest.node.name for guest in view.derived(Foreign).guests(n.name)}
    return t.NetworkStatus(
        name=n.name,
        driver=n.driver,
        subnets=subnets,
        endpoints=sum(1 for _ in view.endpoints_of(n.name)),
        peers=len(nodes - {view.me}),
        problems=sum(p.network == n.name for p in found),
    )


def _underlay(view: View, name: str) -> tuple[IPAddress, ...]:
    n = view.nodes.get(name)
    return tuple(a.ip for a in n.addresses) if n else ()
