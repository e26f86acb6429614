"""From an attach on one host to its entries on the others, by the store's watch.

For real: four hosts, the others' kernels tell when they have neighbour and FDB entry. Simulated: hundreds of agents
without a kernel (`bench.simulated`) against one etcd; all of them follow one network, so each attach is told to all. They
share this machine's CPUs: that bounds the product of agents and rate, and what one telling costs an agent and etcd says
how far hosts of their own would go.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

import msgspec

from bench import labs
from bench.figures import Figure, Goal, Named, single
from bench.simulated import NETWORK, Plan, Seen
from bench.stats import percentile
from weft.base.errors import Failed
from weft.lab import flat
from weft.model import decode, encode

NODES = ("node-1", "node-2", "node-3", "node-4")
Progress = Callable[[str], None]
_SOON = 1.0
"""Seconds from the last process's word that it is ready to the first attach."""
KEPT_UP = 1000.0
"""Milliseconds: with a p99 delay of more than that, agents do not keep up with the rate."""


class Load(msgspec.Struct, frozen=True):
    """So many agents, in two processes; attaches in a second, for so many seconds."""

    agents: int
    rate: float
    seconds: float = 20.0


class Effort(msgspec.Struct, frozen=True):
    attaches: int = 200
    loads: tuple[Load, ...] = (Load(500, 5.0), Load(50, 50.0), Load(20, 100.0))


QUICK = Effort(attaches=30, loads=(Load(50, 50.0, 5.0),))


class Times(msgspec.Struct, kw_only=True):
    """By MAC address: when an attach was `called` and when it `replied`, seconds of the monotonic clock."""

    called: dict[str, float] = {}
    replied: dict[str, float] = {}


def run(effort: Effort, progress: Progress) -> list[Figure]:
    progress("spread: four hosts")
    figures = _for_real(effort.attaches)
    for load in effort.loads:
        progress(f"spread: {load.agents} agents, {load.rate:g} attaches/s")
        figures += _simulated(load)
    return figures


# For real.


def _for_real(count: int) -> list[Figure]:
    with labs.up(flat(len(NODES)), agents=NODES, store="etcd") as lab, ExitStack() as stack:
        labs.create(lab, NODES[0], NETWORK.name, NETWORK.driver, str(NETWORK.subnets[0]))
        for host in NODES:
            lab.run(host, "first", network=NETWORK.name)
        words = labs.module("entries", f"/run/netns/weft-{NETWORK.name}", str(count))
        watches = [stack.enter_context(labs.started(lab.host(host), words)) for host in NODES[1:]]
        done = lab.host(NODES[0]).run(labs.module("attaching", NETWORK.name, str(count), "clock"), timeout=120)
        if done.returncode:
            raise Failed(f"attaching: {' | '.join(done.stderr.strip().splitlines()[-3:])}")
        times = decode(Times, done.stdout.encode())
        programmed = [labs.result(watch, dict[str, float]) for watch in watches]
    group = "spread, 4 hosts, etcd"
    return [
        figure
        for what, since in (("attach's call", times.called), ("its reply", times.replied))
        for figure in _percentiles(
            group,
            f"{what} → entries on another",
            [(seen[mac] - since[mac]) * 1000 for seen in programmed for mac in since],
        )
    ]


# Simulated.


def _simulated(load: Load) -> list[Figure]:
    with labs.up(flat(2), store="etcd") as lab:
        lab.host(NODES[0]).must("fill", labs.module("simulated", "fill", lab.store, str(load.agents)))
        attaches, half = int(load.rate * load.seconds), load.agents // 2
        plans = [
            Plan(url=lab.store, agents=load.agents, first=first, count=count, rate=load.rate, attaches=attaches)
            for first, count in ((0, half), (half, load.agents - half))
        ]
        etcd = lab.etcd()
        process = etcd.process() if etcd else None
        if process is None:
            raise Failed("the lab's etcd has ended")
        with ExitStack() as stack:
            places = (lab.host(NODES[0]), lab.host(NODES[1]))
            running = [
                stack.enter_context(labs.started(place, labs.module("simulated", encode(plan).decode())))
                for place, plan in zip(places, plans, strict=True)
            ]
            before, start = labs.cpu(process.pid), time.monotonic() + _SOON
            for one in running:
                assert one.stdin
                one.stdin.write(f"{start}\n")
                one.stdin.flush()
            seen = [labs.result(one, Seen) for one in running]
            used = labs.cpu(process.pid) - before
    return _load_figures(load, attaches, seen, used)


def _load_figures(load: Load, attaches: int, seen: list[Seen], etcd_cpu: float) -> list[Figure]:
    called = {n: t for one in seen for n, t in one.called.items()}
    replied = {n: t for one in seen for n, t in one.replied.items()}
    if failures := [line for one in seen for line in one.failures]:
        raise Failed(f"{len(failures)} of {attaches} attaches failed, the first: {failures[0]}")
    compiled = {n: [t for one in seen for t in one.times(n)] for n in range(attaches)}
    told = sum(map(len, compiled.values()))
    if told < attaches * (load.agents - 1):
        raise Failed(f"of {attaches * (load.agents - 1):,} tellings {told:,} came: the agents are far behind")
    took = max(map(max, compiled.values())) - min(called.values())
    group = f"spread, {load.agents} agents, {load.rate:g} attaches/s for {load.seconds:g} s"
    since_reply = [(t - replied[n]) * 1000 for n, times in compiled.items() for t in times]
    since_call = [(t - called[n]) * 1000 for n, times in compiled.items() for t in times]
    last = [(max(times) - replied[n]) * 1000 for n, times in compiled.items()]
    attaching = [(replied[n] - called[n]) * 1000 for n in called]
    agents_cpu = sum(one.cpu for one in seen)
    return [
        single(
            Named(group, "attaches, compiled everywhere", "/s"),
            attaches / took,
            [took],
            Goal("value", least=0.9 * load.rate),
        ),
        *_percentiles(group, "attach", attaching),
        *_percentiles(group, "attach's call → compiled by a follower", since_call),
        *_percentiles(group, "its reply → compiled by a follower", since_reply, Goal("value", most=KEPT_UP)),
        *_percentiles(group, "its reply → compiled by the last follower", last),
        single(Named(group, "an agent's CPU for an attach elsewhere", "µs"), agents_cpu / told * 1e6, [agents_cpu]),
        single(Named(group, "etcd's CPU for an attach and a follower", "µs"), etcd_cpu / told * 1e6, [etcd_cpu]),
    ]


# Common to both.


def _percentiles(group: str, what: str, samples: list[float], goal: Goal | None = None) -> list[Figure]:
    """In ms. `goal`: of p99."""
    kept = samples if len(samples) <= 10_000 else []  # a million would be a file of 20 MB
    return [
        single(Named(group, f"{what}, p50", "ms"), median(samples), kept),
        single(Named(group, f"{what}, p99", "ms"), percentile(samples, 0.99), kept, goal),
    ]
