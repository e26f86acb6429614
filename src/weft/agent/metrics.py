"""Prometheus metrics of one agent."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from functools import partial

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from weft.agent import measures as m
from weft.agent.fast_counts import FastCounts
from weft.agent.mesh import Mesh
from weft.agent.names import Naming
from weft.agent.policy_counts import PolicyCounts
from weft.agent.policy_log import PolicyLog
from weft.agent.service_counts import ServiceCounts
from weft.api import types as t
from weft.cluster.services import services
from weft.cluster.view import View
from weft.converge.loop import Loop
from weft.converge.loops import Loops
from weft.converge.stepper import Outcome
from weft.daemons.routing import Routing
from weft.daemons.tunnels import Tunnels
from weft.health.checker import Checker
from weft.mesh import voters as mesh_voters
from weft.paths.prober import Prober
from weft.paths.told import standing
from weft.services.index import STATES
from weft.tunnel import counters


class Metrics:
    def __init__(
        self,
        view: View,
        loops: Loops,
        routing: Routing,
        store: Callable[[], t.StoreStatus],
        policy: PolicyCounts,
        log: PolicyLog,
        health: Checker,
        services: ServiceCounts,
        fast: FastCounts,
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_State(view, loops, routing, store))
        self._registry.register(_Policy(policy, log))
        self._registry.register(_Health(health))
        self._registry.register(_Services(view, services))
        self._registry.register(_Fast(fast))
        self._services, self._fast = services, fast
        self._policy = policy
        self._converge = m.CONVERGE.observing(self._registry)
        self._writes = m.WRITES.counting(self._registry)
        self._repairs = m.REPAIRS.counting(self._registry)
        self.cut_off = m.CUT_OFF.counting(self._registry)
        self.attach = m.ATTACH.observing(self._registry)
        self.watch_lag = m.WATCH_LAG.observing(self._registry)
        loops.kernel.listeners.append(self._stepped)
        self._targets: _Targets | None = None
        for name, loop in loops.targets.items():
            self._add_target(name, loop)
        loops.added.append(self._add_target)

    def _add_target(self, name: str, loop: Loop) -> None:
        self._targets = self._targets or _Targets(self._registry)
        self._targets.add(name, loop)

    def _stepped(self, outcome: Outcome) -> None:
        self._converge.observe(outcome.seconds)
        self._writes.inc(outcome.writes)
        self._repairs.inc(len(outcome.repaired))

    async def scrape(self) -> tuple[bytes, str]:
        """The same, with what has to be asked for first."""
        await self._policy.refresh()
        await self._services.refresh()
        await self._fast.refresh()
        return self.exposition()

    def of_status(self, status: Callable[[], t.Status]) -> None:
        """Show what is amiss, as status tells it."""
        self._registry.register(_Standing(status))

    def of_names(self, names: Naming) -> None:
        """Show these, too."""
        self._registry.register(_Names(names))

    def of_tunnels(self, tunnels: Tunnels) -> None:
        """Show these, too."""
        self._registry.register(_Tunnels(tunnels))

    def of_paths(self, prober: Prober) -> None:
        """Show these, too."""
        self._registry.register(_Paths(prober))

    def of_mesh(self, mesh: Mesh) -> None:
        """Show it, too."""
        self._registry.register(_Mesh(mesh))

    def exposition(self) -> tuple[bytes, str]:
        """The text and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _Targets:
    """Of targets other than the kernel, the same, each under its name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._steps = m.TARGET_CONVERGE.observing(registry)
        self._writes = m.TARGET_WRITES.counting(registry)
        self._repairs = m.TARGET_REPAIRS.counting(registry)

    def add(self, name: str, loop: Loop) -> None:
        loop.listeners.append(partial(self._stepped, name))

    def _stepped(self, target: str, outcome: Outcome) -> None:
        self._steps.labels(target).observe(outcome.seconds)
        self._writes.labels(target).inc(outcome.writes)
        self._repairs.labels(target).inc(len(outcome.repaired))


class _Standing(Collector):
    """Whether all is well, and what is not: so an alert says what status says."""

    def __init__(self, status: Callable[[], t.Status]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        found = self._status()
        info = m.INFO.family()
        info.add_metric((found.node, found.version), 1)
        yield info
        yield m.HEALTHY.at(found.healthy)
        problems = m.PROBLEMS.family()
        by_network = Tally(problem.network for problem in found.problems)
        for network in ("", *(n.name for n in found.networks)):
            problems.add_metric((network,), by_network[network])
        yield problems


class _Policy(Collector):
    """Of each policy that drops something here, up to a number of them, and of the others together."""

    def __init__(self, policy: PolicyCounts, log: PolicyLog) -> None:
        self._counts, self._log = policy, log

    def collect(self) -> Iterator[Metric]:
        drops = m.POLICY_DROPS.family()
        for about, packets in self._counts.drops.items():
            drops.add_metric(about, packets)
        yield drops
        policies, chains, sets = self._counts.numbers()
        yield from (m.POLICIES.at(policies), m.POLICY_CHAINS.at(chains), m.POLICY_SETS.at(sets))
        yield m.POLICY_LOG_LOST.at(self._log.lost)


class _Paths(Collector):
    """Of the ways to other nodes, where networks have several."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober

    def collect(self) -> Iterator[Metric]:
        machine = self._prober.machine
        found = [standing(name, pair, machine.tick_) for name, pair in machine.pairs.items()]
        ways, rtt, switches = m.PATH.family(), m.PATH_RTT.family(), m.PATH_SWITCHES.family()
        for one in found:
            ways.add_metric((one.name, one.way.name.lower()), 1)
            switches.add_metric((one.name,), one.switches)
            if one.rtt is not None:
                rtt.add_metric((one.name,), one.rtt)
        yield from (ways, rtt, switches)
        yield m.PATH_PROBES_REFUSED.at(self._prober.refused)


