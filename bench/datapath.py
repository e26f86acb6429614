"""Throughput and round trips across hosts, for each data path, like for like.

One lab, all hosts on one segment: containers on node-1 and node-2 by Weft, on node-3 and node-4 wired by hand, on node-5
and node-6 wired by hand with masquerading. Weft's networks are measured twice: without masquerading (`-o
masquerade=false`), as what is wired with ip(8) alone has none, and with it, as they come. Every round measures each of
the pairs, and node-3 to node-4 without containers, one after the other in changing order; ratios are taken within a round.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import msgspec

from bench import labs, wired
from bench.figures import Figure, Goal, Named, paired
from bench.traffic import Pair, serving
from weft.lab import Lab, flat
from weft.model.network import OptionValue

DRIVERS = ("vxlan", "host-gw")
WEFT, WIRED, RULES, HOSTS = "weft", "by hand", "by hand + masquerade", "hosts"
VARIANTS: dict[str, dict[str, OptionValue]] = {WIRED: {"masquerade": False}, RULES: {}}
"""What is wired by hand, and the options that make Weft do the same."""
AT_LEAST, AT_MOST = 0.98, 1 / 0.98
Progress = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    """`mib` of each TCP run over one stream, twice that over four, `trips` of each round-trip run, `rounds` of everything."""

    rounds: int = 11
    mib: int = 512
    trips: int = 20_000


QUICK = Effort(rounds=3, mib=256, trips=3_000)
Samples = dict[str, list[float]]
"""By variant, one for each round."""


def run(effort: Effort, progress: Progress) -> list[Figure]:
    with labs.up(flat(6), agents=("node-1", "node-2")) as lab:
        progress("datapath: wiring")
        wired.wire(lab, ("node-3", "node-4"), masquerade=False)
        wired.wire(lab, ("node-5", "node-6"), masquerade=True)
        return [
            figure
            for driver in DRIVERS
            for against, options in VARIANTS.items()
            for figure in _variant(lab, driver, against, options, effort, progress)
        ]


def _variant(
    lab: Lab, driver: str, against: str, options: dict[str, OptionValue], effort: Effort, progress: Progress
) -> list[Figure]:
    labs.create(lab, "node-1", driver, driver, f"10.{61 + DRIVERS.index(driver)}.0.0/16", options)
    for host in ("node-1", "node-2"):
        lab.run(host, driver, network=driver)
    try:
        return _measure(lab, driver, against, effort, progress)
    finally:
        for host in ("node-1", "node-2"):
            lab.rm(host, driver)
        labs.client(lab, "node-1").remove_network(driver)


def _pairs(lab: Lab, driver: str, against: str) -> list[Pair]:
    def containers(name: str, one: str, two: str, address: str) -> Pair:
        return Pair(name, lab.host(one).container(driver), lab.host(two).container(driver), address)

    by_hand = wired.address(driver, 2)
    hosts = ("node-3", "node-4") if against == WIRED else ("node-5", "node-6")
    plain = str(lab.topology.place("node-4").addresses[0].ip)
    return [
        containers(WEFT, "node-1", "node-2", labs.address(lab, "node-2", driver)),
        containers(against, *hosts, by_hand),
        Pair(HOSTS, lab.host("node-3"), lab.host("node-4"), plain),
    ]


def _measure(lab: Lab, driver: str, against: str, effort: Effort, progress: Progress) -> list[Figure]:
    pairs = _pairs(lab, driver, against)
    with ExitStack() as servers:
        for pair in pairs:
            servers.enter_context(serving(pair.server))
        found: dict[str, Samples] = defaultdict(lambda: defaultdict(list))
        for number in range(effort.rounds):
            progress(f"datapath: {driver}, {against}, round {number + 1} of {effort.rounds}")
            measure_all(pairs, number, effort, found)
    return [
        figure
        for measure, (unit, goal) in MEASURES.items()
        for figure in _figures(f"{driver}, {against}", measure, unit, goal, found[measure])
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
    """Against what is wired by hand, where the goal is, and for orientation against the hosts themselves."""
    by_hand = next(name for name in found if name in VARIANTS)
    return [
        paired(Named(group, measure if wanted else "", unit, other), found[WEFT], found[other], wanted)
        for other, wanted in ((by_hand, goal), (HOSTS, None))
    ]
