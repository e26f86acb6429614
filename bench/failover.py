"""What fails while containers talk: a route reflector, and a host that falls silent. Four hosts, two of them reflect, their
agents and all; the hold time is the shortest there is.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from select import select
from statistics import median

from bench import labs
from bench.figures import Figure, Goal, Named, single
from bench.routes import Times
from weft.api import types as t
from weft.base.errors import Failed, Unavailable
from weft.lab import Lab, Topology, flat
from weft.lab.inside import InsideProcess
from weft.lab.process import seen_from_outside
from weft.model import codec
from weft.model.bgp import REFLECTOR

NODES = ("node-1", "node-2", "node-3", "node-4")
REFLECTORS = NODES[:2]
WATCHER, SILENT = "node-3", "node-4"
NETWORK, SUBNET = "prod", "10.128.0.0/16"
HOLD = 3
_PINGS = 1_000
"""Ten seconds of them: three hold times."""
_UP_SECONDS = 60.0
_SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+) received")
Progress = Callable[[str], None]


def figures(rounds: int, progress: Progress) -> list[Figure]:
    with labs.up(_topology(), agents=NODES) as lab:
        labs.create(lab, NODES[0], NETWORK, "routed", SUBNET, {"encap": "never", "masquerade": False})
        labs.client(lab, NODES[0]).set_bgp(t.SetBgp(hold_time=HOLD))
        for host in (WATCHER, SILENT):
            lab.run(host, "c", network=NETWORK)
        lost, withdrawn, back = [], [], []
        for number in range(rounds):
            progress(f"bgp: failures, round {number + 1} of {rounds}")
            _until_up(lab)
            lost.append(_reflector_killed(lab))
            _until_up(lab)
            gone, again = _silent(lab)
            withdrawn.append(gone)
            back.append(again)
    group = f"failures, 2 reflectors, hold time {HOLD} s"
    hold = Goal("value", most=HOLD)
    return [
        single(
            Named(group, f"a reflector killed: lost of {_PINGS:,} pings", ""), max(lost), lost, Goal("value", most=0)
        ),
        single(Named(group, "a host silent → its block withdrawn, p50", "s"), median(withdrawn), withdrawn),
        single(Named(group, "a host silent → its block withdrawn, longest", "s"), max(withdrawn), withdrawn, hold),
        single(Named(group, "its cable in again → its block is back, p50", "s"), median(back), back),
    ]


def _topology() -> Topology:
    plain = codec.to_builtins(flat(len(NODES)))
    for host in plain["hosts"]:
        if host["name"] in REFLECTORS:
            host["labels"] = {REFLECTOR: "224.0.0.1"}
    return codec.convert(Topology, plain)


def _until_up(lab: Lab) -> None:
    """All sessions, and the way from container to container. Raises Failed."""
    deadline = time.monotonic() + _UP_SECONDS
    counts = {node: len(NODES) - 1 if node in REFLECTORS else len(REFLECTORS) for node in NODES}
    while time.monotonic() < deadline:
        up = {node: _sessions_up(lab, node) for node in NODES}
        if up == counts and not _ping(lab, 1):
            return
        select([], [], [], 0.1)
    raise Failed(f"not all sessions are up after {_UP_SECONDS:.0f} s: {up} of {counts}")


def _sessions_up(lab: Lab, node: str) -> int:
    try:
        return sum(s.state == "Established" for s in labs.client(lab, node).bgp_sessions())
    except Unavailable:  # its BIRD is being started
        return 0


def _ping(lab: Lab, count: int) -> int:
    """How many are lost."""
    with _pinging(lab, count) as process:
        return _lost(process.communicate()[0])


def _pinging(lab: Lab, count: int) -> InsideProcess:
    """A hundred a second."""
    words = ["ping", "-n", "-q", "-i", "0.01", "-W", "1", "-c", str(count), labs.address(lab, SILENT, NETWORK)]
    return lab.inside(f"{WATCHER}/c").popen(words)


def _lost(said: str) -> int:
    found = _SUMMARY.search(said)
    if found is None:
        raise Failed(f"ping: {said.strip()}")
    return int(found[1]) - int(found[2])


def _reflector_killed(lab: Lab) -> int:
    """With its agent, which would start it again."""
    name = REFLECTORS[0]
    with _pinging(lab, _PINGS) as process:
        pid = int((lab.host(name).own / "run-weft/bird.pid").read_text())
        lab.agent(name).end(signal.SIGKILL)
        seen_from_outside(lab.init)[pid].signal(signal.SIGKILL)
        lost = _lost(process.communicate()[0])
    lab.agent(name).start()
    lab.agent(name).wait_ready()
    labs.wait_started(lab, name)
    return lost


def _silent(lab: Lab) -> tuple[float, float]:
    """Seconds until its block is gone from another's kernel, and until it is there again."""
    leases = labs.client(lab, WATCHER).network(NETWORK).leases
    [block] = [str(lease.subnets[0]) for lease in leases if lease.node == SILENT]
    watcher = lab.host(WATCHER)
    with labs.started(watcher, labs.module("routes", "del", "1", block)) as watch:
        silent = time.monotonic()
        lab.link(SILENT, up=False, cable=True)
        gone = labs.result(watch, Times).last - silent
    with labs.started(watcher, labs.module("routes", "new", "1", block)) as watch:
        lab.link(SILENT, up=True, cable=True)
        heard = time.monotonic()
        again = labs.result(watch, Times).last - heard
    return gone, again