class _Names(Collector):
    """Of the questions that containers here ask."""

    def __init__(self, names: Naming) -> None:
        self._names = names

    def collect(self) -> Iterator[Metric]:
        names, counts = self._names, self._names.counts
        yield m.NAMES_CONTAINERS.at(names.asking)
        yield m.NAMES_QUESTIONS.at(counts.questions)
        yield m.NAMES_FORWARDED.at(counts.forwarded)
        yield m.NAMES_KNOWN.at(counts.known)
        yield m.NAMES_REFUSED.at(counts.refused)


class _Health(Collector):
    """Of the checks that this node makes of services' members."""

    def __init__(self, health: Checker) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        health = self._health
        yield m.HEALTH_CHECKS.at(health.running)
        yield m.HEALTH_PROBES.at(health.asked)
        yield m.HEALTH_FAILURES.at(health.failed)


class _Services(Collector):
    """Of each service, up to a number of them: its members, and on this host their connections."""

    def __init__(self, view: View, counts: ServiceCounts) -> None:
        self._view, self._counts = view, counts

    def collect(self) -> Iterator[Metric]:
        index, now = services(self._view), time.time()
        members = m.SERVICE_MEMBERS.family()
        for at in self._counts.shown():
            states = Tally(member.state for member in index.members(at, now, self._counts.dead))
            for state in STATES:
                members.add_metric((*at, state), states[state])
        yield members
        connections = m.SERVICE_CONNECTIONS.family()
        for at, counted in sorted(self._counts.connections.items()):
            connections.add_metric(at, sum(counted.values()))
        yield connections
        yield m.SERVICES_REFUSED.at(self._counts.refused)
        yield m.SERVICES.at(len(index.services))


