"""Names: Weft's server against Docker's embedded one, asked at their own sockets in one container's namespace.

The same client (dnsperf) asks both in turns: names of containers, names that are not there, and names that one other server is
asked about, which answers both of them. And what a table of names takes.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import msgspec

from bench import labs
from bench.engines import Engine, engines
from bench.figures import Figure, Goal, Named, paired, single
from bench.stats import percentile
from weft.base.errors import Failed
from weft.lab import flat
from weft.lab.inside import Inside

HOST, NETWORK = "node-1", "plain"
OURS, THEIRS = "weft", "Docker's embedded DNS"
GROUP = "names, one container"
_LATENCY = re.compile(r"^> \w+ \S+ \S+ ([0-9.]+)$", re.MULTILINE)
_RATE = re.compile(r"Queries per second:\s+([0-9.]+)")
_LOST = re.compile(r"Queries lost:\s+(\d+)")
Progress = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    """In each of the `rounds`, `seconds` with `outstanding` questions at a time and as many with one."""

    rounds: int = 9
    seconds: int = 3
    outstanding: int = 64
    tables: tuple[int, ...] = (10_000, 100_000)


QUICK = Effort(rounds=3, seconds=1)

KINDS = {"own name": 1.0, "no such name": None, "passed on": 1.0, "passed on, asked before": None}
"""What is asked, and the least ratio of rates that is the goal."""


class Place(msgspec.Struct, frozen=True):
    address: str
    port: int


def run(effort: Effort, progress: Progress) -> list[Figure]:
    progress("dns: memory")
    figures = [figure for count in effort.tables for figure in _memory(count)]
    with (
        tempfile.TemporaryDirectory(prefix="weft-bench-") as folder,
        labs.up(flat(1)) as lab,
        engines(lab, (HOST,), Path(folder)) as dockers,
        ExitStack() as stack,
    ):
        engine = dockers[HOST]
        stack.enter_context(labs.started(lab.host(HOST), labs.module("dns_server", "other")))
        client, web = _containers(engine)
        words = labs.module("dns_server", "names", "web", web, _gateway(engine))
        with labs.started(client, words) as server:
            places = {OURS: labs.result(server, Place), THEIRS: _embedded(client)}
            return figures + _rounds(client, places, effort, Path(folder), progress)


def _containers(engine: Engine) -> tuple[Inside, str]:
    """Where questions are asked, and the address of the container that they ask for."""
    engine.docker("network", "create", NETWORK)
    engine.run("web", NETWORK)
    engine.docker(
        "run", "-d", "--name", "client", "--network", NETWORK, "--dns", _gateway(engine), "busybox", "sleep", "100000"
    )
    return engine.container("client", NETWORK)[0], engine.container("web", NETWORK)[1]


def _gateway(engine: Engine) -> str:
    return engine.docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", NETWORK)


def _embedded(client: Inside) -> Place:
    """Docker's own server. Raises Failed."""
    found = re.search(r"127\.0\.0\.11:(\d+)", client.must("ss", ["ss", "-Hlun"]))
    if not found:
        raise Failed("Docker's embedded DNS listens at no port in the container")
    return Place("127.0.0.11", int(found[1]))


def _rounds(client: Inside, places: dict[str, Place], effort: Effort, folder: Path, progress: Progress) -> list[Figure]:
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    fresh = _fresh()
    for number in range(effort.rounds):
        progress(f"dns: round {number + 1} of {effort.rounds}")
        for kind in KINDS:
            names = list(places)
            for name in names if number % 2 else reversed(names):
                rate, times = _asked(client, places[name], effort, folder / "questions", kind, fresh)
                found[kind, name, "rate"].append(rate)
                found[kind, name, "p50"].append(median(times))
                found[kind, name, "p99"].append(percentile(times, 0.99))
    return list(_figures(found))


def _figures(found: dict[tuple[str, str, str], list[float]]) -> Iterator[Figure]:
    for kind, least in KINDS.items():
        goals = {"rate": Goal("ratio", least=least) if least else None}
        goals["p99"] = Goal("ratio", most=0.5) if kind == "own name" else None
        for what, unit in (("rate", "1/s"), ("p50", "µs"), ("p99", "µs")):
            values, references = found[kind, OURS, what], found[kind, THEIRS, what]
            yield paired(Named(GROUP, f"{kind}: {what}", unit, THEIRS), values, references, goals.get(what))


def _fresh() -> Iterator[int]:
    yield from range(2**31)


def _asked(
    client: Inside, place: Place, effort: Effort, file: Path, kind: str, fresh: Iterator[int]
) -> tuple[float, list[float]]:
    """Questions per second, and the microseconds that each one took when it was the only one. Raises Failed."""

    def run(outstanding: int, *options: str) -> str:
        start = next(fresh)
        names = {
            "own name": ["web"],
            "no such name": ["missing"],
            "passed on": [f"n{start}-{n}.example.org" for n in range(200_000 if outstanding > 1 else 40_000)],
            "passed on, asked before": ["www.example.org"],
        }[kind]
        file.write_text("".join(f"{name} A\n" for name in names))
        words = ["dnsperf", "-s", place.address, "-p", str(place.port), "-d", str(file), "-q", str(outstanding)]
        done = client.must("dnsperf", [*words, "-l", str(effort.seconds), *options])
        lost = _LOST.search(done)
        if not lost or int(lost[1]) > outstanding:
            raise Failed(f"{kind}: questions were lost: {done[-300:]}")
        return done

    rate = _RATE.search(run(effort.outstanding))
    times = [1e6 * float(found) for found in _LATENCY.findall(run(1, "-v"))]
    if not rate or not times:
        raise Failed(f"dnsperf: {kind} was not answered at {place.address} port {place.port}")
    return float(rate[1]), times


def _memory(count: int) -> list[Figure]:
    done = subprocess.run(labs.module("dns_server", "memory", str(count)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"dns_server: {done.stderr.strip()[-300:]}")
    names, whole = map(float, done.stdout.split())
    group = f"a table of {count:,} names"
    return [
        single(Named(group, "names", "MB"), names, [names]),
        single(Named(group, "with what is known of the containers", "MB"), whole, [whole]),
    ]
