"""Throughput and round trips across hosts, for each data path, like for like.

Labs of their own: containers on node-1 and node-2 by Weft, on node-3 and node-4 wired by hand, on node-5 and node-6 wired
by hand with masquerading; two more, node-7 and node-8, have Weft's `vxlan` where that is compared with, from a cluster of
their own: its rules are none of node-1's. All are on one segment, or (`across`) those with even numbers behind a router.
Weft's networks are measured twice: without masquerading (`-O masquerade=false`), as what is wired with ip(8) alone has
none, and with it, as they come. Every round measures each of the pairs, and node-3 to node-4 without containers, one after
the other in changing order; ratios are taken within a round.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec

from bench import labs, wired, wired_routed
from bench.figures import Figure, Goal, Named, paired
from bench.traffic import Pair, serving
from weft.base.errors import Failed
from weft.lab import Lab, flat
from weft.model.network import OptionValue

WEFT, WIRED, RULES, HOSTS, BESIDE = "weft", "by hand", "by hand + masquerade", "hosts", "weft's vxlan"
WEFT_HOSTS, BESIDE_HOSTS = ("node-1", "node-2"), ("node-7", "node-8")
VARIANTS: dict[str, dict[str, OptionValue]] = {WIRED: {"masquerade": False}, RULES: {}}
"""What is wired by hand, and the options that make Weft do the same."""
AT_LEAST, AT_MOST = 0.98, 1 / 0.98
Progress = Callable[[str], None]
_REACHED_SECONDS = 30.0


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One of Weft's networks. `beside`: the container is also measured in a network of driver vxlan. `like`: the driver
    as which what is compared with is wired by hand, "": its own. `mtu`: None: as it comes. `plain`: nothing to choose about
    masquerading."""

    title: str
    driver: str
    options: dict[str, OptionValue] = {}
    across: bool = False
    beside: bool = False
    like: str = ""
    mtu: int | None = None
    plain: bool = False

    @property
    def by_hand(self) -> str:
        """The address of the second host's container that is wired by hand."""
        return wired_routed.address(2) if self.driver == "routed" else wired.address(self.wired, 2)

    @property
    def wired(self) -> str:
        return self.like or self.driver

    @property
    def variants(self) -> dict[str, dict[str, OptionValue]]:
        return {RULES: {}} if self.plain else VARIANTS


CASES = (
    Case(title="vxlan", driver="vxlan"),
    Case(title="host-gw", driver="host-gw"),
    Case(title="mesh", driver="mesh", like="vxlan", mtu=1450, plain=True),
    Case(title="routed", driver="routed", options={"encap": "never"}, beside=True),
    Case(
        title="routed across subnets",
        driver="routed",
        options={"encap": "vxlan-cross-subnet"},
        across=True,
        beside=True,
    ),
)
DRIVERS = tuple(dict.fromkeys(case.driver for case in CASES))
_SUBNETS = {"vxlan": "10.61.0.0/16", "host-gw": "10.62.0.0/16", "routed": "10.63.0.0/16", "mesh": "10.68.0.0/16"}


class Effort(msgspec.Struct, frozen=True):
    """`mib` of each TCP run over one stream, twice that over four, `trips` of each round-trip run, `rounds` of everything."""

    rounds: int = 11
    mib: int = 512
    trips: int = 20_000


QUICK = Effort(rounds=3, mib=256, trips=3_000)
Samples = dict[str, list[float]]
"""By variant, one for each round."""


def run(effort: Effort, progress: Progress, drivers: Sequence[str] = DRIVERS) -> list[Figure]:
    figures = []
    for across in (False, True):
        cases = [case for case in CASES if case.across == across and case.driver in drivers]
        if cases:
            figures += _in_one_lab(cases, across, effort, progress)
    return figures


def _in_one_lab(cases: Sequence[Case], across: bool, effort: Effort, progress: Progress) -> list[Figure]:
    beside = BESIDE_HOSTS if any(case.beside for case in cases) else ()
    topology = flat(6 + len(beside))
    with labs.up(labs.apart(topology) if across else topology, agents=WEFT_HOSTS, beside=beside) as lab:
        progress("datapath: wiring")
        for hosts, masquerade in ((("node-3", "node-4"), False), (("node-5", "node-6"), True)):
            if not across:
                wired.wire(lab, hosts, masquerade=masquerade)
            wired_routed.wire(lab, hosts, masquerade=masquerade, across=across)
        return [
            figure
            for case in cases
            for against, options in case.variants.items()
            for figure in _variant(lab, case, against, options, effort, progress)
        ]


def _variant(
    lab: Lab, case: Case, against: str, options: dict[str, OptionValue], effort: Effort, progress: Progress
) -> list[Figure]:
    with ExitStack() as stack:
        stack.enter_context(_network(lab, WEFT_HOSTS, case.driver, {**case.options, **options}, case.mtu))
        if case.beside:
            stack.enter_context(_network(lab, BESIDE_HOSTS, "vxlan", options))
        return _measure(lab, case, against, effort, progress)