class _Fast(Collector):
    """Of networks where something took a short way, up to a number of them, and of the others together."""

    def __init__(self, fast: FastCounts) -> None:
        self._fast = fast

    def collect(self) -> Iterator[Metric]:
        packets, octets, entered = m.FAST_PACKETS.family(), m.FAST_OCTETS.family(), m.FAST_ENTERED.family()
        flows = m.FAST_FLOWS.family()
        for network, fast in self._fast.shown().items():
            packets.add_metric((network,), fast.packets)
            octets.add_metric((network,), fast.octets)
            entered.add_metric((network,), fast.entered)
            for means in self._fast.means:
                flows.add_metric((network, means), fast.flows[means])
        yield from (packets, octets, entered, flows)


class _Tunnels(Collector):
    """Of tunnels that a program carries."""

    def __init__(self, tunnels: Tunnels) -> None:
        self._tunnels = tunnels

    def collect(self) -> Iterator[Metric]:
        packets, octets, drops = m.TUNNEL_PACKETS.family(), m.TUNNEL_OCTETS.family(), m.TUNNEL_DROPS.family()
        for state in self._tunnels.states():
            for direction, names in (("sent", counters.SENT), ("received", counters.RECEIVED)):
                packets.add_metric((state.device, direction), state.counts[names[0]])
                octets.add_metric((state.device, direction), state.counts[names[1]])
            for reason in counters.DROPS:
                drops.add_metric((state.device, reason), state.counts[reason])
        yield from (packets, octets, drops)
        yield m.TUNNEL_RESTARTS.at(self._tunnels.supervisor.restarts)


class _Mesh(Collector):
    """Of the members, as this host knows them, the voters, and this host's relay."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def collect(self) -> Iterator[Metric]:
        part, relay = self._mesh.part, self._mesh.relay
        members, voters, said = m.MESH_MEMBERS.family(), m.MESH_VOTERS.family(), m.MESH_GOSSIP.family()
        if part is not None:
            for standing, count in Tally(member.standing.value for member in part.membership.members()).items():
                members.add_metric((standing,), count)
            for condition, count in Tally(mesh_voters.state(voter) for voter in part.keeper.voters()).items():
                voters.add_metric((condition,), count)
            for what, count in part.counts.items():
                said.add_metric((what,), count)
        yield from (members, voters, said)
        yield m.MESH_RELAYED.at(relay.connections)
        yield m.MESH_RELAY_REFUSED.at(relay.refused)


class _State(Collector):
    """What is read at the moment of asking."""

    def __init__(self, view: View, loops: Loops, routing: Routing, store: Callable[[], t.StoreStatus]) -> None:
        self._view, self._loops, self._routing, self._store = view, loops, routing, store

    def collect(self) -> Iterator[Metric]:
        counts = self._loops.counts()
        objects = m.OBJECTS.family()
        for kind, count in counts.items():
            objects.add_metric((kind, "desired"), count.desired)
            objects.add_metric((kind, "actual"), count.actual)
            objects.add_metric((kind, "failed"), count.failed)
        yield objects
        store = self._store()
        yield m.STORE_CONNECTED.at(store.state == "connected")
        yield m.STORE_REVISION.at(store.revision)
        yield m.NODES.at(len(self._view.nodes))
        yield m.NODES_ALIVE.at(len(self._view.present))
        yield m.ENDPOINTS.at(len(self._view.endpoints))
        sessions = m.BGP_SESSIONS.family()
        routing = self._routing
        up, unknown = routing.count("Established"), routing.count("Unknown")
        sessions.add_metric(("established",), up)
        sessions.add_metric(("down",), len(routing.states) - up - unknown)
        sessions.add_metric(("unknown",), unknown)
        yield sessions
        yield m.BGP_RESTARTS.at(routing.restarts)
        if self._loops.kernel.last_resync:
            yield m.RESYNC_AGE.at(time.time() - self._loops.kernel.last_resync)
        ages = m.TARGET_RESYNC_AGE.family()
        for name, loop in self._loops.targets.items():
            if loop.last_resync:
                ages.add_metric((name,), time.time() - loop.last_resync)
        if ages.samples:
            yield ages
