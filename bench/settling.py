"""How soon a container of a routed network is reached from other hosts: from one of its host's blocks, with a block that its
host takes for it, and moved from host to host. In the reference lab: node-2 and node-3 learn by BGP, node-4 behind the
router through VXLAN.

The other hosts' part of a move runs inside the lab: `python -m bench.settling ADDRESS PORT` asks until it is answered.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

from bench import labs, reach
from bench.figures import Figure, Named, beside, single
from bench.stats import percentile
from bench.traffic import PINGPONG_PORT, echoing
from weft.api.types import Move
from weft.base.errors import Failed
from weft.lab import Lab, reference
from weft.model import decode
from weft.model.network import OptionValue

NODES = ("node-1", "node-2", "node-3", "node-4")
LISTENERS = {"node-2": "by BGP", "node-4": "through VXLAN"}
SUBNETS = {"prod": ("10.64.0.0/16", 26, 4096), "single": ("10.65.0.0/16", 32, 4097)}
"""Prefix, block size, VNI. `single`: each address is a block, so each container brings one."""
HOME, AWAY = ("node-1", PINGPONG_PORT), ("node-2", PINGPONG_PORT + 1)
"""Between which places a container moves, and where it is answered there."""
ASKERS = {"node-3": "by BGP", "node-4": "through VXLAN"}
Progress = Callable[[str], None]
_SETTLED_SECONDS = 40.0


def run(store: str, attaches: int, moves: int, progress: Progress) -> list[Figure]:
    group = f"convergence, routed, {store}"
    with labs.up(reference(), agents=NODES, store=store) as lab:
        for name, (subnet, size, vni) in SUBNETS.items():
            options: dict[str, OptionValue] = {"encap": "vxlan-cross-subnet", "block-size": size, "vni": vni}
            labs.create(lab, "node-1", name, "routed", subnet, options)
            for host in LISTENERS:
                lab.run(host, f"{name}-listener", network=name)
        lab.run("node-1", "moving", network="prod")  # and its block stays, whoever comes and goes
        _settled(lab)
        figures = []
        for name, what in (("prod", "block there"), ("single", "new block")):
            for host, how in LISTENERS.items():
                progress(f"convergence: routed, {what}, {how}, {store}")
                figures += first_answers(lab, group, f"attach, {what} → answer {how}", name, host, attaches)
        progress(f"convergence: routed, moves, {store}")
        return figures + _moves(lab, group, moves)


def _settled(lab: Lab) -> None:
    """Until BGP has brought everybody's blocks: the time from an agent's start is not what is measured. Raises Failed."""
    inside = lab.host("node-1").container("moving")
    deadline = time.monotonic() + _SETTLED_SECONDS
    for host in LISTENERS:
        target = labs.address(lab, host, "prod")
        while inside.run(["ping", "-c1", "-W1", target]).returncode:
            if time.monotonic() > deadline:
                raise Failed(f"no answer from {host}'s {target} after {_SETTLED_SECONDS:.0f} s")


def first_answers(lab: Lab, group: str, name: str, network: str, host: str, count: int) -> list[Figure]:
    """From an attachment's reply on node-1 to the first answer from the container on `host`."""
    target = labs.address(lab, host, network)
    with echoing(lab.host(host).container(f"{network}-listener")):
        words = labs.module("reach", network, target, str(PINGPONG_PORT), str(count))
        done = lab.host("node-1").run(words, timeout=300)
    if done.returncode:
        raise Failed(f"reach: {' | '.join(done.stderr.strip().splitlines()[-3:])}")
    times = decode(reach.Times, done.stdout.encode())
    usual = (median(times.usual), times.usual)
    return [
        beside(Named(group, f"{name}, {which}", "ms", "later answers"), (value, times.first), usual)
        for which, value in (("p50", median(times.first)), ("p99", percentile(times.first, 0.99)))
    ]


# Moves.


def _moves(lab: Lab, group: str, count: int) -> list[Figure]:
    address = labs.address(lab, "node-1", "prod")
    lab.host(AWAY[0]).must("container", ["ip", "netns", "add", "moving"])
    for host in ASKERS:
        if host not in LISTENERS:
            lab.run(host, "prod-listener", network="prod")
    took: dict[str, list[float]] = {"its reply": [], **{how: [] for how in ASKERS.values()}}
    with ExitStack() as servers:
        for host, port in (HOME, AWAY):
            servers.enter_context(echoing(lab.host(host).container("moving"), port))
        for number in range(count):
            for what, milliseconds in _move(lab, address, *(HOME if number % 2 else AWAY)).items():
                took[what].append(milliseconds)
    named = {"its reply": "move's call → its reply"} | {
        h: f"move's call → answer from there {h}" for h in ASKERS.values()
    }
    return [
        single(Named(group, f"{named[what]}, {which}", "ms"), value, each)
        for what, each in took.items()
        for which, value in (("p50", median(each)), ("longest", max(each)))
    ]


def _move(lab: Lab, address: str, place: str, port: int) -> dict[str, float]:
    """Milliseconds from the call: to its reply, and until a container elsewhere is answered from the new place."""
    with ExitStack() as stack:
        words = labs.module("settling", address, str(port))
        asking = {
            how: stack.enter_context(labs.started(lab.host(host).container("prod-listener"), words))
            for host, how in ASKERS.items()
        }
        called = time.monotonic()
        labs.client(lab, place).move(address, Move(target="moving"))
        ends = {"its reply": time.monotonic()} | {how: labs.result(p, float) for how, p in asking.items()}
    return {what: (end - called) * 1000 for what, end in ends.items()}


def _ask(address: str, port: int) -> None:
    """Says when it was answered, on the monotonic clock, which all hosts share."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    reach.until_answered(address, port)
    sys.stdout.write(f"{time.monotonic()}\n")


if __name__ == "__main__":
    _ask(sys.argv[1], int(sys.argv[2]))
