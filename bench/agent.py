"""What the agent costs: bulk programming, a change in a large model, attaching, memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from statistics import median

import msgspec

from bench import attaching, bulk, change, elements, labs, model
from bench.figures import Figure, Goal, Named, beside, paired, single
from bench.stats import percentile
from weft.base.errors import Failed
from weft.lab import Lab, flat
from weft.model import decode
from weft.store.protocol import Put
from weft.store.url import StoreOptions, open_store

HOST = "node-1"
Progress = Callable[[str], None]
_CONVERGED_SECONDS = 60.0
_LEASE, _LEASE_SECONDS = 4_711, 3_600.0


class Effort(msgspec.Struct, frozen=True):
    """`objects` of each kind, and `elements` of a set, in `rounds`; `containers` to attach, also on a host that has a
    `crowd`; `change`: of that part, also the model that an agent is filled with."""

    objects: int = 10_000
    elements: int = 100_000
    rounds: int = 7
    containers: int = 200
    crowd: int = 1_000
    change: change.Effort = change.Effort()


QUICK = Effort(objects=2_000, elements=20_000, rounds=3, containers=30, crowd=200, change=change.QUICK)


def run(effort: Effort, progress: Progress) -> list[Figure]:
    progress("agent: routes, neighbours and FDB entries in bulk")
    figures = _bulk(effort)
    progress("agent: elements of a set of nftables")
    figures += _elements(effort)
    progress("agent: a change in a large model")
    figures += change.run(effort.change)
    for store in ("sqlite", "etcd"):
        progress(f"agent: attach and detach, {store}")
        figures += _attach(store, effort)
    progress("agent: attach in a routed network on a full host")
    figures += _crowded(effort)
    progress("agent: memory in a large model")
    return [*figures, _large(effort.change)]


def _bulk(effort: Effort) -> list[Figure]:
    with labs.up(flat(1)) as lab:
        words = labs.module("bulk", str(effort.objects), str(effort.rounds))
        times = decode(bulk.Times, _output(lab, words).encode())
    group = f"{effort.objects:,} routes + neighbours + FDB entries"
    faster, batch = Goal("ratio", most=1.0), "ip/bridge -batch"
    return [
        paired(Named(group, "programmed", "s", batch), times.programmed, times.by_batch, faster),
        paired(Named(group, "of it, the kernel adapter", "s", batch), times.apply, times.by_batch),
        paired(Named(group, "full resync", "s", "ip/bridge -j"), times.resync, times.dumped, Goal("value", most=0.3)),
    ]


def _elements(effort: Effort) -> list[Figure]:
    with labs.up(flat(1)) as lab:
        words = labs.module("elements", str(effort.elements), str(effort.rounds))
        both = decode(elements.Both, _output(lab, words).encode())
    figures = []
    for what, times in (("addresses", both.addresses), ("prefixes", both.prefixes)):
        group, goal, by = f"a set of {effort.elements:,} {what}", Goal("ratio", most=1.1), "nft -f"
        one = [1000 * seconds for seconds in times.one]
        by_hand = [1000 * seconds for seconds in times.one_by_nft]
        figures += [
            paired(Named(group, "all at once", "s", by), times.all, times.all_by_nft, goal),
            paired(Named(group, "of it, processor time", "s", by), times.all_cpu, times.all_by_nft_cpu),
            paired(Named(group, "one more", "ms", "nft"), one, by_hand, Goal("value", most=2.0)),
        ]
    return figures


def _attach(store: str, effort: Effort) -> list[Figure]:
    """On a fresh host, and before that the memory its agent takes with nothing to do."""
    with labs.up(flat(1), agents=(HOST,), store=store) as lab:
        idle = memory(lab)
        labs.create(lab, HOST, "blue", "vxlan", "10.61.0.0/16")
        words = labs.module("attaching", "blue", str(effort.containers))
        times = decode(attaching.Times, _output(lab, words).encode())
    group, goal = f"agent on {store}", Goal("value", most=20.0)
    by_hand = {"attach": times.wire, "detach": times.unwire}
    figures = [single(Named(group, "memory, idle", "MB"), idle, [idle], Goal("value", most=70.0))]
    for what, took in (("attach", times.attach), ("detach", times.detach)):
        hand = by_hand[what]
        p99 = (percentile(took, 0.99), took), (percentile(hand, 0.99), hand)
        figures.append(
            beside(Named(group, f"{what} p50", "ms", "ip -batch"), (median(took), took), (median(hand), hand), goal)
        )
        figures.append(beside(Named(group, f"{what} p99", "ms", "ip -batch"), *p99))
    return figures


def _crowded(effort: Effort) -> list[Figure]:
    """A routed network's containers, when its host has none and when it has many."""
    times = []
    with labs.up(flat(1), agents=(HOST,)) as lab:
        labs.create(lab, HOST, "prod", "routed", "10.64.0.0/16")
        for crowd in (0, effort.crowd):
            if crowd:
                _output(lab, labs.module("attaching", "prod", str(crowd), "stay"))
            said = _output(lab, labs.module("attaching", "prod", str(effort.containers)))
            times.append(decode(attaching.Times, said.encode()))
    none, many = times
    group, goal = f"routed, agent on sqlite, {effort.crowd:,} endpoints on the host", Goal("value", most=20.0)
    figures = []
    for what, crowded, alone, hand in (
        ("attach p50", many.attach, none.attach, many.wire),
        ("detach p50", many.detach, none.detach, many.unwire),
    ):
        value = (median(crowded), crowded)
        figures.append(beside(Named(group, what, "ms", "with none"), value, (median(alone), alone), goal))
        figures.append(beside(Named(group, "", "ms", "ip -batch"), value, (median(hand), hand)))
    return figures


