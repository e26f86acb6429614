"""What the short way of open connections gains: paths between containers with it and without it, beside what others make.

One lab, one segment, a pair of hosts for each: Weft as it comes, Weft with `-O offload=off` (clusters of their own), hosts
without any rules (raw: host to host; and wired by hand), Flannel's vxlan by hand, the same devices as Weft's by hand with
masquerading, the same as Weft's overlay by hand, and a swarm of Docker's.

Clients stay, and what is compared runs in bursts of some ten milliseconds, in turns of changing order; ratios are taken
within a turn. Both ends of a round trip share a CPU. What is measured as the short way has to be one, and what is measured
as the ordinary one has to be that: else there are no figures.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from bench import labs, wired, wired_routed
from bench.engines import Engine, engines, swarm
from bench.figures import Figure, Goal, Named, paired
from bench.traffic import Bursts, Pair
from weft.api.types import ApplyPolicies, PolicySource, RemovePolicies
from weft.base.errors import Failed
from weft.kernel.host import facts
from weft.lab import Lab, flat
from weft.model.network import OptionValue

WEFT, ORDINARY, HOSTS, HAND, RULES, FLANNEL, DOCKER = (
    "weft",
    "ordinary way",
    "hosts",
    "by hand",
    "by hand + masquerade",
    "Flannel's vxlan",
    "Docker's overlay",
)
PLACES = {
    WEFT: ("node-1", "node-2"),
    ORDINARY: ("node-3", "node-4"),
    HOSTS: ("node-5", "node-6"),
    FLANNEL: ("node-7", "node-8"),
    RULES: ("node-9", "node-10"),
    HAND: ("node-11", "node-12"),
    DOCKER: ("node-13", "node-14"),
}
"""The hosts of each pair; `HAND`: what is wired as overlay. What is wired without any rules is on the hosts of `HOSTS`."""
Options = dict[str, OptionValue]
WAYS: dict[str, Options] = {WEFT: {}, ORDINARY: {"offload": "off"}}
Progress = Callable[[str], None]
Samples = dict[str, list[float]]
"""By pair, one for each turn."""
_REACHED_SECONDS = 30.0
SUBNET, _DOCKERS = "10.61.0.0/16", "10.62.0.0/16"
_OTHER = "other"
"""The second container, where both are on one host."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A network of Weft's. `word`: by which it can be asked for. `near`: both containers are on one host. `least`: of the round
    trips of raw. `beside`: what else is measured, each with the least that Weft has to do of it, 0 where it is only told."""

    title: str
    word: str
    driver: str
    options: dict[str, OptionValue] = {}
    policy: bool = True
    near: bool = False
    least: float
    beside: Mapping[str, float] = {}

    @property
    def bridged(self) -> bool:
        """The containers are ports of bridges, and no host routes between them."""
        return self.driver == "overlay" or (self.near and self.driver != "routed")


CASES = (
    Case(
        title="routed, policy",
        word="routed",
        driver="routed",
        options={"encap": "never", "masquerade": False},
        least=0.80,
        beside={HAND: 0},
    ),
    Case(title="host-gw, masquerade and policy", word="host-gw", driver="host-gw", least=0.80, beside={RULES: 0}),
    Case(
        title="vxlan, masquerade and policy",
        word="vxlan",
        driver="vxlan",
        least=0.63,
        beside={RULES: 0, FLANNEL: 0, DOCKER: 0},
    ),
    Case(
        title="overlay",
        word="overlay",
        driver="overlay",
        policy=False,
        least=0.70,
        beside={HAND: 0, DOCKER: 1.05, FLANNEL: 0},
    ),
    Case(
        title="one host, routed, policy",
        word="one-host-routed",
        driver="routed",
        options={"encap": "never", "masquerade": False},
        near=True,
        least=0.90,
    ),
    Case(title="one host, bridge, policy", word="one-host-bridge", driver="vxlan", near=True, least=0.90),
)


Make = Callable[[Lab, Case, str, Options], AbstractContextManager[Pair]]
"""One of Weft's networks with these options, on the hosts of this name, and its pair of containers."""


class Effort(msgspec.Struct, frozen=True):
    """For each case at most `turns`, and none is begun after so many `seconds`. In each `trips` round trips and `connections`
    new ones; in one of `streams` also `mib` over one TCP stream, and half as many over each of four."""

    turns: int = 60
    seconds: float = 40.0
    trips: int = 800
    connections: int = 150
    streams: int = 4
    mib: int = 128


QUICK = Effort(turns=16, seconds=15)


def run(effort: Effort, progress: Progress, cases: Sequence[Case] = CASES) -> list[Figure]:
    progress("fastpath: hosts")
    with ExitStack() as stack:
        lab = stack.enter_context(labs.up(flat(14), agents=PLACES[WEFT], beside=PLACES[ORDINARY]))
        others = by_hand(lab)
        if any(DOCKER in case.beside for case in cases):
            progress("fastpath: Docker")
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-bench-"))
            others[DOCKER] = _docker(lab, stack.enter_context(engines(lab, PLACES[DOCKER], Path(folder))))
        return [
            figure
            for case in cases
            for figure in figures_of(case, measured(lab, case, _by_agents, others, effort, progress))
        ]


