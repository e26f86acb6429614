"""How soon a member of a service that is ready takes connections: from the word of it on its own host to its entry in every
host's map; four hosts, by etcd's watch. The kernels' own messages say when the entry is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

import msgspec

from bench import labs
from bench.figures import Figure, Named, single
from bench.stats import percentile
from weft.api.services import CreateService, ReportHealth
from weft.client import Client
from weft.lab import flat
from weft.lab.inside import InsideProcess
from weft.services.model import Health, ServicePort

NODES = ("node-1", "node-2", "node-3", "node-4")
NETWORK, SUBNET, MEMBER = "blue", "10.61.0.0/16", "member"
SERVICE = CreateService(
    name="web", network=NETWORK, ports=(ServicePort(port=80),), members=(MEMBER,), health=Health(kind="api")
)
Progress = Callable[[str], None]
_PAUSE = 0.05
"""Seconds between two changes: what follows one is over."""


class Effort(msgspec.Struct, frozen=True):
    """So often the member becomes ready."""

    times: int = 200


QUICK = Effort(times=30)


def run(effort: Effort, progress: Progress) -> list[Figure]:
    progress("readiness: four hosts")
    with labs.up(flat(len(NODES)), agents=NODES, store="etcd") as lab, ExitStack() as stack:
        labs.create(lab, NODES[0], NETWORK, "vxlan", SUBNET)
        for host in NODES:
            lab.run(host, MEMBER if host == NODES[0] else f"other-{host}", network=NETWORK)
        agent = labs.client(lab, NODES[0])
        agent.create_service(SERVICE)
        words = labs.module("elements_seen", "/proc/self/ns/net", "members-tcp4")
        watches = [stack.enter_context(labs.started(lab.host(host), words)) for host in NODES]
        took = [_once(agent, watches) for _ in range(effort.times)]
    group = "readiness, 4 hosts, etcd"
    return [
        *_percentiles(group, "member is ready → in its own host's map", [own for own, _ in took]),
        *_percentiles(group, "member is ready → in every host's map", [last for _, last in took]),
    ]


def _once(agent: Client, watches: list[InsideProcess]) -> tuple[float, float]:
    """Milliseconds, on its own host and on the last one."""
    agent.report_health(SERVICE.name, ReportHealth(member=MEMBER, ready=False))
    _wait()
    began = time.monotonic()
    agent.report_health(SERVICE.name, ReportHealth(member=MEMBER, ready=True))
    came = [labs.result(watch, float) for watch in watches]
    _wait()
    return (came[0] - began) * 1000, (max(came) - began) * 1000


def _wait() -> None:
    threading.Event().wait(_PAUSE)


def _percentiles(group: str, what: str, samples: list[float]) -> list[Figure]:
    return [
        single(Named(group, f"{what}, p50", "ms"), median(samples), samples),
        single(Named(group, f"{what}, p99", "ms"), percentile(samples, 0.99), samples),
    ]
