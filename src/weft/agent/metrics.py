"""Prometheus metrics of one agent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from weft.converge.stepper import Outcome

if TYPE_CHECKING:
    from weft.agent.agent import Agent

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    def __init__(self, agent: Agent) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_State(agent))
        self._converge = Histogram(
            "weft_converge_seconds",
            "Time of one step of the convergence loop",
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._writes = Counter("weft_kernel_writes", "Objects written to the kernel", registry=self._registry)
        self._repairs = Counter("weft_repairs", "Objects put right after drift", registry=self._registry)
        self.attach = Histogram(
            "weft_attach_seconds", "Time to attach a container", buckets=BUCKETS, registry=self._registry
        )
        self.watch_lag = Histogram(
            "weft_watch_lag_seconds",
            "From a commit of this agent to the store's watch telling of it",
            buckets=BUCKETS,
            registry=self._registry,
        )
        agent.loop.listeners.append(self._stepped)

    def _stepped(self, outcome: Outcome) -> None:
        self._converge.observe(outcome.seconds)
        self._writes.inc(outcome.writes)
        self._repairs.inc(len(outcome.repaired))

    def exposition(self) -> tuple[bytes, str]:
        """The text and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _State(Collector):
    """What is read at the moment of asking."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterator[GaugeMetricFamily]:
        counts = self._agent.loop.counts()
        objects = GaugeMetricFamily("weft_objects", "Kernel objects", labels=("kind", "state"))
        for kind, count in counts.items():
            objects.add_metric((kind, "desired"), count.desired)
            objects.add_metric((kind, "actual"), count.actual)
            objects.add_metric((kind, "failed"), count.failed)
        yield objects
        store = self._agent.store_status
        yield GaugeMetricFamily("weft_store_connected", "1 while the store answers", value=store.state == "connected")
        yield GaugeMetricFamily("weft_store_revision", "Last change taken over", value=store.revision)
        yield GaugeMetricFamily("weft_nodes_alive", "Nodes whose agent lives", value=len(self._agent.view.present))
        yield GaugeMetricFamily("weft_endpoints", "Containers on this node", value=len(self._agent.view.endpoints))
        sessions = GaugeMetricFamily("weft_bgp_sessions", "BGP sessions", labels=("state",))
        routing = self._agent.routing
        up, unknown = routing.count("Established"), routing.count("Unknown")
        sessions.add_metric(("established",), up)
        sessions.add_metric(("down",), len(routing.states) - up - unknown)
        sessions.add_metric(("unknown",), unknown)
        yield sessions
        yield GaugeMetricFamily("weft_bgp_restarts", "BIRD started again", value=self._agent.routing.restarts)
        if self._agent.loop.last_resync:
            yield GaugeMetricFamily(
                "weft_resync_age_seconds",
                "Since the last full comparison with the kernel",
                value=time.time() - self._agent.loop.last_resync,
            )