# -- what is compared --------------------------------------------------------------------------------------------------


def by_hand(lab: Lab) -> dict[str, Pair]:
    """By name, and what is wired as a driver does it, by the driver's."""
    wired.wire_flannel(lab, PLACES[FLANNEL])
    wired.wire(lab, PLACES[RULES], masquerade=True)
    wired_routed.wire(lab, PLACES[HOSTS], masquerade=False)
    wired.wire_overlay(lab, PLACES[HAND])
    one, two = PLACES[HOSTS]
    found = {
        HOSTS: Pair(HOSTS, lab.host(one), lab.host(two), underlay(lab, two)),
        FLANNEL: pair(lab, FLANNEL, PLACES[FLANNEL], "vxlan", wired.address("vxlan", 2)),
        "routed": pair(lab, HAND, PLACES[HOSTS], wired_routed.CONTAINER, wired_routed.address(2)),
        "overlay": pair(lab, HAND, PLACES[HAND], "overlay", wired.OVERLAY[1]),
    }
    return found | {
        driver: pair(lab, RULES, PLACES[RULES], driver, wired.address(driver, 2)) for driver in wired.SUBNET
    }


def pair(lab: Lab, name: str, hosts: tuple[str, str], container: str, address: str) -> Pair:
    one, two = (lab.host(host).container(container) for host in hosts)
    return Pair(name, one, two, address)


def underlay(lab: Lab, host: str) -> str:
    return str(lab.topology.place(host).addresses[0].ip)


def _docker(lab: Lab, both: dict[str, Engine]) -> Pair:
    one, two = both.values()
    swarm(one, two, (underlay(lab, one.host.name), underlay(lab, two.host.name)))
    one.docker("network", "create", "-d", "overlay", "--attachable", "--subnet", _DOCKERS, "theirs")
    for engine in (one, two):
        engine.run("one", "theirs")
    place, address = two.container("one", "theirs")
    return Pair(DOCKER, one.container("one", "theirs")[0], place, address)


@contextmanager
def _by_agents(lab: Lab, case: Case, name: str, options: Options) -> Iterator[Pair]:
    one, two = PLACES[name]
    containers = [(one, case.driver), (one, _OTHER) if case.near else (two, case.driver)]
    agent = labs.client(lab, one)
    with ExitStack() as undo:
        labs.create(lab, one, case.driver, case.driver, SUBNET, options)
        undo.callback(agent.remove_network, case.driver)
        if case.policy:
            documents = (PolicySource(place="bench", document=POLICY),)
            agent.apply_policies(ApplyPolicies(documents=documents))
            undo.callback(agent.remove_policies, RemovePolicies(documents=documents))
        for host, container in containers:
            lab.run(host, container, network=case.driver)
            undo.callback(lab.rm, host, container)
        client, server = (lab.host(host).container(container) for host, container in containers)
        host, container = containers[1]
        yield Pair(name, client, server, _address(lab, host, case.driver, container))


POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "bench"},
    "spec": {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}]}],
        "egress": [{"to": [{"podSelector": {}}]}],
    },
}
"""Each container may talk to each other one, and to nobody else; so both directions are asked at both ends."""


def _address(lab: Lab, host: str, network: str, container: str) -> str:
    """Raises Failed."""
    for endpoint in labs.client(lab, host).endpoints(network, host):
        if endpoint.container == container:
            return str(endpoint.addresses[0].ip)
    raise Failed(f"no endpoint {container} on {host}: its container was not attached")


# -- measured ----------------------------------------------------------------------------------------------------------


def measured(
    lab: Lab, case: Case, make: Make, others: Mapping[str, Pair], effort: Effort, progress: Progress
) -> dict[str, Samples]:
    """By measure. Raises Failed, also where packets did not go the way that is to be measured."""
    found: dict[str, Samples] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as stack:
        progress(f"fastpath: {case.title}")
        ours = [
            stack.enter_context(make(lab, case, name, {**case.options, **options})) for name, options in WAYS.items()
        ]
        pairs = [*ours, others[HOSTS], *(others[n if n in others else case.driver] for n in case.beside)]
        for one in pairs:
            _reached(one)
        clients = [stack.enter_context(one.bursting()) for one in pairs]
        ways = [Way(lab, case, client) for client in clients[: len(ours)]]
        end = time.monotonic() + effort.seconds
        for turn in range(effort.turns):
            progress(f"fastpath: {case.title}, turn {turn + 1} of {effort.turns}")
            if time.monotonic() > end and turn >= _FEWEST:
                break
            _turn(turned(clients, turn), effort, found, turn % effort.streams == 0)
        for way in ways:
            way.check()
    return found


