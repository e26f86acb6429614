"""How long after its attachment a container gets its first answer from another host.

Runs inside a host of a lab: `python -m bench.reach NETWORK ADDRESS PORT COUNT`, where `bench.pingpong` answers at ADDRESS;
prints milliseconds as JSON.
"""

from __future__ import annotations

import socket
import sys
import time

import msgspec

from bench.attaching import batch
from weft.api.types import Attach
from weft.base.errors import Failed
from weft.client import Client
from weft.kernel.plumbing import netns

AGAIN = 0.001
"""Seconds between two questions as long as none is answered."""
_LONGEST = 10.0
_USUAL = 10
"""Answers after the first, for comparison."""


class Times(msgspec.Struct):
    """Milliseconds: from the attachment's reply to the first answer, and of each later question to its answer."""

    first: list[float] = []
    usual: list[float] = []


def until_answered(address: str, port: int) -> float:
    """Seconds. Raises Failed."""
    start = time.perf_counter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(AGAIN)
        while (now := time.perf_counter()) < start + _LONGEST:
            try:
                udp.sendto(b"?", (address, port))
                udp.recv(64)
            except OSError:  # TimeoutError: no answer yet; the rest: no way there yet
                continue
            return time.perf_counter() - start
    raise Failed(f"no answer from {address} within {now - start:.0f} s")


def measure(network: str, address: str, port: int, count: int) -> Times:
    client, times = Client(), Times()
    names = [f"r{number}" for number in range(count)]
    batch([f"netns add {name}" for name in names])
    for name in names:
        client.attach(Attach(target=name, network=network))
        # Entering the namespace is part of what is measured: some tens of microseconds.
        path, start = f"/run/netns/{name}", time.perf_counter()
        netns.call(path, lambda: until_answered(address, port))
        times.first.append((time.perf_counter() - start) * 1000)
        for _ in range(_USUAL):
            times.usual.append(netns.call(path, lambda: until_answered(address, port)) * 1000)
        client.detach(name, network)
    batch([f"netns delete {name}" for name in names])
    return times


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
