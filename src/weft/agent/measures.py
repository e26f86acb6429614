"""All metrics of an agent, declared once: `weft.agent.metrics` fills them in, and the reference in the documents lists them."""

from __future__ import annotations

from functools import partial
from typing import Literal

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds."""


class Measure(msgspec.Struct, frozen=True):
    """`labels`: their names. `of`: the part of the agent that has to be in use for it to be shown; "": always.
    `buckets`: of a histogram."""

    kind: Literal["gauge", "counter", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    of: str = ""
    buckets: tuple[float, ...] = BUCKETS

    @property
    def shown(self) -> str:
        """What it is called where it is read."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def family(self) -> GaugeMetricFamily | CounterMetricFamily:
        """For samples with labels; there is none yet."""
        made = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        return made(self.name, self.help, labels=self.labels)

    def at(self, value: float) -> GaugeMetricFamily | CounterMetricFamily:
        """With its only sample: it has no labels."""
        made = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        return made(self.name, self.help, value=value)

    def counting(self, registry: CollectorRegistry) -> Counter:
        """One that is counted up where things happen."""
        return Counter(self.name, self.help, self.labels, registry=registry)

    def observing(self, registry: CollectorRegistry) -> Histogram:
        return Histogram(self.name, self.help, self.labels, buckets=self.buckets, registry=registry)


gauge, counter, histogram = (partial(Measure, kind) for kind in ("gauge", "counter", "histogram"))

INFO = gauge("weft_info", "1; what this agent is", ("node", "version"))
HEALTHY = gauge("weft_healthy", "1 while `weft status --check` has nothing to complain of")
PROBLEMS = gauge("weft_problems", 'What `weft status` lists under PROBLEMS; those of no network under ""', ("network",))
OBJECTS = gauge("weft_objects", "Objects of the kernel, and of other targets", ("kind", "state"))
CONVERGE = histogram("weft_converge_seconds", "Time of one step of the convergence loop")
WRITES = counter("weft_kernel_writes", "Objects written to the kernel")
REPAIRS = counter("weft_repairs", "Objects put right after drift")
RESYNC_AGE = gauge("weft_resync_age_seconds", "Since the last full comparison with the kernel")
ATTACH = histogram("weft_attach_seconds", "Time to attach a container")
ENDPOINTS = gauge("weft_endpoints", "Containers on this node")
NODES = gauge("weft_nodes", "Nodes of the cluster")
NODES_ALIVE = gauge("weft_nodes_alive", "Nodes whose agent lives")
STORE_CONNECTED = gauge("weft_store_connected", "1 while the store answers")
STORE_REVISION = gauge("weft_store_revision", "Last change taken over")
WATCH_LAG = histogram("weft_watch_lag_seconds", "From a commit of this agent to the store's watch telling of it")

TARGET_CONVERGE = histogram(
    "weft_target_converge_seconds",
    "Time of one step of a target's convergence loop",
    ("target",),
    of="networks in a cloud",
    buckets=(*BUCKETS, 10.0, 30.0, 60.0),
)
TARGET_WRITES = counter("weft_target_writes", "Objects written to a target", ("target",), of="networks in a cloud")
TARGET_REPAIRS = counter("weft_target_repairs", "Objects put right after drift", ("target",), of="networks in a cloud")
TARGET_RESYNC_AGE = gauge(
    "weft_target_resync_age_seconds",
    "Since the last full comparison with a target",
    ("target",),
    of="networks in a cloud",
)

POLICIES = gauge("weft_policies", "Policies in the cluster")
POLICY_CHAINS = gauge("weft_policy_chains", "What policies come to on this host: chains")
POLICY_SETS = gauge("weft_policy_sets", "What policies come to on this host: sets")
POLICY_DROPS = counter("weft_policy_drops", "Packets that policies refused", ("policy", "tier", "direction"))
POLICY_LOG_LOST = counter("weft_policy_log_lost", "Packets that rules logged faster than they were taken in")
CUT_OFF = counter("weft_connections_cut_off", "Open connections that policy came to forbid, at this node's end")

SERVICES = gauge("weft_services", "Services in the cluster")
SERVICE_MEMBERS = gauge("weft_service_members", "Members of a service", ("network", "service", "state"))
SERVICE_CONNECTIONS = gauge(
    "weft_service_connections", "Open connections to members of a service on this host", ("network", "service")
)
SERVICES_REFUSED = counter("weft_services_refused", "Connections to services on this host that no member took")
HEALTH_CHECKS = gauge("weft_health_checks", "Members of services that are checked here")
HEALTH_PROBES = counter("weft_health_probes", "Times that a member was asked")
HEALTH_FAILURES = counter("weft_health_failures", "Times that a member did not answer well")

BGP_SESSIONS = gauge("weft_bgp_sessions", "BGP sessions", ("state",))
BGP_RESTARTS = gauge("weft_bgp_restarts", "BIRD started again")

NAMES_CONTAINERS = gauge("weft_names_containers", "Containers that can ask for names")
NAMES_QUESTIONS = counter("weft_names_questions", "Questions of containers")
NAMES_FORWARDED = counter("weft_names_forwarded", "Of these, those that other servers were asked")
NAMES_KNOWN = counter("weft_names_known", "Of these, those whose answer by another server was still known")
NAMES_REFUSED = counter("weft_names_refused", "Of these, those that nobody could be asked")

PATH = gauge("weft_path", "1 for the way of packets to a node", ("node", "way"))
PATH_RTT = gauge("weft_path_rtt_seconds", "Round trip of probes on this way", ("node",))
PATH_SWITCHES = counter("weft_path_switches", "Changes of the way to a node", ("node",))
PATH_PROBES_REFUSED = counter("weft_path_probes_refused", "Frames that were no probes of this cluster")

FAST_PACKETS = counter("weft_fast_packets", "Packets that programs at devices passed on past the rules", ("network",))
FAST_OCTETS = counter("weft_fast_octets", "What they were, in octets", ("network",))
FAST_ENTERED = counter(
    "weft_fast_entered", "Packets that took the ordinary way, after which programs knew how to go on", ("network",)
)
FAST_FLOWS = gauge("weft_fast_flows", "Flows that go past the rules at the moment", ("network", "means"))

TUNNEL_PACKETS = counter("weft_tunnel_packets", "Packets that the pump carried", ("device", "direction"))
TUNNEL_OCTETS = counter("weft_tunnel_octets", "What they were, in octets", ("device", "direction"))
TUNNEL_DROPS = counter("weft_tunnel_drops", "Packets that the pump dropped", ("device", "reason"))
TUNNEL_RESTARTS = gauge("weft_tunnel_restarts", "The pump started again")

MESH_MEMBERS = gauge("weft_mesh_members", "Members that are known here", ("standing",), of="a store mesh://")
MESH_VOTERS = gauge("weft_mesh_voters", "Voters that are known here", ("state",), of="a store mesh://")
MESH_GOSSIP = counter(
    "weft_mesh_gossip", "What members said to each other, counted here", ("what",), of="a store mesh://"
)
MESH_RELAYED = gauge("weft_mesh_relayed", "Connections led to voters", of="a store mesh://")
MESH_RELAY_REFUSED = counter("weft_mesh_relay_refused", "Connections that were not", of="a store mesh://")

MEASURES: tuple[Measure, ...] = tuple(declared for declared in globals().values() if isinstance(declared, Measure))