class Way:
    """Which way the packets of one of Weft's pairs go: counted over some round trips, before and after what is measured."""

    def __init__(self, lab: Lab, case: Case, client: Bursts) -> None:
        self._host, self._case, self._client = lab.host(PLACES[client.name][0]), case, client
        kernel = facts.features()
        able = "tcx" in kernel or ("flowtable" in kernel and not case.bridged)
        self._short = able and client.name == WEFT
        client.trips(_LOOK)
        self.check()

    def check(self) -> None:
        """Raises Failed."""
        before = self._counted()
        self._client.trips(_LOOK)
        counted = abs(self._counted() - before) / (2 * _LOOK)
        short = counted > 0.5 if self._case.bridged else counted < 0.5
        if short != self._short or 0.1 < counted < 0.9:
            way = "short" if self._short else "ordinary"
            what = "went the short way" if self._case.bridged else "were forwarded by the host"
            raise Failed(f"{self._case.title}, {self._client.name}: not the {way} way: {counted:.0%} of packets {what}")

    def _counted(self) -> int:
        """Where the host routes, that it did is counted by the kernel itself (RFC 1213: ipForwDatagrams), whoever else takes
        packets; where it does not, what went the short way is counted by Weft's programs."""
        if self._case.bridged:
            return int(self._host.must("counts", labs.module("short_seen")))
        names, values = (
            line.split() for line in self._host.must("counts", ["grep", "^Ip:", "/proc/net/snmp"]).splitlines()
        )
        return int(values[names.index("ForwDatagrams")])


def _reached(pair: Pair) -> None:
    """Raises Failed."""
    deadline, never = time.monotonic() + _REACHED_SECONDS, threading.Event()
    while pair.client.run(["ping", "-c1", "-W1", pair.address]).returncode:
        if time.monotonic() > deadline:
            raise Failed(f"{pair.name}: no answer from {pair.address} to {pair.client.name}")
        never.wait(0.1)


def _turn(clients: Sequence[Bursts], effort: Effort, found: dict[str, Samples], streams: bool) -> None:
    for client in clients:
        trips = client.trips(effort.trips)
        found[_TRIPS][client.name].append(1e6 / trips.p50)
        found["round trips, mean"][client.name].append(1e6 / trips.mean)
        found["round trip p99"][client.name].append(trips.p99)
    for client in clients:
        found["new connections"][client.name].append(client.connections(effort.connections))
    for count, name in _STREAMS.items() if streams else ():
        for client in clients:
            stream = client.stream(count, effort.mib // (2 if count > 1 else 1))
            found[name][client.name].append(stream.gbits)
            found[f"CPU for 1 GB, {name}"][client.name].append(stream.cpu)


_FEWEST = 4
_LOOK = 500
"""Round trips of which the way is looked at."""
_TRIPS, _STREAMS = "round trips", {1: "TCP, 1 stream", 4: "TCP, 4 streams"}
_T = TypeVar("_T")


def turned(pairs: Sequence[_T], turn: int) -> list[_T]:
    """Each is first, and last, as often as any other, and follows each of its neighbours as often as it precedes it."""
    shift = turn // 2 % len(pairs)
    order = [*pairs[shift:], *pairs[:shift]]
    return order if turn % 2 else order[::-1]


# -- what is said of it ------------------------------------------------------------------------------------------------


def figures_of(case: Case, found: Mapping[str, Samples]) -> Iterator[Figure]:
    """Weft's short way to raw, to the ordinary way, and to what others make; the ordinary way to raw."""
    for measure in _MEASURES:
        samples = found[measure]
        unit, to_raw, to_ordinary = _goals(measure, case)
        others = {HOSTS: to_raw, ORDINARY: to_ordinary}
        for name, least in case.beside.items() if measure not in _ONLY_TOLD else ():
            others[name] = Goal("ratio", least=least) if least and measure == _TRIPS else None
        for name, goal in others.items():
            title = measure if name == HOSTS else ""
            yield paired(Named(f"fast path: {case.title}", title, unit, name), samples[WEFT], samples[name], goal)
        title = f"{measure}, {ORDINARY}"
        yield paired(Named(f"fast path: {case.title}", title, unit, HOSTS), samples[ORDINARY], samples[HOSTS])


_MEASURES: dict[str, tuple[str, Goal | None]] = {
    _TRIPS: ("/s", Goal("ratio", least=1.0)),
    "round trips, mean": ("/s", None),
    "round trip p99": ("µs", None),
    "new connections": ("/s", Goal("ratio", least=0.98)),
    **{name: ("Gbit/s", Goal("ratio", least=1.0)) for name in _STREAMS.values()},
    **{f"CPU for 1 GB, {name}": ("s", None) for name in _STREAMS.values()},
}
_ONLY_TOLD = ("round trips, mean", "round trip p99")
"""With the goal for the ratio of the short way to the ordinary one."""


def _goals(measure: str, case: Case) -> tuple[str, Goal | None, Goal | None]:
    """Unit, goal to raw, goal to the ordinary way."""
    unit, goal = _MEASURES[measure]
    return unit, Goal("ratio", least=case.least) if measure == _TRIPS else None, goal
