"""A mesh as a whole: hosts that keep their store themselves, a network of driver mesh, and a container on each of them.

One lab for each size. All hosts start at once; then nothing happens for a while, and what they send and take is counted; then
the leader's etcd is killed, cables are pulled, the kernel's port is cut in one direction, and hosts join that were never there.
All hosts share this machine's processors, which hosts of their own do not.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations, islice
from select import select
from statistics import mean, median

import msgspec

from bench import labs, mesh_hosts
from bench.figures import Figure, Goal, Named, single
from bench.mesh_hosts import until
from bench.stats import percentile
from weft.lab import Lab, flat, matrix
from weft.lab.matrix import Attached

NETWORK, SUBNET, CONTAINER = "office", "10.88.0.0/16", "c"
Progress = Callable[[str], None]
_JOINED, _WRITTEN, _FALLEN_BACK, _RETURNED = (Goal("value", most=seconds) for seconds in (3.0, 5.0, 3.0, 15.0))
_AT_ONCE = 4
"""Hosts to which something is done at a time."""


class Size(msgspec.Struct, frozen=True):
    """So many `hosts`; `idle` seconds; how often the leader's etcd is killed (`kills`), a cable pulled (`pulls`), a way between
    two hosts cut (`cuts`); how many hosts join afterwards (`joins`)."""

    hosts: int
    idle: float
    kills: int
    pulls: int
    cuts: int
    joins: int


class Effort(msgspec.Struct, frozen=True):
    sizes: tuple[Size, ...] = (Size(4, 30.0, 8, 8, 5, 2), Size(20, 30.0, 5, 4, 3, 3))


QUICK = Effort((Size(4, 8.0, 3, 2, 1, 2),))


def run(effort: Effort, progress: Progress) -> list[Figure]:
    return [figure for size in effort.sizes for figure in _measured(size, progress)]


def _measured(size: Size, progress: Progress) -> Iterator[Figure]:
    group = f"mesh, {size.hosts} hosts"
    with labs.up(flat(size.hosts + size.joins), store="mesh") as lab:
        every = [place.name for place in lab.topology.hosts]
        hosts, late = every[: size.hosts], every[size.hosts :]
        progress(f"{group}: start")
        yield single(Named(group, "all start at once → all converged", "s"), took := _start(lab, hosts), [took])
        progress(f"{group}: containers")
        yield _reached(group, lab, hosts)
        progress(f"{group}: idle")
        yield from _idle(group, lab, hosts, size.idle)
        progress(f"{group}: leaders killed")
        yield from _spread(group, "the leader's etcd killed → next write", _kills(lab, hosts, size.kills), _WRITTEN)
        progress(f"{group}: cables pulled")
        yield from _pulls(group, lab, hosts, size.pulls)
        progress(f"{group}: ways cut")
        yield from _cuts(group, lab, hosts, size.cuts)
        progress(f"{group}: hosts join")
        yield from _joins(group, lab, late, hosts[0])


def _spread(group: str, name: str, samples: Sequence[float], goal: Goal | None = None) -> Iterator[Figure]:
    yield single(Named(group, f"{name}, p50", "s"), median(samples), samples)
    yield single(Named(group, f"{name}, longest", "s"), max(samples), samples, goal)


def _start(lab: Lab, hosts: Sequence[str]) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda host: lab.agent(host).start(), hosts))
    return _whole(lab, hosts) - began


def _whole(lab: Lab, hosts: Sequence[str]) -> float:
    """When it is."""
    last = 0.0
    for host in hosts:
        last = until(partial(mesh_hosts.converged, lab, host, len(hosts) - 1), f"{host} to converge")
    return last


def _reached(group: str, lab: Lab, hosts: Sequence[str]) -> Figure:
    """A ping from each container to each other."""
    labs.create(lab, hosts[0], NETWORK, "mesh", SUBNET)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        places = list(pool.map(lambda host: _container(lab, host), hosts))
    _whole(lab, hosts)
    pings = matrix.measure(places)
    lost = sum(not ping.ok for ping in pings)
    return single(
        Named(group, f"of {len(pings)} pings between containers lost", ""), lost, [lost], Goal("value", most=0)
    )


def _container(lab: Lab, host: str) -> Attached:
    place = lab.host(host)
    place.must("container", ["ip", "netns", "add", CONTAINER])
    address = mesh_hosts.attach(lab, host, CONTAINER, NETWORK)
    return Attached(f"{host}/{CONTAINER}", NETWORK, place.container(CONTAINER), (address,))


def _idle(group: str, lab: Lab, hosts: Sequence[str], seconds: float) -> Iterator[Figure]:
    """What of the beginning is still told about is counted, too."""
    for host in hosts:
        mesh_hosts.count(lab, host)
    began, before = time.monotonic(), [mesh_hosts.taken(lab, host) for host in hosts]
    select([], [], [], seconds)
    passed, after = time.monotonic() - began, [mesh_hosts.taken(lab, host) for host in hosts]
    both = list(zip(before, after, strict=True))
    for what in mesh_hosts.SENT:
        sent = [(late.octets[what] - early.octets[what]) / passed for early, late in both]
        yield single(Named(group, f"idle: octets sent by each host, {what}", "/s"), mean(sent), sent)
    memory = [mesh_hosts.memory(lab, host) for host in hosts]
    for name in (mesh_hosts.AGENT, mesh_hosts.ETCD, mesh_hosts.PUMP):
        cpu = [(late.cpu[name] - early.cpu.get(name, 0)) / passed * 1000 for early, late in both if name in late.cpu]
        yield single(Named(group, f"idle: CPU of the {name} for each second", "ms"), mean(cpu), cpu)
        resident = [found[name] for found in memory if name in found]
        yield single(Named(group, f"memory of the {name}", "MB"), mean(resident), resident)


def _kills(lab: Lab, hosts: Sequence[str], times: int) -> list[float]:
    """Seconds from the kill until the last host, which is no voter, can write. Then the voter is back before the next kill."""
    took, writer = [], hosts[-1]
    for number in range(times):
        until(partial(mesh_hosts.leader, lab, writer), "somebody to lead")
        victim = mesh_hosts.leader(lab, writer)
        for process in mesh_hosts.processes(lab, victim)[mesh_hosts.ETCD]:
            process.signal(signal.SIGKILL)
        killed = time.monotonic()
        took.append(until(partial(mesh_hosts.write, lab, writer, number), "a write") - killed)
        until(partial(mesh_hosts.votes, lab, victim), f"{victim}'s etcd")
        _whole(lab, hosts)
    return took


def _pulls(group: str, lab: Lab, hosts: Sequence[str], times: int) -> Iterator[Figure]:
    """The cables of hosts that are no voters. Each other host tells when it counts them as dead."""
    voters = {voter.name for voter in labs.client(lab, hosts[0]).mesh().voters}
    others, gone, back = [host for host in hosts if host not in voters], list[float](), list[float]()
    for number in range(times):
        victim = others[number % len(others)]
        lab.link(victim, up=False, cable=True)
        pulled, watchers = time.monotonic(), [host for host in hosts if host != victim]
        gone += [at - pulled for at in _dead(lab, victim, watchers)]
        lab.link(victim, up=True, cable=True)
        began = time.monotonic()
        back.append(_whole(lab, hosts) - began)
    name = "a cable pulled → dead at another"
    yield single(Named(group, f"{name}, p50", "s"), median(gone), gone)
    yield single(Named(group, f"{name}, p99", "s"), percentile(gone, 0.99), gone)
    yield single(Named(group, "its cable in again → all converged, p50", "s"), median(back), back)


def _dead(lab: Lab, victim: str, watchers: list[str]) -> list[float]:
    """When, at each of them. One is asked after the other, so a time is late by one such turn at most."""
    times, left = list[float](), set(watchers)

    def told() -> bool:
        for host in sorted(left):
            if mesh_hosts.standing(lab, host)[victim] == "dead":
                left.remove(host)
                times.append(time.monotonic())
        return not left

    until(told, f"{victim} to count as dead")
    return times


def _cuts(group: str, lab: Lab, hosts: Sequence[str], times: int) -> Iterator[Figure]:
    """Each time between two others: a way that comes and goes is taken again later each time."""
    gone, back = list[float](), list[float]()
    for one, two in islice(combinations(hosts, 2), times):
        best, other = (partial(mesh_hosts.by, lab, one, two, way) for way in ("kernel", "sleeve"))
        until(best, f"{one} and {two} on their best way")
        mesh_hosts.cut(lab, two, str(lab.topology.place(one).addresses[0].ip))
        began = time.monotonic()
        gone.append(until(other, "the sleeve") - began)
        mesh_hosts.mend(lab, two)
        began = time.monotonic()
        back.append(until(best, "the kernel's way") - began)
    yield from _spread(group, "UDP 6784 cut one way → both ends by sleeve", gone, _FALLEN_BACK)
    yield from _spread(group, "open again → both ends by the kernel", back, _RETURNED)


def _joins(group: str, lab: Lab, late: Sequence[str], other: str) -> Iterator[Figure]:
    each = [_join(lab, host, other) for host in late]
    runs, answered = ([one[end] for one in each] for end in (0, 1))
    yield from _spread(group, "a host's start → its container is answered", answered, _JOINED)
    yield single(Named(group, "of that, until its agent's program runs, p50", "s"), median(runs), runs)


def _join(lab: Lab, host: str, other: str) -> tuple[float, float]:
    """Seconds from its agent's start, with nothing on its disk: until that answers anything at all, which is Python's time to
    read the program; and until its container is answered from the other's."""
    place, target = lab.host(host), labs.address(lab, other, NETWORK)
    place.must("container", ["ip", "netns", "add", CONTAINER])
    inside, began = place.container(CONTAINER), time.monotonic()
    lab.agent(host).start()
    runs = until(labs.client(lab, host).status, f"{host}'s agent") - began
    mesh_hosts.attach(lab, host, CONTAINER, NETWORK)
    ping = ["ping", "-n", "-q", "-c1", "-W1", target]
    return runs, until(lambda: not inside.run(ping).returncode, f"an answer from {other}'s container") - began
