"""Weft's `overlay` against Docker's own, and against the same wired by hand: data path and start of a container.

One lab, one segment. Containers by Docker: on node-1 and node-2 in Weft's network by the plugin, on node-3 and node-4 in
an attachable overlay network of a swarm. Without Docker: on node-5 and node-6 wired by hand, on node-7 and node-8 in
Weft's network. So each of Weft's pairs has its like beside it. The rest is as in `bench.datapath`.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import msgspec

from bench import datapath, labs, wired
from bench.engines import Engine, engines, swarm
from bench.figures import Figure, Goal, Named, paired
from bench.traffic import Pair, serving
from weft.lab import Lab, flat

NETWORK, PLAIN, SUBNET, DOCKERS = "overlay", "plain", "10.61.0.0/16", "10.62.0.0/16"
WITH, OWN, HAND, BARE = "weft, Docker's containers", "Docker's overlay", "by hand", "weft"
AGAINST = ((WITH, OWN), (BARE, HAND))
Progress = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    """`starts`: how often a container is started, each way. The rest: see `bench.datapath`."""

    traffic: datapath.Effort = datapath.Effort()
    starts: int = 15


QUICK = Effort(traffic=datapath.QUICK, starts=4)


def run(effort: Effort, progress: Progress) -> list[Figure]:
    weft = ("node-1", "node-2", "node-7", "node-8")
    with (
        tempfile.TemporaryDirectory(prefix="weft-bench-") as folder,
        labs.up(flat(8), agents=weft) as lab,
        engines(lab, ("node-1", "node-2", "node-3", "node-4"), Path(folder)) as dockers,
    ):
        progress("docker: networks")
        labs.create(lab, "node-1", NETWORK, "overlay", SUBNET)
        pairs = [*_by_docker(lab, dockers), *_without(lab)]
        figures = _starts(dockers, effort.starts, progress)
        return [*_traffic(pairs, effort.traffic, progress), *figures]


def _by_docker(lab: Lab, dockers: dict[str, Engine]) -> list[Pair]:
    one, two, three, four = dockers.values()
    for engine in (one, two):
        engine.start_plugin()
        options = ("-d", "weft", "--ipam-driver", "weft", "-o", f"weft.network={NETWORK}")
        engine.docker("network", "create", *options, "--subnet", SUBNET, NETWORK)
    swarm(three, four, (_underlay(lab, "node-3"), _underlay(lab, "node-4")))
    three.docker("network", "create", "-d", "overlay", "--attachable", "--subnet", DOCKERS, NETWORK)
    for engine in dockers.values():
        engine.run("first", NETWORK)
    return [_docker_pair(WITH, one, two), _docker_pair(OWN, three, four)]


def _docker_pair(name: str, client: Engine, server: Engine) -> Pair:
    place, address = server.container("first", NETWORK)
    return Pair(name, client.container("first", NETWORK)[0], place, address)


def _without(lab: Lab) -> list[Pair]:
    wired.wire_overlay(lab, ("node-5", "node-6"))
    for host in ("node-7", "node-8"):
        lab.run(host, NETWORK, network=NETWORK)

    one, two, three, four = (lab.host(f"node-{n}").container(NETWORK) for n in (5, 6, 7, 8))
    return [Pair(HAND, one, two, wired.OVERLAY[1]), Pair(BARE, three, four, labs.address(lab, "node-8", NETWORK))]


def _underlay(lab: Lab, host: str) -> str:
    return str(lab.topology.place(host).addresses[0].ip)


def _traffic(pairs: list[Pair], effort: datapath.Effort, progress: Progress) -> list[Figure]:
    found: dict[str, datapath.Samples] = defaultdict(lambda: defaultdict(list))
    with ExitStack() as servers:
        for pair in pairs:
            servers.enter_context(serving(pair.server))
        for number in range(effort.rounds):
            progress(f"docker: traffic, round {number + 1} of {effort.rounds}")
            datapath.measure_all(pairs, number, effort, found)
    return [
        paired(
            Named(f"datapath overlay, {mine}", measure, unit, other), found[measure][mine], found[measure][other], goal
        )
        for mine, other in AGAINST
        for measure, (unit, goal) in datapath.MEASURES.items()
    ]


def _starts(dockers: dict[str, Engine], count: int, progress: Progress) -> list[Figure]:
    """Of `docker run` with a network less `docker run` without, each time."""
    ours, theirs = dockers["node-1"], dockers["node-3"]
    theirs.docker("network", "create", PLAIN)
    turns = [(ours, "none"), (theirs, "none"), (ours, NETWORK), (theirs, NETWORK), (theirs, PLAIN)]
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(count):
        progress(f"docker: start {number + 1} of {count}")
        shift = number % len(turns)
        for engine, network in (*turns[shift:], *turns[:shift]):
            took[engine.host.name, network].append(engine.run("next", network) * 1000)
            engine.docker("rm", "-f", "next")
    group = "docker run with a network, less without"
    without = {name: median(took[name, "none"]) for name in ("node-1", "node-3")}
    more = {key: [value - without[key[0]] for value in values] for key, values in took.items()}
    weft, overlay, plain = more["node-1", NETWORK], more["node-3", NETWORK], more["node-3", PLAIN]
    return [
        paired(Named(group, "weft overlay", "ms", OWN), weft, overlay, Goal("ratio", most=0.25)),
        paired(Named(group, "", "ms", "Docker's bridge"), weft, plain),
        paired(Named(group, "in all", "ms", OWN), took["node-1", NETWORK], took["node-3", NETWORK]),
        paired(
            Named(group, "without a network", "ms", f"{OWN}'s host"), took["node-1", "none"], took["node-3", "none"]
        ),
    ]