@contextmanager
def _network(
    lab: Lab, hosts: tuple[str, str], driver: str, options: dict[str, OptionValue], mtu: int | None = None
) -> Iterator[None]:
    """Called as its driver is, and so are its containers, one on each of these hosts."""
    labs.create(lab, hosts[0], driver, driver, _SUBNETS[driver], options, mtu)
    try:
        for host in hosts:
            lab.run(host, driver, network=driver)
        _reached(lab, hosts, driver)
        yield
    finally:
        for host in hosts:
            if lab.network_of(host, driver):
                lab.rm(host, driver)
        labs.client(lab, hosts[0]).remove_network(driver)


def _reached(lab: Lab, hosts: tuple[str, str], name: str) -> None:
    """A routed network's blocks are spread by BGP, which takes a moment. Raises Failed."""
    target, deadline, never = labs.address(lab, hosts[1], name), time.monotonic() + _REACHED_SECONDS, threading.Event()
    while lab.host(hosts[0]).container(name).run(["ping", "-c1", "-W1", target]).returncode:
        if time.monotonic() > deadline:
            raise Failed(
                f"{name}: no answer from {target} after {_REACHED_SECONDS:.0f} s: {lab.agent(hosts[0]).tail()}"
            )
        never.wait(0.1)


def _pairs(lab: Lab, case: Case, against: str) -> list[Pair]:
    def containers(name: str, hosts: tuple[str, str], address: str, container: str = case.wired) -> Pair:
        one, two = (lab.host(host).container(container) for host in hosts)
        return Pair(name, one, two, address)

    def weft(name: str, hosts: tuple[str, str], driver: str) -> Pair:
        return containers(name, hosts, labs.address(lab, hosts[1], driver), driver)

    by_hand = ("node-3", "node-4") if against == WIRED else ("node-5", "node-6")
    plain = str(lab.topology.place("node-4").addresses[0].ip)
    pairs = [
        weft(WEFT, WEFT_HOSTS, case.driver),
        containers(against, by_hand, case.by_hand),
        Pair(HOSTS, lab.host("node-3"), lab.host("node-4"), plain),
    ]
    if case.beside:
        pairs.append(weft(BESIDE, BESIDE_HOSTS, "vxlan"))
    return pairs


def _measure(lab: Lab, case: Case, against: str, effort: Effort, progress: Progress) -> list[Figure]:
    pairs = _pairs(lab, case, against)
    with ExitStack() as servers:
        for pair in pairs:
            servers.enter_context(serving(pair.server))
        found: dict[str, Samples] = defaultdict(lambda: defaultdict(list))
        for number in range(effort.rounds):
            progress(f"datapath: {case.title}, {against}, round {number + 1} of {effort.rounds}")
            measure_all(pairs, number, effort, found)
    return [
        figure
        for measure, (unit, goal) in MEASURES.items()
        for figure in _figures(f"datapath {case.title}, {against}", measure, unit, goal, found[measure])
    ]


def measure_all(pairs: Sequence[Pair], number: int, effort: Effort, found: dict[str, Samples]) -> None:
    """One round."""
    shift = number % len(pairs)
    order = [*pairs[shift:], *pairs[:shift]]
    for pair in order if number % 2 else reversed(order):
        found["TCP, 1 stream"][pair.name].append(pair.throughput(effort.mib, 1))
    for pair in order if number % 2 else reversed(order):
        found["TCP, 4 streams"][pair.name].append(pair.throughput(2 * effort.mib, 4))
    for pair in order if number % 2 else reversed(order):
        percentiles = pair.round_trips(effort.trips)
        found["round trip p50"][pair.name].append(percentiles[50])
        found["round trip p99"][pair.name].append(percentiles[99])


MEASURES: dict[str, tuple[str, Goal]] = {
    "TCP, 1 stream": ("Gbit/s", Goal("ratio", least=AT_LEAST)),
    "TCP, 4 streams": ("Gbit/s", Goal("ratio", least=AT_LEAST)),
    "round trip p50": ("µs", Goal("ratio", most=round(AT_MOST, 3))),
    "round trip p99": ("µs", Goal("ratio", most=round(AT_MOST, 3))),
}


def _figures(group: str, measure: str, unit: str, goal: Goal, found: Samples) -> list[Figure]:
    """Against what is wired by hand and against Weft's vxlan, where the goals are, and for orientation against the hosts
    themselves."""
    by_hand = next(name for name in found if name in VARIANTS)
    above = Goal("ratio", least=1.0) if goal.least is not None else Goal("ratio", most=1.0)
    goals = {by_hand: goal, HOSTS: None, BESIDE: above}
    return [
        paired(Named(group, measure if other == by_hand else "", unit, other), found[WEFT], found[other], wanted)
        for other, wanted in goals.items()
        if other in found
    ]
