"""What policy costs: packets, and a label or a policy that changes in a large cluster."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import msgspec

from bench import labs, policy_packets, policy_scale
from bench.figures import Figure, Goal, Named, paired, single
from bench.stats import percentile
from weft.base.errors import Failed
from weft.lab import Lab, flat
from weft.model import decode

HOST = "node-1"
Progress = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    """`count`: connections and round trips in each of the `rounds`, with so many `addresses` in sets. `endpoints`,
    `policies`: of the cluster in which `labels` change."""

    rounds: int = 15
    count: int = 5_000
    addresses: int = 10_000
    endpoints: int = 10_000
    policies: int = 1_000
    labels: int = 200


QUICK = Effort(rounds=5, count=2_000, labels=50)


def run(effort: Effort, progress: Progress) -> list[Figure]:
    progress("policy: packets")
    figures = _packets(effort)
    progress("policy: a large cluster")
    return [*figures, *_scale(effort)]


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
