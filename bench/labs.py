"""Labs for benchmarks: their own name, and only the agents that are asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

import weft
from weft.base.errors import Failed, NotFound
from weft.base.net import parse_interface, parse_network
from weft.client import Client
from weft.lab import Lab, Topology
from weft.lab.inside import Inside, InsideProcess
from weft.lab.lab import agent_command
from weft.model import Network, decode
from weft.model.network import OptionValue

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
_STARTED_SECONDS = 20.0


@contextmanager
def up(
    topology: Topology, *, agents: Sequence[str] = (), beside: Sequence[str] = (), store: str = "sqlite"
) -> Iterator[Lab]:
    """`beside`: agents that make a cluster of their own: they have none of the others' networks."""
    with Lab.up(topology, name=f"bench-{os.getpid()}", store=store, agents=False) as lab:
        other = f"sqlite://{lab.directory}/store/beside.db"
        lab.agent_command = lambda host, url: agent_command(host, other if host in beside else url)
        for agent in [lab.agent(host) for host in (*agents, *beside)]:
            agent.start()
        for agent in [lab.agent(host) for host in (*agents, *beside)]:
            agent.wait_ready()
        for host in (*agents, *beside):
            wait_started(lab, host)
        yield lab


def apart(topology: Topology) -> Topology:
    """Its hosts with even numbers on segment b, behind the router."""
    places = []
    for number, place in enumerate(topology.hosts, 1):
        addresses = (f"{router.ip + number + 9}/{router.network.prefixlen}" for router in topology.router["b"])
        there = msgspec.structs.replace(place, segment="b", addresses=tuple(map(parse_interface, addresses)))
        places.append(place if number % 2 else there)
    return msgspec.structs.replace(topology, hosts=tuple(places))


def wait_started(lab: Lab, host: str) -> None:
    """An agent answers before it knows its uplink and the store. Raises Failed."""
    deadline, process = time.monotonic() + _STARTED_SECONDS, lab.agent(host).process()
    while process and time.monotonic() < deadline:
        if client(lab, host).status().state != "starting":
            return
        process.wait(0.02)
    raise Failed(f"{host}'s agent has not started within {_STARTED_SECONDS:.0f} s: {lab.agent(host).tail()}")


def importable() -> None:
    """Programs started from here find `bench` and `weft` where this one did."""
    paths = [str(ROOT), str(Path(weft.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def module(name: str, *words: str) -> list[str]:
    """A module of this package as a command."""
    return [sys.executable, "-m", f"bench.{name}", *words]


def client(lab: Lab, host: str) -> Client:
    return Client(str(lab.host(host).socket))


def create(
    lab: Lab,
    host: str,
    name: str,
    driver: str,
    subnet: str,
    options: dict[str, OptionValue] | None = None,
    mtu: int | None = None,
) -> None:
    network = Network(name=name, driver=driver, subnets=(parse_network(subnet),), options=options or {}, mtu=mtu)
    client(lab, host).create_network(network)


def address(lab: Lab, host: str, network: str) -> str:
    """Of the container on `host` in `network`. Raises NotFound."""
    for endpoint in client(lab, host).endpoints(network, host):
        return str(endpoint.addresses[0].ip)
    raise NotFound(f"no endpoint on {host} in {network}: its container was not attached")


@contextmanager
def started(place: Inside, words: list[str]) -> Iterator[InsideProcess]:
    """As a process, from its line "ready" on; ended with the block."""
    with place.popen(words, stdin=subprocess.PIPE) as process:
        try:
            assert process.stdout
            if process.stdout.readline().strip() != "ready":
                said = process.communicate()[1].strip().splitlines()
                raise Failed(f"{words[2]}: {' | '.join(said[-3:]) or 'it ended before it was ready'}")
            yield process
        finally:
            process.terminate()


def result(process: InsideProcess, kind: type[T]) -> T:
    """The last thing it says. Raises Failed."""
    assert process.stdout and process.stderr
    line = process.stdout.readline()
    if not line:
        raise Failed(f"it ended: {' | '.join(process.stderr.read().strip().splitlines()[-3:])}")
    return decode(kind, line.encode())


def cpu(pid: int) -> float:
    """Seconds of CPU time (proc_pid_stat(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Resident set in MB (10⁶ octets), file pages that others share included."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024 / 1e6
