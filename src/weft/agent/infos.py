"""What the agent knows, as the API's replies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from weft import __version__
from weft.agent.handover import with_inside
from weft.api import types as t
from weft.base.errors import WeftError
from weft.base.net import IPAddress, family, parse_address, parse_network
from weft.datapaths import registry
from weft.hoststate import Link, Object, Route
from weft.model import Endpoint, Network, Node, to_builtins
from weft.model.network import OptionValue

if TYPE_CHECKING:
    from weft.agent.agent import Agent
    from weft.agent.view import View


def node(view: View, n: Node) -> t.NodeInfo:
    held = {name: leases[n.name].subnets for name, leases in sorted(view.leases.items()) if n.name in leases}
    return t.NodeInfo(
        name=n.name,
        addresses=n.addresses,
        uplink=n.uplink,
        mtu=n.mtu,
        segment=n.segment or ", ".join(str(a.network) for a in n.addresses),
        version=n.version,
        alive=n.name in view.present,
        this=n.name == view.me,
        subnets=held,
    )


def network(agent: Agent, n: Network, endpoints: int) -> t.NetworkInfo:
    view = agent.view
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
    return t.NetworkInfo(
        name=n.name,
        driver=n.driver,
        subnets=n.subnets,
        pools=n.pools,
        options=_options(n),
        internal=n.internal,
        mtu=n.mtu,
        labels=n.labels,
        leases=leases,
        endpoints=endpoints,
        problems=tuple(p.text for p in problems(agent) if p.network == n.name),
    )


def _options(n: Network) -> dict[str, OptionValue]:
    """All that are in force and say something; as they were given where another version of Weft made the network."""
    try:
        options: dict[str, OptionValue] = to_builtins(registry.parse_options(n))
    except WeftError:
        return n.options
    return {name: value for name, value in options.items() if value or value is False}


def endpoint(agent: Agent, e: Endpoint) -> t.EndpointInfo:
    inside = tuple(_inside(agent, e)) if e.node == agent.view.me else ()
    link = next((o for o in inside if isinstance(o, Link) and o.name == e.interface), None)
    return t.EndpointInfo(
        id=e.id,
        name=e.name,
        network=e.network,
        node=e.node,
        container=e.container,
        namespace=e.namespace.path,
        interface=e.interface,
        host_interface=e.host_interface,
        mac=e.mac,
        addresses=e.addresses,
        gateways=tuple(_gateways(agent.view, e)),
        mtu=link.mtu or 0 if link else 0,
        routes=tuple(_routes(inside)),
        labels=e.labels,
        ports=e.ports,
        bandwidth=e.bandwidth,
        owner=e.owner,
        handover=e.handover,
        second=_second(e, inside),
    )


def _gateways(view: View, e: Endpoint) -> Iterator[IPAddress]:
    """Next hops that it could have, in the order of its addresses."""
    network, lease = view.networks.get(e.network), view.lease(e.network, e.node)
    fixed = registry.DRIVERS[network.driver].next_hops if network and network.driver in registry.DRIVERS else None
    if fixed is not None:
        yield from (parse_address(fixed[fam]) for fam in e.families)
        return
    yield from (a.network.network_address + 1 for a in e.gateway.addresses) if e.gateway else ()
    yield from (s.network_address + 1 for s in lease.subnets) if lease else ()


def _second(e: Endpoint, inside: Iterable[Object]) -> t.SecondInterface | None:
    if e.gateway is None:
        return None
    macs = (o.mac or "" for o in inside if isinstance(o, Link) and o.name == e.gateway.interface)
    return t.SecondInterface(interface=e.gateway.interface, mac=next(macs, ""), addresses=e.gateway.addresses)


def _inside(agent: Agent, e: Endpoint) -> Iterator[Object]:
    """What is wanted in the container's namespace; of what is handed over, of its engine."""
    ns = with_inside(e).namespace.path
    wanted = agent.compiler.whole(e) if e.handover else agent.loop.contribution(("endpoint", e.network, e.id))
    return (o for o in (wanted.objects if wanted else ()) if o.ns == ns)


def _routes(inside: Iterable[Object]) -> Iterator[t.RouteInfo]:
    for o in inside:
        if isinstance(o, Route):
            via = parse_address(o.via) if o.via else None
            yield t.RouteInfo(destination=parse_network(o.prefix), gateway=via)


def problems(agent: Agent) -> Iterator[t.Problem]:
    """What cannot be had here: from the data paths, from leasing, from the store."""
    for source, texts in sorted(agent.loop.problems.items()):
        peer = source[2] if source[0] == "peer" else ""
        for text in texts:
            yield t.Problem(network=source[1], peer=peer, text=text)
    for name, text in agent.membership.refused.items():
        if name in agent.view.networks:
            yield t.Problem(network=name, peer="", text=text)
    for key, text in agent.view.broken.items():
        yield t.Problem(network="", peer="", text=f"{key} in the store cannot be read: {text}")
    for text in agent.loop.conflicts:
        yield t.Problem(network="", peer="", text=text)


def status(agent: Agent) -> t.Status:
    view, loop = agent.view, agent.loop
    me = agent.node
    found = tuple(problems(agent))
    return t.Status(
        version=__version__,
        node=view.me,
        addresses=me.addresses if me else (),
        uplink=me.uplink if me else "",
        mtu=me.mtu if me else 0,
        state=_state(agent),
        started=agent.started,
        store=agent.store_status,
        objects=loop.counts(),
        repairs=loop.repairs,
        last_repair=loop.last_repair,
        last_resync=loop.last_resync,
        troubles=loop.troubles(),
        problems=found,
        peers=tuple(_peer(agent, n) for _, n in sorted(view.nodes.items()) if n.name != view.me),
        networks=tuple(_network_status(view, n, found) for _, n in sorted(view.networks.items())),
    )


def _state(agent: Agent) -> str:
    if not agent.loop.started:
        return "starting"
    if agent.loop.troubles() or agent.store_status.state != "connected" or agent.waiting_for:
        return "degraded"
    return "converging" if agent.loop.busy else "converged"


def _peer(agent: Agent, n: Node) -> t.PeerStatus:
    me = agent.node
    return t.PeerStatus(
        name=n.name,
        addresses=_underlay(agent.view, n.name),
        alive=n.name in agent.view.present,
        same_segment=me is not None
        and all(me.shares_segment(n, family(a)) for a in n.addresses if me.address(family(a))),
    )


def _network_status(view: View, n: Network, found: tuple[t.Problem, ...]) -> t.NetworkStatus:
    lease = view.lease(n.home, view.me)
    if view.shared(n.name):
        subnets, nodes = n.subnets, {found.node for found in view.locations.get(n.name, {}).values()}
    else:
        subnets, nodes = lease.subnets if lease else (), set(view.leases.get(n.home, {}))
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
