"""Weft's services beside a real Docker Swarm's, in one machine: the same state of the kernel, and what a virtual address costs.

`./dev test vm -- -m figures -k swarm -rP` shows it. The machine is emulated: only ratios mean anything.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from statistics import median

import pytest

from support.balanced import Scene
from support.namespaces import Home
from support.swarm import Swarm, inside, swarm
from weft.services.model import Service, ServicePort

ROOT = Path(__file__).parents[2]
CONNECTIONS, TRIPS, ROUNDS = 200, 300, 5
CONNECT, PING = 80, 81
PROGRAMS = {CONNECT: "connects", PING: "pingpong"}
VIP = ip_address("40.15.255.1")
PORTS = tuple(ServicePort(port=port) for port in PROGRAMS)
WEB = Service(name="web", network="blue", addresses=(VIP,), members=("a", "b"), ports=PORTS)
BALANCERS = ("nft", "ipvs")


@contextmanager
def serving(*namespaces: str) -> Iterator[None]:
    with ExitStack() as stack:
        for ns in namespaces:
            for port, program in PROGRAMS.items():
                words = [
                    "nsenter",
                    f"--net={ns}",
                    sys.executable,
                    str(ROOT / f"bench/{program}.py"),
                    "serve",
                    str(port),
                ]
                process = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
                stack.callback(process.terminate)
                assert process.stdout and process.stdout.readline() == "ready\n"
        yield


def _asked(client: str, port: int, address: str, count: int) -> str:
    return inside(
        client, sys.executable, str(ROOT / f"bench/{PROGRAMS[port]}.py"), "ask", address, str(port), str(count)
    )


def connections(client: str, address: str) -> float:
    """A second."""
    return CONNECTIONS / float(_asked(client, CONNECT, address, CONNECTIONS))


def round_trip(client: str, address: str) -> float:
    """The median, in µs."""
    return float(json.loads(_asked(client, PING, address, TRIPS))[50]) / 1000


@pytest.mark.figures
@pytest.mark.timeout(2400)
def test_beside_swarm(netns: Home, modules: None, tmp_path: Path) -> None:
    folder = Path("/run/weft-swarm")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2500m", "tmpfs", str(folder)], check=True)
    with swarm(folder, 2) as theirs, pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        ours = {by: stack.enter_context(_ours(netns, tmp_path / by, patch, by)) for by in BALANCERS}
        _is_the_same(theirs, ours["ipvs"])
        clients = [ns.path for scene in ours.values() for name, ns in scene.containers.items() if name != "k"]
        with serving(*theirs.tasks, *clients):
            _measure(theirs, ours)


@contextmanager
def _ours(home: Home, run: Path, patch: pytest.MonkeyPatch, balancer: str) -> Iterator[Scene]:
    with Scene(home, run, patch, balancer, {"node-1": "abk"}) as scene:
        scene.service(WEB, a="ready", b="ready")
        yield scene


def _is_the_same(theirs: Swarm, ours: Scene) -> None:
    """But for the marks' numbers and the addresses: a service by mark, round robin, a destination for each task with the port
    that a packet has; the address on the bridge's side; what becomes of connections without a destination."""
    host = ours.hosts[0]
    shown = {"Swarm": inside(theirs.balancer, "ipvsadm", "-Sn"), "Weft": ours.inside(host, "ipvsadm -Sn")}
    for whose, text in shown.items():
        sys.stdout.write(f"{whose}: ipvsadm -Sn\n{text}")
        said = {_without_numbers(line) for line in text.splitlines()}
        assert said == {"-A -f N -s rr", "-a -f N -r A:0 -m -w 1"}
    for name in ("conntrack", "expire_nodest_conn"):
        assert inside(theirs.balancer, "sysctl", "-n", f"net.ipv4.vs.{name}") == "1\n"
        assert ours.inside(host, f"sysctl -n net.ipv4.vs.{name}") == "1\n"
    assert f"{theirs.vip}/32" in inside(theirs.balancer, "ip", "address")
    assert f"{VIP}/32" in ours.inside(host, "ip address show dev br0")


def _without_numbers(line: str) -> str:
    words = line.split()
    for option, text in (("-f", "N"), ("-r", "A:0")):
        if option in words:
            place = words.index(option) + 1
            words[place] = text if option == "-f" or words[place].endswith(":0") else words[place]
    return " ".join(words)


def _measure(theirs: Swarm, ours: dict[str, Scene]) -> None:
    ways = {"Swarm's address": (theirs.client, theirs.vip), "Swarm, direct": (theirs.client, theirs.addresses[0])}
    for by, scene in ours.items():
        client = scene.containers["k"].path
        ways[f"Weft's by {by}"] = client, str(VIP)
        ways[f"Weft {by}, direct"] = client, str(scene.located["a"].addresses[0])
    for what, unit, ask in (("connections", "a second", connections), ("round trip", "µs", round_trip)):
        found: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(ROUNDS + 1):
            for name in sorted(ways, reverse=number % 2 == 1):
                value = ask(*ways[name])
                if number:  # the first warms up
                    found[name].append(value)
        first = found["Swarm's address"]
        for name, values in found.items():
            each = sorted(a / b for a, b in zip(values, first, strict=True))
            ratio = f"{median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f}) of Swarm's address"
            sys.stdout.write(f"{what}, {name}: {median(values):.0f} {unit}, {ratio}\n")
        assert all(min(values) > 0 for values in found.values())
