"""What virtual addresses of services cost: packets, ten thousand services on a host, and a member that comes.

Packets: from a container to one on the same host and to one on another host, by a service's address and by the member's
own, in turns; with few and with many services on both hosts.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address
from itertools import islice
from statistics import median

import msgspec

from bench import labs, service_scale
from bench.figures import Figure, Goal, Named, paired, single
from bench.stats import percentile
from bench.traffic import CONNECTS_PORT, PINGPONG_PORT, Pair, echoing, taking_connections
from weft.api.services import CreateService
from weft.api.types import Attach
from weft.base.errors import Failed, NotFound
from weft.hoststate.firewall import HELD
from weft.lab import Lab, flat
from weft.model import decode, encode
from weft.services.model import Service, ServicePort
from weft.services.record import SERVICE
from weft.store.protocol import Put
from weft.store.url import StoreOptions, open_store

HOSTS = ("node-1", "node-2")
SPREAD = ("node-1", "node-2", "node-3", "node-4")
SUBNETS = {"vxlan": "10.61.0.0/16", "overlay": "10.62.0.0/16", "routed": "10.63.0.0/16"}
CLIENT, MEMBERS = "client", {"same host": "near", "another host": "far"}
MORE = ("far-2", "far-3", "far-4")
"""So that each of the many services has five members."""
PORTS = tuple(ServicePort(port=port) for port in (CONNECTS_PORT, PINGPONG_PORT))
DIRECT, VIRTUAL = "direct", "virtual address"
_APART, _KNOWN_SECONDS = 0.3, 300.0
Progress = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    """`rounds` with so many new `connections` and round `trips` each; `counts` of services on the hosts. `services` with
    `members` each in a large cluster, in which `changes` of a member are measured. `coming`: members on four hosts."""

    rounds: int = 11
    connections: int = 5_000
    trips: int = 20_000
    counts: tuple[int, ...] = (10, 1_000, 10_000)
    services: int = 10_000
    members: int = 5
    changes: int = 200
    coming: int = 60


QUICK = Effort(rounds=3, connections=1_000, trips=3_000, services=2_000, changes=40, coming=15)


def run(effort: Effort, progress: Progress) -> list[Figure]:
    progress("services: a large cluster")
    figures = _scale(effort)
    progress("services: four hosts")
    figures += _spread(effort)
    for driver in SUBNETS:
        figures += packets(driver, effort, progress)
    return figures


# -- packets -----------------------------------------------------------------------------------------------------------


def packets(driver: str, effort: Effort, progress: Progress) -> list[Figure]:
    figures: list[Figure] = []
    with labs.up(flat(len(HOSTS)), agents=HOSTS) as lab, ExitStack() as stack:
        labs.create(lab, HOSTS[0], driver, driver, SUBNETS[driver])
        for name in (CLIENT, MEMBERS["same host"]):
            lab.run(HOSTS[0], name, network=driver)
        for name in (MEMBERS["another host"], *MORE):
            lab.run(HOSTS[1], name, network=driver)
        there = {name: lab.host(host).container(name) for host, name in zip(HOSTS, MEMBERS.values(), strict=True)}
        for place in there.values():
            stack.enter_context(taking_connections(place))
            stack.enter_context(echoing(place))
        pairs = {where: _pair(lab, driver, where) for where in MEMBERS}
        before = len(MEMBERS)
        for count in effort.counts:
            progress(f"services: {driver}, {count:,} of them")
            if count - before > 1_000:
                figures += _filled(lab, driver, before, count)
            else:
                _fill(lab, driver, before, count)
            before = count
            for where, both in pairs.items():
                figures += _measured(f"{driver}, {where}", count, both, effort)
    return figures


def _pair(lab: Lab, driver: str, where: str) -> tuple[Pair, Pair]:
    """Directly, and by the address of a service whose only member is there."""
    agent, member = labs.client(lab, HOSTS[0]), MEMBERS[where]
    made = agent.create_service(CreateService(name=member, network=driver, members=(member,), ports=PORTS))
    own = next(str(e.addresses[0].ip) for e in agent.endpoints(driver) if e.name == member)
    client = lab.host(HOSTS[0]).container(CLIENT)
    pair = Pair(DIRECT, client, client, own), Pair(VIRTUAL, client, client, str(made.service.addresses[0]))
    for one in pair:
        _reached(lab, one)
    return pair


def _reached(lab: Lab, pair: Pair) -> None:
    """A route, and a service, take a moment to come to all hosts. Raises Failed."""
    deadline, never = time.monotonic() + 30, threading.Event()
    while pair.client.run(["ping", "-c1", "-W1", pair.address]).returncode:
        if time.monotonic() > deadline:
            raise Failed(f"no answer from {pair.address}: {lab.agent(HOSTS[0]).tail()}")
        never.wait(0.1)


def _measured(group: str, count: int, pair: tuple[Pair, Pair], effort: Effort) -> list[Figure]:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    direct, virtual = pair
    for number in range(effort.rounds):
        for one, rate in zip(pair, direct.connections(effort.connections, virtual.address), strict=True):
            found["connections"][one.name].append(rate)
        for one in pair if number % 2 else pair[::-1]:
            found["trips"][one.name].append(one.round_trips(effort.trips)[50])
    new, trips = found["connections"], found["trips"]
    what = f"{count:,} services: "
    return [
        paired(
            Named(group, f"{what}new connections", "1/s", DIRECT), new[VIRTUAL], new[DIRECT], Goal("ratio", least=0.97)
        ),
        paired(
            Named(group, f"{what}round trip p50", "µs", DIRECT), trips[VIRTUAL], trips[DIRECT], Goal("ratio", most=1.03)
        ),
    ]


def _filled(lab: Lab, driver: str, first: int, last: int) -> list[Figure]:
    """So many more of them, and what that cost an agent."""
    process = lab.agent(HOSTS[0]).process()
    if process is None:
        raise Failed(f"{HOSTS[0]}'s agent has ended")
    cpu, start = labs.cpu(process.pid), time.monotonic()
    _fill(lab, driver, first, last)
    took, used = time.monotonic() - start, labs.cpu(process.pid) - cpu
    rss = labs.memory(process.pid)
    group = f"{driver}, {last - first:,} services more, {len(MEMBERS) + len(MORE)} members each"
    return [
        single(Named(group, "from the first in the store to the last in the kernel", "s"), took, [took]),
        single(Named(group, "an agent's CPU", "s"), used, [used]),
        single(Named(group, "an agent's memory afterwards", "MB"), rss, [rss]),
    ]


def _fill(lab: Lab, driver: str, first: int, last: int) -> None:
    """Written at once, as by one who brings a whole cluster. Raises Failed."""
    agent = labs.client(lab, HOSTS[0])
    held = [s for lease in agent.network(driver).leases for s in lease.subnets]
    taken = {a.ip for e in agent.endpoints(driver) for a in e.addresses} | {
        a for found in agent.services(driver) for a in found.service.addresses
    }
    free = (a for a in _downward(driver) if a not in taken and not any(a in s for s in held))
    members = (*MEMBERS.values(), *MORE)
    some = (
        Service(name=f"s{n}", network=driver, members=members, ports=PORTS[:1], addresses=(next(free),))
        for n in range(first, last)
    )
    asyncio.run(_put(lab.store, some))
    for host in HOSTS:
        _knows(lab, host, f"{driver}/s{last - 1}")


def _downward(driver: str) -> Iterator[IPv4Address]:
    """The addresses of its subnet, the last one first: no node and no container has one of these yet."""
    base, _, length = SUBNETS[driver].partition("/")
    last = int(IPv4Address(base)) + (1 << 32 - int(length)) - 1
    return (IPv4Address(last - n) for n in range(1, 1 << 15))


async def _put(url: str, services: Iterator[Service]) -> None:
    store = open_store(url, StoreOptions())
    try:
        while some := list(islice(services, 100)):
            await store.commit([], [Put(SERVICE.key(s.network, s.name), encode(s)) for s in some])
    finally:
        await store.close()


def _knows(lab: Lab, host: str, service: str) -> None:
    agent, never = labs.client(lab, host), threading.Event()
    deadline = time.monotonic() + _KNOWN_SECONDS
    while not _has(lab, host, service) or agent.status().state != "converged":
        if time.monotonic() > deadline:
            raise Failed(f"{host} has not all services after {_KNOWN_SECONDS:.0f} s: {lab.agent(host).tail()}")
        never.wait(0.1)


def _has(lab: Lab, host: str, service: str) -> bool:
    try:
        labs.client(lab, host).service(service)
    except NotFound:
        return False
    return True


# -- a large cluster, on one host --------------------------------------------------------------------------------------


def _scale(effort: Effort) -> list[Figure]:
    words = labs.module("service_scale", str(effort.services), str(effort.members), str(effort.changes))
    with labs.up(flat(1)) as lab:
        done = lab.host(HOSTS[0]).run(words, timeout=600.0)
    if done.returncode:
        raise Failed(f"service_scale: {done.stderr.strip()[-300:]}")
    times = decode(service_scale.Times, done.stdout.encode())
    group = f"{effort.services:,} services with {effort.members} members each, on one host"
    figures = [
        single(Named(group, name, unit), value, [value])
        for name, unit, value in (
            ("computed", "s", times.compute),
            ("computed: CPU", "s", times.compute_cpu),
            ("into the kernel", "s", times.kernel),
            ("into the kernel: CPU", "s", times.kernel_cpu),
            ("objects in the kernel", "", times.objects),
            ("the kernel's memory of it", "MB", times.kernel_memory),
            ("memory of the computing process", "MB", times.rss),
        )
    ]
    for where, took in (("computed", times.member_compute_ms), ("in the kernel", times.member_kernel_ms)):
        figures += _percentiles(group, f"a member comes or goes: {where}", took)
    return figures


def _percentiles(group: str, what: str, took: list[float]) -> list[Figure]:
    return [
        single(Named(group, f"{what}, p50", "ms"), median(took), took),
        single(Named(group, f"{what}, p99", "ms"), percentile(took, 0.99), took),
    ]


# -- four hosts --------------------------------------------------------------------------------------------------------


def _spread(effort: Effort) -> list[Figure]:
    """A container that is a member comes on one host, and goes: from the call to the last host's map."""
    never = threading.Event()
    came, went = list[float](), list[float]()
    with labs.up(flat(len(SPREAD)), agents=SPREAD, store="etcd") as lab, ExitStack() as stack:
        labs.create(lab, SPREAD[0], "blue", "vxlan", "10.20.0.0/16")
        for host in SPREAD:
            lab.run(host, "client", network="blue")
        agent = labs.client(lab, SPREAD[0])
        agent.create_service(CreateService(name="web", network="blue", select="app=web", ports=PORTS))
        lab.host(SPREAD[0]).must("container", ["ip", "netns", "add", "web"])
        words = labs.module("policy_seen", f"{HELD}4")
        seen = [stack.enter_context(labs.started(lab.host(host), words)) for host in SPREAD]
        for _ in range(effort.coming):
            never.wait(_APART)
            came.append(time.monotonic())
            agent.attach(Attach(target="web", network="blue", labels={"app": "web"}))
            never.wait(_APART)
            went.append(time.monotonic())
            agent.detach("web", "blue")
        never.wait(2 * _APART)
        for one in seen:
            assert one.stdin
            one.stdin.close()
        times = [labs.result(one, list[float]) for one in seen]
    group = f"a member of a service, {len(SPREAD)} hosts, etcd"
    return [
        *_percentiles(group, "comes: from the call to the last host's map", _last(came, went, times)),
        *_percentiles(group, "goes: from the call to the last host's map", _last(went, [*came[1:], 1e18], times)),
    ]


def _last(called: list[float], until: list[float], on_hosts: list[list[float]]) -> list[float]:
    """Milliseconds until each change was on all hosts. Raises Failed."""
    took = []
    for at, end in zip(called, until, strict=True):
        first = [next((t for t in seen if at <= t < end), None) for seen in on_hosts]
        if None in first:
            raise Failed("a member that came or went has not come to all hosts before the next change")
        took.append(1000 * (max(t for t in first if t is not None) - at))
    return took