def _large(effort: change.Effort) -> Figure:
    """An agent whose store holds the whole cluster, and whose own containers are as many as the others'."""
    with labs.up(flat(1), agents=(HOST,)) as lab:
        labs.client(lab, HOST).create_network(model.NETWORK)
        own = labs.client(lab, HOST).network(model.NETWORK.name).leases[0].subnets[0]
        asyncio.run(_fill(lab.store, effort, str(own)))
        words = labs.module("attaching", model.NETWORK.name, str(effort.endpoints), "stay")
        _output(lab, words)
        _converged(lab, effort.nodes - 1)
        used = memory(lab)
    name = f"memory, {effort.nodes:,} nodes, {effort.nodes * effort.endpoints:,} endpoints"
    return single(Named("agent on sqlite", name, "MB"), used, [used], Goal("value", most=400.0))


async def _fill(url: str, effort: change.Effort, taken: str) -> None:
    """The other nodes, their leases and their containers, as their agents would write them."""
    store = open_store(url, StoreOptions())
    await store.grant(_LEASE, _LEASE_SECONDS)
    try:
        rest = _others(effort, taken)
        while items := list(islice(rest, 100)):
            await store.commit([], [Put(key, value, _LEASE) for key, value in items])
    finally:
        await store.close()


def _others(effort: change.Effort, taken: str) -> Iterator[tuple[str, bytes]]:
    for number in range(2, effort.nodes + 1):
        own = (model.endpoint_item(number, index) for index in range(effort.endpoints))
        yield from chain(model.node_items(number, taken), own)


def _converged(lab: Lab, peers: int) -> None:
    """Until the kernel has all of them. Raises Failed."""
    deadline = time.monotonic() + _CONVERGED_SECONDS
    process = lab.agent(HOST).process()
    while process and time.monotonic() < deadline:
        status = labs.client(lab, HOST).status()
        fdb = status.objects.get("fdb")
        if status.state == "converged" and fdb and fdb.actual >= peers:
            return
        process.wait(0.1)
    raise Failed(f"the agent does not know {peers} peers after {_CONVERGED_SECONDS:.0f} s: {lab.agent(HOST).tail()}")


def memory(lab: Lab) -> float:
    process = lab.agent(HOST).process()
    if process is None:
        raise Failed(f"the agent has ended: {lab.agent(HOST).tail()}")
    return labs.memory(process.pid)


def _output(lab: Lab, words: list[str]) -> str:
    done = lab.host(HOST).run(words, timeout=300)
    if done.returncode:
        raise Failed(f"{words[2]}: {' | '.join(done.stderr.strip().splitlines()[-3:])}")
    return done.stdout
