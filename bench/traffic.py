"""Load between two places of a lab: TCP streams by iperf3(1), round trips by `bench.pingpong`, new
connections by `bench.connects`; all of these in short turns by `bench.bursts`."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

from bench import bursts, connects, pingpong
from weft.base.errors import Failed, Unsupported
from weft.lab.inside import Inside, InsideProcess

IPERF_PORT = 5201
PINGPONG_PORT = 5202
CONNECTS_PORT = 5204
BURSTS_PORT = 5205
SCRIPT = str(Path(pingpong.__file__).resolve())
_CONNECTS = str(Path(connects.__file__).resolve())
PYTHON = (sys.executable, "-I", "-S")
_BURSTS = str(Path(bursts.__file__).resolve())
_LONGEST = 30.0
"""Seconds a client may take; a hundredth of that is usual."""


@dataclass(frozen=True)
class Pair:
    """Load goes from `client` to `server`, which is reached at `address`."""

    name: str
    client: Inside
    server: Inside
    address: str

    def throughput(self, mib: int, streams: int) -> float:
        """Gbit/s of TCP payload received, over so many MiB in all."""
        words = ["iperf3", "-J", "-c", self.address, "-p", str(IPERF_PORT), "-n", f"{mib}M", "-P", str(streams)]
        report = json.loads(self._run([*_pinned(0), *words]))
        return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9

    def round_trips(self, count: int) -> list[float]:
        """Percentiles 0 to 100, in µs."""
        words = [*PYTHON, SCRIPT, "ask", self.address, str(PINGPONG_PORT), str(count)]
        return [ns / 1000 for ns in json.loads(self._run([*_pinned(1), *words]))]

    def connections(self, count: int, *others: str) -> list[float]:
        """New TCP connections in a second, one after the other: to its address and, in turns, to these."""
        words = [*PYTHON, _CONNECTS, "turns", str(CONNECTS_PORT), str(count), self.address, *others]
        return [float(each) for each in json.loads(self._run([*_pinned(1), *words]))]

    @contextmanager
    def bursting(self) -> Iterator[Bursts]:
        """Of load of all kinds, to servers of its own."""
        ports = map(str, (PINGPONG_PORT, CONNECTS_PORT, BURSTS_PORT))
        words = [*_pinned(1), *PYTHON, _BURSTS, "ask", self.address, *ports]
        with ExitStack() as stack:
            stack.enter_context(echoing(self.server))
            stack.enter_context(taking_connections(self.server))
            sink = [*_pinned(0), *PYTHON, _BURSTS, "serve", str(BURSTS_PORT)]
            stack.enter_context(running(self.server, sink, "ready"))
            client = stack.enter_context(running(self.client, words, "ready", stdin=subprocess.PIPE))
            yield Bursts(self.name, client)

    def _run(self, words: list[str]) -> str:
        done = self.client.run(words, timeout=_LONGEST)
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()[-300:]
            raise Failed(f"{self.name}: {words[3]} from {self.client.name} to {self.address}: {said}")
        return done.stdout


@dataclass(frozen=True)
class Bursts:
    """A client that is there already (`bench.bursts`)."""

    name: str
    process: InsideProcess

    def trips(self, count: int) -> Trips:
        return Trips(*self._asked(f"trips {count}"))

    def connections(self, count: int) -> float:
        """In a second, one after the other."""
        return 1e6 / self._asked(f"connections {count}")[0]

    def stream(self, streams: int, mib: int) -> Stream:
        """So many MiB over each of them, all at once."""
        octets, before = mib << 20, _softirq()
        took, cpu = self._asked(f"stream {streams} {octets}")
        return Stream(octets * streams * 8 / 1e9 / took, (cpu + _softirq() - before) / (octets * streams / 1e9))

    def _asked(self, what: str) -> list[float]:
        """Raises Failed."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], _LONGEST)
        line = self.process.stdout.readline() if ready else ""
        try:
            return [float(word) for word in line.split() or [""]]
        except ValueError:
            said = line.strip() or f"no answer within {_LONGEST:.0f} s"
            raise Failed(f"{self.name}: {what}: {said}") from None


class Trips(NamedTuple):
    """Of round trips, in µs."""

    p50: float
    p99: float
    mean: float


class Stream(NamedTuple):
    """`gbits`: of TCP payload a second. `cpu`: seconds of CPU time for 10⁹ octets of it, of both ends together. What the kernel
    does for a packet it does in the name of the thread that sends or takes it, or of a ksoftirqd, and that is all that is
    counted: not what else the machine has to do."""

    gbits: float
    cpu: float


@contextmanager
def serving(place: Inside) -> Iterator[None]:
    """Servers for both kinds of load run in `place`."""
    if shutil.which("iperf3") is None:
        raise Unsupported("iperf3 is not installed: `apt install iperf3`")
    iperf = ["iperf3", "-s", "--forceflush", "-p", str(IPERF_PORT)]
    with running(place, [*_pinned(1), *iperf], "Server listening"), echoing(place):
        yield


@contextmanager
def echoing(place: Inside, port: int = PINGPONG_PORT) -> Iterator[None]:
    with running(place, [*_pinned(1), *PYTHON, SCRIPT, "serve", str(port)], "ready"):
        yield


@contextmanager
def taking_connections(place: Inside) -> Iterator[None]:
    with running(place, [*_pinned(1), *PYTHON, _CONNECTS, "serve", str(CONNECTS_PORT)], "ready"):
        yield


@contextmanager
def running(place: Inside, words: list[str], ready: str, stdin: int = subprocess.DEVNULL) -> Iterator[InsideProcess]:
    """`words` as a process, from its line `ready` on; ended with the block."""
    with place.popen(words, stdin=stdin, stderr=subprocess.STDOUT) as process:
        assert process.stdout
        try:
            _await(process.stdout, ready, place.name)
            yield process
        finally:
            process.terminate()
            process.stdout.close()


def _softirq() -> float:
    """Seconds of CPU time of the kernel's threads that handle packets which nobody else does (/proc/PID/schedstat)."""
    return sum(int((pid / "schedstat").read_text().split()[0]) for pid in _ksoftirqd()) / 1e9


@cache
def _ksoftirqd() -> tuple[Path, ...]:
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            if path.read_text().startswith("ksoftirqd/"):
                found.append(path.parent)
    return tuple(found)


def _await(output: IO[str], ready: str, where: str) -> None:
    for line in output:
        if ready in line:
            return
    raise Failed(f"{where}: ended before it said '{ready}'")


def _pinned(cpu: int) -> list[str]:
    """On one CPU, the same in every variant: where the scheduler puts things changes more than anything measured here.
    iperf3's two ends have a CPU each; a round trip's share one, so that waking the other CPU is not what is measured."""
    cpus = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cpus[cpu % len(cpus)])]
