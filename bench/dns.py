"""Names: Weft's server against Docker's embedded one, asked at their own sockets in one container's namespace.

The same client asks both in turns: names of containers, names that are not there, and names that one other server is
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
from bench.dns_server import Asked
from bench.engines import Engine, engines
from bench.figures import Figure, Goal, Named, paired, single
from bench.stats import percentile
from weft.base.errors import Failed
from weft.lab import flat
from weft.lab.inside import Inside
from weft.lab.process import children
from weft.model import decode

HOST, NETWORK = "node-1", "plain"
OURS, THEIRS = "weft", "Docker's embedded DNS"
GROUP = "names, one container"
Progress = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    """In each of the `rounds`, `seconds` with `outstanding` questions at a time and as many with one."""

    rounds: int = 9
    seconds: int = 2
    outstanding: int = 64
    tables: tuple[int, ...] = (10_000, 100_000)


QUICK = Effort(rounds=3, seconds=1)

KINDS = {
    "own name": "web",
    "no such name": "missing",
    "passed on": "n*.example.org",
    "passed on, asked before": "www.example.org",
}
"""What is asked."""
_RATE, _P99 = ("own name", "passed on"), ("own name",)
"""Those with goals."""


class Place(msgspec.Struct, frozen=True):
    """Where a server is asked. `pid`: its process."""

    address: str
    port: int
    pid: int = 0


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
            ours = msgspec.structs.replace(labs.result(server, Place), pid=_innermost(server.pid))
            places = {OURS: ours, THEIRS: _embedded(client, engine.processes[0].pid)}
            return figures + _rounds(client, places, effort, progress)


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


def _innermost(pid: int) -> int:
    """Behind those that only brought it into namespaces."""
    while inner := children(pid):
        pid = inner[0]
    return pid


def _embedded(client: Inside, pid: int) -> Place:
    """Docker's own server. Raises Failed."""
    found = re.search(r"127\.0\.0\.11:(\d+)", client.must("ss", ["ss", "-Hlun"]))
    if not found:
        raise Failed("Docker's embedded DNS listens at no port in the container")
    return Place("127.0.0.11", int(found[1]), pid)


def _rounds(client: Inside, places: dict[str, Place], effort: Effort, progress: Progress) -> list[Figure]:
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for number in range(effort.rounds):
        progress(f"dns: round {number + 1} of {effort.rounds}")
        for kind in KINDS:
            for name in list(places) if number % 2 else reversed(places):
                before = labs.cpu(places[name].pid)
                many = _asked(client, places[name], kind, effort, effort.outstanding)
                used = 1e6 * (labs.cpu(places[name].pid) - before) / len(many.times)
                found[kind, name, "rate"].append(many.rate)
                found[kind, name, "CPU time of an answer"].append(used)
                times = _asked(client, places[name], kind, effort, 1).times
                found[kind, name, "p50"].append(median(times))
                found[kind, name, "p99"].append(percentile(times, 0.99))
    return list(_figures(found))


def _asked(client: Inside, place: Place, kind: str, effort: Effort, outstanding: int) -> Asked:
    """Raises Failed."""
    words = (place.address, place.port, KINDS[kind], effort.seconds, outstanding)
    return decode(Asked, client.must(kind, labs.module("dns_server", "ask", *map(str, words))).encode())


def _figures(found: dict[tuple[str, str, str], list[float]]) -> Iterator[Figure]:
    for kind in KINDS:
        rate, p99 = Goal("ratio", least=1.0), Goal("ratio", most=0.5)
        goals = {"rate": rate if kind in _RATE else None, "p99": p99 if kind in _P99 else None}
        for what, unit in (("rate", "1/s"), ("CPU time of an answer", "µs"), ("p50", "µs"), ("p99", "µs")):
            values, references = found[kind, OURS, what], found[kind, THEIRS, what]
            yield paired(Named(GROUP, f"{kind}: {what}", unit, THEIRS), values, references, goals.get(what))


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
