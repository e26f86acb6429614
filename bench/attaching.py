"""Attach and detach through the agent's API, and the same wiring by `ip -batch`.

Runs inside a host of a lab, where the namespaces' names mean the same to the agent: `python -m bench.attaching NETWORK
COUNT` prints milliseconds as JSON. With the word `stay` the containers are attached and stay; with `clock` they are
attached, and printed is when (`bench.spread`).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import msgspec

from weft.api.types import Attach
from weft.client import Client

BRIDGE = "hand"


class Times(msgspec.Struct):
    """Milliseconds, one for each container."""

    attach: list[float] = []
    detach: list[float] = []
    wire: list[float] = []
    unwire: list[float] = []


def batch(lines: list[str]) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=60)


def wire(name: str, number: int) -> None:
    """What attaching amounts to. Two processes: ip(8) acts in one namespace each."""
    batch(
        [
            f"link add hand{number} mtu 1450 type veth peer name eth9 mtu 1450 netns {name}",
            f"link set hand{number} master {BRIDGE} up",
        ]
    )
    lines = [f"address add 10.99.{number // 250}.{number % 250 + 2}/16 dev eth9", "link set eth9 up"]
    lines.append("route add 10.98.0.0/16 via 10.99.0.1 dev eth9")
    subprocess.run(["ip", "-n", name, "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=60)


def unwire(number: int) -> None:
    batch([f"link delete hand{number}"])


def measure(network: str, count: int) -> Times:
    client, times = Client(), Times()
    names = [f"c{number}" for number in range(count)]
    batch([f"netns add {name}" for name in names])
    batch([f"link add {BRIDGE} type bridge", f"link set {BRIDGE} up", f"address add 10.99.0.1/16 dev {BRIDGE}"])
    for number, name in enumerate(names):
        _timed(times.attach, partial(client.attach, Attach(target=name, network=network)))
        _timed(times.wire, partial(wire, name, number))
    for number, name in enumerate(names):
        _timed(times.detach, partial(client.detach, name, network))
        _timed(times.unwire, partial(unwire, number))
    batch([f"link delete {BRIDGE}", *(f"netns delete {name}" for name in names)])
    return times


def fill(network: str, count: int) -> None:
    client = Client()
    names = [f"stay{number}" for number in range(count)]
    batch([f"netns add {name}" for name in names])
    for name in names:
        client.attach(Attach(target=name, network=network))


def clock(network: str, count: int) -> dict[str, dict[str, float]]:
    """By MAC address, when each attach was called and when it replied: seconds of the monotonic clock."""
    client = Client()
    names = [f"c{number}" for number in range(count)]
    batch([f"netns add {name}" for name in names])
    called, replied = dict[str, float](), dict[str, float]()
    for name in names:
        start = time.monotonic()
        mac = client.attach(Attach(target=name, network=network)).mac
        called[mac], replied[mac] = start, time.monotonic()
    return {"called": called, "replied": replied}


def _timed(into: list[float], work: Callable[[], object]) -> None:
    start = time.perf_counter()
    work()
    into.append((time.perf_counter() - start) * 1000)


if __name__ == "__main__":
    if sys.argv[3:] == ["stay"]:
        fill(sys.argv[1], int(sys.argv[2]))
    elif sys.argv[3:] == ["clock"]:
        sys.stdout.write(msgspec.json.encode(clock(sys.argv[1], int(sys.argv[2]))).decode() + "\n")
    else:
        sys.stdout.buffer.write(msgspec.json.encode(measure(sys.argv[1], int(sys.argv[2]))))
