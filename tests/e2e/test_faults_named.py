"""Each fault that is injected is named by what it is, with a command that mends it; where nothing is wrong, none is named."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median
from typing import Any

import pytest

from support import injected_devices, injected_tunnels
from support.answering import serving
from support.injected import CASES, PORT, TCP, Bench, Injected, tried
from support.reach import OUTSIDE, make_network, run, weft
from support.waiting import note
from weft.lab import Lab

_NETWORKS = {"vx": "vxlan", "ov": "overlay", "gw": "host-gw", "rt": "routed", "br": "bridge"}
_TOOK: list[float] = []
EVERY = os.environ.get("WEFT_FAULTS") == "all"


@pytest.fixture(scope="module")
def bench(lab: Lab) -> Iterator[Bench]:
    found = Bench(lab)
    with ExitStack() as servers:
        for number, (name, driver) in enumerate(_NETWORKS.items(), 1):
            make_network(lab, name, driver, f"10.{number}.0.0/16", f"fd00:{number}::/48")
            far = "node-1" if name == "br" else "node-2"
            one, two = run(lab, "node-1", f"{name}-a", name), run(lab, far, f"{name}-b", name)
            for each in (one, two):
                servers.enter_context(serving(each.inside, each.name, f"tcp/{PORT}", "udp/9090"))
            found.pairs[name] = one, two
        found.pairs["two"] = found.pairs["vx"][0], found.pairs["gw"][1]
        for protocol in ("tcp", "udp"):
            servers.enter_context(serving(lab.host("node-2"), "node-2", f"{protocol}/9090"))
        yield found


def _chosen(*, alone: bool) -> Iterator[Any]:
    """Each fault on one data path, another for each; on all that it is possible on with WEFT_FAULTS=all."""
    for number, case in enumerate((*CASES, *injected_devices.CASES, *injected_tunnels.CASES)):
        some = case.drivers if EVERY else (case.drivers[number % len(case.drivers)],)
        if case.alone == alone:
            yield from (pytest.param(case, driver, id=f"{case.label}-{driver}") for driver in some)


@pytest.mark.parametrize(("case", "driver"), list(_chosen(alone=False)))
def test_a_fault_is_named_and_mended(bench: Bench, case: Injected, driver: str) -> None:
    wrong, took = tried(bench, driver, case)
    assert wrong == ""
    _TOOK.append(took)


HEALTHY = [
    *(
        (name, family, way, flow)
        for name in _NETWORKS
        for family in (4, 6)
        for way in ("ab", "ba")
        for flow in ((), TCP)
    ),
    *((name, family, "out", ()) for name in _NETWORKS for family in (4, 6)),
]


@pytest.mark.parametrize(
    ("name", "family", "way", "flow"),
    [
        pytest.param(*each, id=f"{each[0]}-{each[2]}-v{each[1]}{'-tcp' if each[3] else ''}")
        for each in (HEALTHY if EVERY else HEALTHY[::5])
    ],
)
def test_where_nothing_is_wrong_nothing_is_named(
    bench: Bench, name: str, family: int, way: str, flow: tuple[str, ...]
) -> None:
    one, two = bench.pairs[name] if way != "ba" else bench.pairs[name][::-1]
    target = OUTSIDE[family] if way == "out" else f"{two.host}/{two.name}"
    words = ["trace", f"{one.host}/{one.name}", target, "--family", str(family), *flow, "-o", "json"]
    done = weft(bench.lab, "node-3", *words)
    found = json.loads(done.stdout)
    outcomes = [found[path]["outcome"] for path in ("there", "back") if found.get(path)]
    assert [o["text"] for o in outcomes if o.get("fault")] == []
    assert done.returncode == 0, outcomes


@pytest.mark.parametrize("host", ["node-1", "node-2"])
def test_a_doctor_finds_nothing_wrong_with_the_lab(bench: Bench, host: str) -> None:
    """What the machine itself lacks is no fault of the lab's; and node-4 is behind a router by intent."""
    nature = ("clock", "kernel-feature", "tool-missing", "neighbours-full", "router-unaware")
    found = json.loads(weft(bench.lab, host, "doctor", "-o", "json").stdout)
    assert [f for f in found if f["result"] != "ok" and f.get("fault") not in nature] == []


@pytest.fixture(scope="module")
def alone(bench: Bench) -> Iterator[Bench]:
    """No agent runs on the hosts of the two containers: none mends what is broken, and none is asked."""
    agents = [bench.lab.agent(host) for host in ("node-1", "node-2")]
    for driver in bench.pairs:
        for family in (4, 6):
            bench.words(driver, family)
    for agent in agents:
        agent.end(signal.SIGKILL)
    yield bench
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.wait_ready()


@pytest.mark.parametrize(("case", "driver"), list(_chosen(alone=True)))
def test_a_fault_is_named_where_no_agent_runs(alone: Bench, case: Injected, driver: str) -> None:
    wrong, took = tried(alone, driver, case)
    assert wrong == ""
    _TOOK.append(took)


def test_it_takes_no_longer_than_a_person_waits() -> None:
    """Printed, not judged: the machine may be slow."""
    if _TOOK:
        ordered = sorted(_TOOK)
        note(f"{len(ordered)} faults: p50 {median(ordered):.2f} s, p95 {ordered[int(0.95 * (len(ordered) - 1))]:.2f} s")
