"""What policy costs: packets, and a label or a policy that changes in a large cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

import msgspec

from bench import labs, policy_packets, policy_scale
from bench.figures import Figure, Goal, Named, paired, single
from bench.stats import percentile
from weft.api.types import ApplyPolicies, PolicySource
from weft.base.errors import Failed
from weft.lab import Lab, flat
from weft.model import decode

HOSTS = ("node-1", "node-2", "node-3", "node-4")
HOST = HOSTS[0]
_APART = 0.5
"""Seconds from one change to the next."""
Progress = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    """`count`: connections and round trips in each of the `rounds`, with so many `addresses` in sets. `endpoints`,
    `policies`: of the cluster in which `labels` change. `changes`: of a policy on four hosts."""

    rounds: int = 15
    count: int = 5_000
    addresses: int = 10_000
    endpoints: int = 10_000
    policies: int = 1_000
    labels: int = 200
    changes: int = 60


QUICK = Effort(rounds=5, count=2_000, labels=50, changes=15)


def run(effort: Effort, progress: Progress) -> list[Figure]:
    progress("policy: packets")
    figures = _packets(effort)
    progress("policy: a large cluster")
    figures += _scale(effort)
    progress("policy: four hosts")
    return [*figures, *_spread(effort)]


def _spread(effort: Effort) -> list[Figure]:
    """An endpoint on each of four hosts, and a policy that changes: from the call to the rules of the last host."""
    took, pause = [], threading.Event()
    with labs.up(flat(len(HOSTS)), agents=HOSTS, store="etcd") as lab, ExitStack() as stack:
        labs.create(lab, HOST, "blue", "routed", "10.20.0.0/16")
        for host in HOSTS:
            lab.run(host, "web", network="blue")
        agent = labs.client(lab, HOST)
        agent.apply_policies(_document(1))
        seen = [stack.enter_context(labs.started(lab.host(host), labs.module("policy_seen"))) for host in HOSTS]
        called, pause = list[float](), threading.Event()
        for number in range(effort.changes):
            pause.wait(_APART)
            called.append(time.monotonic())
            agent.apply_policies(_document(2 + number))
        pause.wait(_APART)
        for one in seen:
            assert one.stdin
            one.stdin.close()
        times = [labs.result(one, list[float]) for one in seen]
    for at, until in zip(called, [*called[1:], float("inf")], strict=True):
        first = [next((t for t in on_host if at <= t < until), None) for on_host in times]
        if None in first:
            raise Failed("a policy that changed has not come to all hosts")
        took.append(1000 * (max(t for t in first if t is not None) - at))
    group = f"a policy is applied, {len(HOSTS)} hosts, etcd"
    return [
        single(Named(group, "in force on the last, p50", "ms"), median(took), took),
        single(Named(group, "in force on the last, p99", "ms"), percentile(took, 0.99), took),
    ]


def _document(number: int) -> ApplyPolicies:
    """The same policy, with another port each time."""
    spec = {"podSelector": {}, "ingress": [{"ports": [{"port": number}]}]}
    document = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "web"},
        "spec": spec,
    }
    return ApplyPolicies(documents=(PolicySource(place="bench", document=document),))


def _packets(effort: Effort) -> list[Figure]:
    with labs.up(flat(1)) as lab:
        said = _module(lab, "policy_packets", effort.rounds, effort.count, effort.addresses)
    rounds = decode(list[policy_packets.Round], said)
    figures, by = [], policy_packets.TRACKED
    group = f"one host, routed, {effort.addresses:,} addresses in sets"
    for name in rounds[0].connections:
        if name == by:
            continue
        goals = (Goal("ratio", least=0.97), Goal("ratio", most=1.03)) if "by hand" not in name else (None, None)
        new = [r.connections[name] for r in rounds], [r.connections[by] for r in rounds]
        trips = [r.round_trips[name] for r in rounds], [r.round_trips[by] for r in rounds]
        figures += [
            paired(Named(group, f"{name}: new connections", "1/s", by), *new, goals[0]),
            paired(Named(group, f"{name}: round trip", "µs", by), *trips, goals[1]),
        ]
    return figures


def _scale(effort: Effort) -> list[Figure]:
    with labs.up(flat(1)) as lab:
        said = _module(lab, "policy_scale", effort.endpoints, effort.policies, effort.labels)
    times = decode(policy_scale.Times, said)
    group = f"{effort.endpoints:,} endpoints, {effort.policies:,} policies, on one host"
    whole = times.compute + times.kernel
    figures = [
        single(Named(group, "all at once", "s"), whole, [whole], Goal("value", most=3.0)),
        single(Named(group, "memory of it", "MB"), times.rss, [times.rss]),
    ]
    for what, compute, kernel in (
        ("a label changes", times.label_compute_ms, times.label_kernel_ms),
        ("a policy changes", times.policy_compute_ms, times.policy_kernel_ms),
    ):
        goal = Goal("value", most=10.0) if "label" in what else None
        for where, took in (("computed", compute), ("in the kernel", kernel)):
            figures.append(single(Named(group, f"{what}: {where}, p50", "ms"), median(took), took, goal))
            figures.append(single(Named(group, f"{what}: {where}, p99", "ms"), percentile(took, 0.99), took))
    return figures


def _module(lab: Lab, name: str, *words: int) -> bytes:
    done = lab.host(HOST).run(labs.module(name, *map(str, words)), timeout=600.0)
    if done.returncode:
        raise Failed(f"{name}: {done.stderr.strip()[-300:]}")
    return done.stdout.encode()
