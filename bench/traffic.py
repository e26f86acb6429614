"""Load between two places of a lab: TCP streams by iperf3(1), round trips by `bench.pingpong`, new
connections by `bench.connects`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench import connects, pingpong
from weft.base.errors import Failed, Unsupported
from weft.lab.inside import Inside, InsideProcess

IPERF_PORT = 5201
PINGPONG_PORT = 5202
CONNECTS_PORT = 5204
SCRIPT = str(Path(pingpong.__file__).resolve())
_CONNECTS = str(Path(connects.__file__).resolve())
PYTHON = (sys.executable, "-I", "-S")
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

    def _run(self, words: list[str]) -> str:
        done = self.client.run(words, timeout=_LONGEST)
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()[-300:]
            raise Failed(f"{self.name}: {words[3]} from {self.client.name} to {self.address}: {said}")
        return done.stdout


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
def running(place: Inside, words: list[str], ready: str) -> Iterator[InsideProcess]:
    """`words` as a process, from its line `ready` on; ended with the block."""
    with place.popen(words, stderr=subprocess.STDOUT) as process:
        assert process.stdout
        try:
            _await(process.stdout, ready, place.name)
            yield process
        finally:
            process.terminate()
            process.stdout.close()


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
