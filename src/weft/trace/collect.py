"""What a trace needs to know, asked from agents: of this host's own, and through it of those of other hosts.

Nobody knows beforehand which hosts a packet comes by. So it is walked with what the ends' hosts tell; where it then goes on
to a host or a namespace that was not asked for, that one is asked, and it is walked again. Other containers' namespaces
are left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from weft.api import services as s
from weft.api import types as t
from weft.api.dump import ALONE, HostDump
from weft.api.observed import Explanation
from weft.base.errors import NotFound, WeftError
from weft.base.net import Family
from weft.trace import ends
from weft.trace.path import Path, Place, Start, Trace
from weft.trace.walk import both_ways
from weft.trace.what import PING, What
from weft.trace.world import World

ROUNDS = 6
"""Of asking and walking. One is enough where packets go straight from the one host to the other."""
AT_ONCE = 16
PATIENCE = 5
"""Seconds for a host's answer."""
MOST = 64
"""Namespaces of a host that are asked for in one round."""


class Asked(Protocol):
    """One host's agent; `weft.client.Client` is one."""

    def kernel(self, namespaces: str = "", addresses: str = "") -> HostDump: ...


class Agent(Asked, Protocol):
    """The local one."""

    def at(self, node: str, patience: int = PATIENCE) -> Asked: ...

    def endpoints(self) -> tuple[t.EndpointInfo, ...]: ...

    def nodes(self) -> tuple[t.NodeInfo, ...]: ...

    def services(self) -> tuple[s.ServiceInfo, ...]: ...

    def explain(
        self, source: str, target: str, protocol: str = "", port: str = "", family: str = ""
    ) -> Explanation: ...


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """`dumps` by host. `notes`: a line about each host that should have given one and did not."""

    dumps: dict[str, HostDump]
    endpoints: tuple[t.EndpointInfo, ...]
    nodes: tuple[t.NodeInfo, ...]
    services: tuple[s.ServiceInfo, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def by_address(self) -> dict[str, str]:
        return {str(a.ip): n.name for n in self.nodes for a in n.addresses}

    @property
    def names(self) -> dict[str, str]:
        """Of endpoints, by address; those of address pools that all hosts use are several endpoints'."""
        return {str(a.ip): f"{e.node}/{e.name}" for e in self.endpoints for a in e.addresses}


def gather(agent: Agent, origin: str, target: str, family: Family | None = None, what: What = PING) -> Trace:
    """`trace`, with what the agents of the hosts on the way tell. Raises what the local agent says."""
    with ThreadPoolExecutor(3, thread_name_prefix="trace") as pool:
        endpoints, nodes, services = (
            pool.submit(agent.endpoints),
            pool.submit(agent.nodes),
            pool.submit(agent.services),
        )
        known = Snapshot(dumps={}, endpoints=endpoints.result(), nodes=nodes.result(), services=services.result())
    start = ends.origin(origin, known.endpoints, known.nodes)
    end = ends.target(target, known.endpoints, known.nodes, known.services)
    what.flow(end.service)  # what is refused is, before anybody is asked
    wanted = {Place(e.node, e.ns) for e in (start, end) if e.node}
    addresses = ",".join(str(address) for e in (start, end) for address in e.addresses)
    asked = set[Place]()
    for _ in range(ROUNDS):
        known = _more(agent, known, wanted, addresses)
        asked |= wanted
        lacking = set[Place]()
        found = trace(known, origin, target, family, lacking, what)
        silent = {place.host for place in asked} - known.dumps.keys()
        wanted = _few(place for place in lacking - asked if place.host in _agents(known) - silent)
        if found.arrived or not wanted or not _may_change(found):
            break
    ways = {name: _with_policy(agent, way) for name in ("there", "back") if (way := getattr(found, name)) is not None}
    return msgspec.structs.replace(found, **ways)


def _with_policy(agent: Agent, way: Path) -> Path:
    """Rules know a chain; which policy it is of is told by those who made it."""
    between = way.outcome.between
    if between is None:
        return way
    try:
        port = str(between.port or "")
        found = agent.explain(between.source, between.target, between.protocol, port, str(way.source.version))
    except WeftError:
        return way
    denied = next((side for side in found.sides if not side.allowed), None)
    if denied is None:
        return way
    text = f"{way.outcome.text}: {denied.reason}"
    return msgspec.structs.replace(way, outcome=msgspec.structs.replace(way.outcome, text=text))


_OPEN = frozenset(
    ("elsewhere", "no-state", "no-address", "no-neighbour", "no-fdb", "no-vtep", "wrong-mac", "router", "depends")
)
"""Endings that may be others where more namespaces are known. A bridge has many containers: what a rule or a device that is
down has decided is not asked of all of them."""


def _may_change(found: Trace) -> bool:
    return any(path.outcome.ending in _OPEN for path in (found.there, found.back) if path is not None)


def _agents(known: Snapshot) -> set[str]:
    return {node.name for node in known.nodes}


def _few(places: Iterable[Place]) -> set[Place]:
    """At most so many of each host."""
    by_host: dict[str, list[Place]] = {}
    for place in sorted(places):
        by_host.setdefault(place.host, []).append(place)
    return {place for some in by_host.values() for place in some[:MOST]}


def _more(agent: Agent, known: Snapshot, places: Collection[Place], addresses: str) -> Snapshot:
    """With what these hosts tell of these places, of themselves, and of what they told of before: so that each dump is of one
    moment. All are asked at once."""
    hosts = sorted({place.host for place in places})
    paths = {
        host: {place.ns for place in places if place.host == host} | _paths(known.dumps.get(host)) for host in hosts
    }
    with ThreadPoolExecutor(max(1, min(len(hosts), AT_ONCE)), thread_name_prefix="trace") as pool:
        asked = pool.map(lambda host: _ask(agent, host, paths[host] - {""}, addresses), hosts)
        answers = dict(zip(hosts, asked, strict=True))
    told = {host: answer for host, answer in answers.items() if isinstance(answer, HostDump)}
    notes = (f"{host} is not seen: {answer}" for host, answer in answers.items() if host not in told)
    return msgspec.structs.replace(known, dumps={**known.dumps, **told}, notes=(*known.notes, *notes))


def _paths(dump: HostDump | None) -> set[str]:
    return {namespace.path for namespace in dump.namespaces} if dump else set()


def _ask(agent: Agent, host: str, namespaces: Collection[str], addresses: str) -> HostDump | WeftError:
    there = agent.at(host, PATIENCE)
    try:
        try:
            return there.kernel(",".join(sorted(namespaces)) or ALONE, addresses)
        except NotFound:  # one of them has gone meanwhile
            return there.kernel(addresses=addresses)
    except WeftError as error:
        return error


def trace(
    snapshot: Snapshot,
    origin: str,
    target: str,
    family: Family | None = None,
    lacking: set[Place] | None = None,
    what: What = PING,
) -> Trace:
    """The way there, and of the answer. `lacking` is told what was missing on the way. Raises NotFound, Invalid."""
    start = ends.origin(origin, snapshot.endpoints, snapshot.nodes)
    end = ends.target(target, snapshot.endpoints, snapshot.nodes, snapshot.services)
    chosen = ends.choose_family(start, end, family)
    member = ends.origin(what.member, snapshot.endpoints, snapshot.nodes).address(chosen) if what.member else None
    there, back = both_ways(
        World(snapshot.dumps, snapshot.by_address, lacking, names=snapshot.names),
        Start(host=start.node, ns=start.ns, source=start.address(chosen), free=str(start.address(chosen)) != origin),
        end.address(chosen),
        flow=what.flow(end.service),
        member=member,
    )
    return Trace(origin=start.name, target=end.name, there=there, back=back, notes=snapshot.notes)
