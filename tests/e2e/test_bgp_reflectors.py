"""Route reflectors: twenty hosts, two of them reflect, nobody else peers with anybody else."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bgp import bird_routes, established, plant, sessions, settle
from support.reach import client, ping
from support.traffic import Pair, Ping
from support.waiting import note, until
from weft.api import types as t
from weft.lab import Lab, flat
from weft.lab.process import seen_from_outside
from weft.model import codec

HOSTS = tuple(f"node-{i}" for i in range(1, 21))
REFLECTORS = HOSTS[:2]
BLOCKS = {host: (f"197.19.{i}.0/26",) for i, host in enumerate(HOSTS)}
HOLD = 3

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def lab(lab_base: str) -> Iterator[Lab]:
    plain = codec.to_builtins(flat(len(HOSTS)))
    for host in plain["hosts"]:
        if host["name"] in REFLECTORS:
            host["labels"] = {"route-reflector": "224.0.0.1"}
    with Lab.up(codec.convert(type(flat(1)), plain), name="reflect") as lab:
        plant(lab, "prod", BLOCKS, subnets=("197.19.0.0/16",), encap="never", masquerade=False)
        client(lab, "node-1").set_bgp(t.SetBgp(hold_time=HOLD))
        established(lab, REFLECTORS, len(HOSTS) - 1, 120)
        established(lab, HOSTS[2:], len(REFLECTORS), 120)
        yield lab


def test_all_have_all_routes_but_only_two_sessions(lab: Lab) -> None:
    for host in HOSTS[2:]:
        assert {name for name, _ in sessions(lab, host)} == set(REFLECTORS)
    until(lambda: all(_complete(lab, host) for host in HOSTS), 20, "everybody with everybody's block")
    assert {s.kind for (name, _), s in sessions(lab, "node-1").items() if name != "node-2"} == {"client"}
    hops = {r.get("gateway") for r in bird_routes(lab.host("node-20")).values()}
    assert len(hops) == len(HOSTS), "the next hop is the node itself, and not who tells"


def _complete(lab: Lab, host: str) -> bool:
    return set(bird_routes(lab.host(host))) == {block for (block,) in BLOCKS.values()}


def test_a_reflectors_end_loses_nothing(lab: Lab, tmp_path: Path) -> None:
    one = settle(lab, "node-5", "c5", "prod", "197.19.4.7")
    other = settle(lab, "node-6", "c6", "prod", "197.19.5.7")
    assert ping(one, "197.19.5.7").ttl == 62
    flow = Ping(Pair(one, other, "197.19.5.7"), tmp_path / "ping")
    try:
        until(lambda: flow.answered_after(0), 10, "answers")
        pid = int((lab.host("node-1").own / "run-weft/bird.pid").read_text())
        lab.agent("node-1").end(signal.SIGKILL)  # it would start it again
        seen_from_outside(lab.init)[pid].signal(signal.SIGKILL)
        until(lambda: sessions(lab, "node-5")["node-1", 4].state != "Established", 10, "node-5 to miss it")
        number = flow.latest() + 3 * HOLD * 100
        until(lambda: flow.answered_after(number), 3 * HOLD + 20, "answers for three hold times")
        lab.agent("node-1").start()
        lab.agent("node-1").wait_ready()
        took = established(lab, ["node-1"], len(HOSTS) - 1, 60)
        until(lambda: _complete(lab, "node-5"), 20, "all routes")
    finally:
        flow.end()
    note(f"reflector killed, back {took:.1f} s after its agent: {flow.loss()}")
    assert flow.loss().lost == 0


def test_a_dead_hosts_routes_are_withdrawn_within_the_hold_time(lab: Lab) -> None:
    block = BLOCKS["node-9"][0]
    assert block in bird_routes(lab.host("node-20"))
    lab.link("node-9", up=False, cable=True)
    try:
        took = until(lambda: block not in bird_routes(lab.host("node-20")), 4 * HOLD, "the withdrawal")
    finally:
        lab.link("node-9", up=True, cable=True)
    note(f"withdrawn {took:.1f} s after the host fell silent; the hold time is {HOLD} s")
    assert took < HOLD + 1.5, "the reflectors' hold time, and the word of it"
    until(lambda: block in bird_routes(lab.host("node-20")), 60, "its return")
