"""Prometheus metrics of one agent."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

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

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


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
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_State(view, loops, routing, store))
        self._registry.register(_Policy(policy, log))
        self._registry.register(_Health(health))
        self._registry.register(_Services(view, services))
        self._services = services
        self._policy = policy
        self._converge = Histogram(
            "weft_converge_seconds",
            "Time of one step of the convergence loop",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._writes = Counter("weft_kernel_writes", "Objects written to the kernel", registry=self._registry)
        self._repairs = Counter("weft_repairs", "Objects put right after drift", registry=self._registry)
        self.cut_off = Counter(
            "weft_connections_cut_off",
            "Open connections that policy came to forbid, at this node's end",
            registry=self._registry,
        )
        self.attach = Histogram(
            "weft_attach_seconds", "Time to attach a container", buckets=BUCKETS, registry=self._registry
        )
        self.watch_lag = Histogram(
            "weft_watch_lag_seconds",
            "From a commit of this agent to the store's watch telling of it",
            buckets=BUCKETS,
            registry=self._registry,
        )
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
        return self.exposition()

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
        label = ("target",)
        self._steps = Histogram(
            "weft_target_converge_seconds",
            "Time of one step of a target's convergence loop",
            label,
            buckets=(*BUCKETS, 10.0, 30.0, 60.0),
            registry=registry,
        )
        self._writes = Counter("weft_target_writes", "Objects written to a target", label, registry=registry)
        self._repairs = Counter("weft_target_repairs", "Objects put right after drift", label, registry=registry)

    def add(self, name: str, loop: Loop) -> None:
        loop.listeners.append(partial(self._stepped, name))

    def _stepped(self, target: str, outcome: Outcome) -> None:
        self._steps.labels(target).observe(outcome.seconds)
        self._writes.labels(target).inc(outcome.writes)
        self._repairs.labels(target).inc(len(outcome.repaired))


class _Policy(Collector):
    """Of each policy that drops something here, up to a number of them, and of the others together."""

    def __init__(self, policy: PolicyCounts, log: PolicyLog) -> None:
        self._counts, self._log = policy, log

    def collect(self) -> Iterator[Metric]:
        drops = CounterMetricFamily(
            "weft_policy_drops", "Packets that policies refused", labels=("policy", "tier", "direction")
        )
        for about, packets in self._counts.drops.items():
            drops.add_metric(about, packets)
        yield drops
        for what, number in self._counts.numbers():
            text = {"policies": "Policies in the cluster"}.get(what, f"What policies come to on this host: {what}")
            yield GaugeMetricFamily(
                f"weft_policy_{what}" if what != "policies" else "weft_policies", text, value=number
            )
        yield CounterMetricFamily(
            "weft_policy_log_lost", "Packets that rules logged faster than they were taken in", value=self._log.lost
        )


class _Paths(Collector):
    """Of the ways to other nodes, where networks have several."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober

    def collect(self) -> Iterator[Metric]:
        machine = self._prober.machine
        found = [standing(name, pair, machine.tick_) for name, pair in machine.pairs.items()]
        ways = GaugeMetricFamily("weft_path", "1 for the way of packets to a node", labels=("node", "way"))
        rtt = GaugeMetricFamily("weft_path_rtt_seconds", "Round trip of probes on this way", labels=("node",))
        switches = CounterMetricFamily("weft_path_switches", "Changes of the way to a node", labels=("node",))
        for one in found:
            ways.add_metric((one.name, one.way.name.lower()), 1)
            switches.add_metric((one.name,), one.switches)
            if one.rtt is not None:
                rtt.add_metric((one.name,), one.rtt)
        yield from (ways, rtt, switches)
        yield CounterMetricFamily(
            "weft_path_probes_refused", "Frames that were no probes of this cluster", value=self._prober.refused
        )


class _Names(Collector):
    """Of the questions that containers here ask."""

    def __init__(self, names: Naming) -> None:
        self._names = names

    def collect(self) -> Iterator[Metric]:
        names, counts = self._names, self._names.counts
        yield GaugeMetricFamily("weft_names_containers", "Containers that can ask for names", value=names.asking)
        for name, text, value in (
            ("questions", "Questions of containers", counts.questions),
            ("forwarded", "Of these, those that other servers were asked", counts.forwarded),
            ("known", "Of these, those whose answer by another server was still known", counts.known),
            ("refused", "Of these, those that nobody could be asked", counts.refused),
        ):
            yield CounterMetricFamily(f"weft_names_{name}", text, value=value)


class _Health(Collector):
    """Of the checks that this node makes of services' members."""

    def __init__(self, health: Checker) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        health = self._health
        yield GaugeMetricFamily("weft_health_checks", "Members of services that are checked here", value=health.running)
        yield CounterMetricFamily("weft_health_probes", "Times that a member was asked", value=health.asked)
        yield CounterMetricFamily(
            "weft_health_failures", "Times that a member did not answer well", value=health.failed
        )


class _Services(Collector):
    """Of each service, up to a number of them: its members, and on this host their connections."""

    def __init__(self, view: View, counts: ServiceCounts) -> None:
        self._view, self._counts = view, counts

    def collect(self) -> Iterator[Metric]:
        index, now = services(self._view), time.time()
        label = ("network", "service")
        members = GaugeMetricFamily("weft_service_members", "Members of a service", labels=(*label, "state"))
        for at in self._counts.shown():
            states = Tally(member.state for member in index.members(at, now, self._counts.dead))
            for state in STATES:
                members.add_metric((*at, state), states[state])
        yield members
        connections = GaugeMetricFamily(
            "weft_service_connections", "Open connections to members of a service on this host", labels=label
        )
        for at, counted in sorted(self._counts.connections.items()):
            connections.add_metric(at, sum(counted.values()))
        yield connections
        yield CounterMetricFamily(
            "weft_services_refused",
            "Connections to services on this host that no member took",
            value=self._counts.refused,
        )
        yield GaugeMetricFamily("weft_services", "Services in the cluster", value=len(index.services))


class _Tunnels(Collector):
    """Of tunnels that a program carries."""

    def __init__(self, tunnels: Tunnels) -> None:
        self._tunnels = tunnels

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        labels = ("device", "direction")
        packets = CounterMetricFamily("weft_tunnel_packets", "Packets that the pump carried", labels=labels)
        octets = CounterMetricFamily("weft_tunnel_octets", "What they were, in octets", labels=labels)
        drops = CounterMetricFamily("weft_tunnel_drops", "Packets that the pump dropped", labels=("device", "reason"))
        for state in self._tunnels.states():
            for direction, names in (("sent", counters.SENT), ("received", counters.RECEIVED)):
                packets.add_metric((state.device, direction), state.counts[names[0]])
                octets.add_metric((state.device, direction), state.counts[names[1]])
            for reason in counters.DROPS:
                drops.add_metric((state.device, reason), state.counts[reason])
        yield from (packets, octets, drops)
        restarts = self._tunnels.supervisor.restarts
        yield GaugeMetricFamily("weft_tunnel_restarts", "The pump started again", value=restarts)


class _Mesh(Collector):
    """Of the members, as this host knows them, the voters, and this host's relay."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        part, relay = self._mesh.part, self._mesh.relay
        members = GaugeMetricFamily("weft_mesh_members", "Members that are known here", labels=("standing",))
        voters = GaugeMetricFamily("weft_mesh_voters", "Voters that are known here", labels=("state",))
        said = CounterMetricFamily(
            "weft_mesh_gossip", "What members said to each other, counted here", labels=("what",)
        )
        if part is not None:
            for standing, count in Tally(member.standing.value for member in part.membership.members()).items():
                members.add_metric((standing,), count)
            for condition, count in Tally(mesh_voters.state(voter) for voter in part.keeper.voters()).items():
                voters.add_metric((condition,), count)
            for what, count in part.counts.items():
                said.add_metric((what,), count)
        yield from (members, voters, said)
        yield GaugeMetricFamily("weft_mesh_relayed", "Connections led to voters", value=relay.connections)
        yield CounterMetricFamily("weft_mesh_relay_refused", "Connections that were not", value=relay.refused)


class _State(Collector):
    """What is read at the moment of asking."""

    def __init__(self, view: View, loops: Loops, routing: Routing, store: Callable[[], t.StoreStatus]) -> None:
        self._view, self._loops, self._routing, self._store = view, loops, routing, store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        counts = self._loops.counts()
        objects = GaugeMetricFamily(
            "weft_objects", "Objects of the kernel, and of other targets", labels=("kind", "state")
        )
        for kind, count in counts.items():
            objects.add_metric((kind, "desired"), count.desired)
            objects.add_metric((kind, "actual"), count.actual)
            objects.add_metric((kind, "failed"), count.failed)
        yield objects
        store = self._store()
        yield GaugeMetricFamily("weft_store_connected", "1 while the store answers", value=store.state == "connected")
        yield GaugeMetricFamily("weft_store_revision", "Last change taken over", value=store.revision)
        yield GaugeMetricFamily("weft_nodes_alive", "Nodes whose agent lives", value=len(self._view.present))
        yield GaugeMetricFamily("weft_endpoints", "Containers on this node", value=len(self._view.endpoints))
        sessions = GaugeMetricFamily("weft_bgp_sessions", "BGP sessions", labels=("state",))
        routing = self._routing
        up, unknown = routing.count("Established"), routing.count("Unknown")
        sessions.add_metric(("established",), up)
        sessions.add_metric(("down",), len(routing.states) - up - unknown)
        sessions.add_metric(("unknown",), unknown)
        yield sessions
        yield GaugeMetricFamily("weft_bgp_restarts", "BIRD started again", value=self._routing.restarts)
        if self._loops.kernel.last_resync:
            yield GaugeMetricFamily(
                "weft_resync_age_seconds",
                "Since the last full comparison with the kernel",
                value=time.time() - self._loops.kernel.last_resync,
            )
        ages = GaugeMetricFamily(
            "weft_target_resync_age_seconds", "Since the last full comparison with a target", labels=("target",)
        )
        for name, loop in self._loops.targets.items():
            if loop.last_resync:
                ages.add_metric((name,), time.time() - loop.last_resync)
        if ages.samples:
            yield ages
