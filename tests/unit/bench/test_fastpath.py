"""What is made of measurements of the fast path, and the loads themselves."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network
from itertools import pairwise

import pytest

from bench import bursts, compiled, connects, counted, fastpath, pingpong
from bench.fastpath import CASES, HOSTS, ORDINARY, POLICY, WEFT, turned
from weft.hoststate import NftChain
from weft.model import Network, Node


def samples(case: fastpath.Case, weft: float, others: float) -> dict[str, fastpath.Samples]:
    names = (ORDINARY, HOSTS, *case.beside)
    return {measure: {WEFT: [weft] * 3, **{name: [others] * 3 for name in names}} for measure in fastpath._MEASURES}


def verdicts(case: fastpath.Case, weft: float) -> dict[tuple[str, str], str]:
    figures = fastpath.figures_of(case, samples(case, weft, 100.0))
    return {(f.name, f.against): f.verdict for f in figures if f.goal}


def test_goals_are_of_the_case() -> None:
    overlay = next(case for case in CASES if case.word == "overlay")
    assert verdicts(overlay, 104.0)[fastpath._TRIPS, HOSTS] == "met"
    assert verdicts(overlay, 104.0)["", fastpath.DOCKER] == "missed", "1.05 of Docker's own"
    vxlan = next(case for case in CASES if case.word == "vxlan")
    assert verdicts(vxlan, 62.0)[fastpath._TRIPS, HOSTS] == "missed"
    assert verdicts(vxlan, 63.0)[fastpath._TRIPS, HOSTS] == "met"


def test_each_measure_has_a_row_beside_raw_and_beside_the_ordinary_way() -> None:
    for case in CASES:
        figures = list(fastpath.figures_of(case, samples(case, 1.0, 1.0)))
        rows = Counter(figure.against for figure in figures)
        assert rows[ORDINARY] == len(fastpath._MEASURES) and rows[HOSTS] == 2 * len(fastpath._MEASURES)


def test_turns_are_fair() -> None:
    """Nobody is always first, or always behind the same one."""
    turns = [turned("abcd", number) for number in range(8)]
    assert all(sorted(turn) == list("abcd") for turn in turns)
    assert Counter(turn[0] for turn in turns) == dict.fromkeys("abcd", 2)
    behind = Counter(pair for turn in turns for pair in pairwise(turn))
    assert all(behind[b, a] == count for (a, b), count in behind.items())


def test_what_a_clock_measured_that_counts_instructions() -> None:
    """Two nanoseconds each: of 1,000 round trips a second each is half a million."""
    figure = next(f for f in fastpath.figures_of(CASES[0], samples(CASES[0], 1000.0, 2000.0)) if f.unit == "/s")
    told = counted.in_instructions(figure)
    assert (told.value, told.unit, told.ratio, told.samples["value"][0]) == (2000.0, "/10⁹ instr.", 0.5, 2000.0)


@pytest.fixture
def servers() -> Iterator[list[int]]:
    """The ports of those who echo, let go, and take."""
    ports = []
    for serve in (pingpong.serve, connects.serve, bursts.serve):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
        threading.Thread(target=serve, args=(ports[-1],), daemon=True).start()
    yield ports


def connected(port: int) -> socket.socket:
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            continue


def test_loads(servers: list[int]) -> None:
    with connected(servers[0]) as one:
        p50, p99, mean = bursts.trips(one, 50)
        assert 0 < p50 <= p99 and mean > 0
    connected(servers[1]).close()
    assert bursts.connections("127.0.0.1", servers[1], 5) > 0
    streams = [connected(servers[2]) for _ in range(4)]
    took, cpu = bursts.stream(streams, 1 << 20)
    assert took > 0 and cpu > 0
    for one in streams:
        one.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.word)
def test_what_is_compiled_without_an_agent_is_policed(case: fastpath.Case) -> None:
    """All that the model is made of is taken by the compiler; of what is wanted, rules of policy are a part."""
    nodes = tuple(
        Node(
            name=f"node-{n}", addresses=(IPv4Interface(f"192.168.1.{n}/24"),), uplink="eth0", instance="i", version="0"
        )
        for n in (1, 2)
    )
    network = Network(
        name="net",
        driver=case.driver,
        subnets=(IPv4Network("10.61.0.0/16"),),
        options={"reach": "self", **case.options},
    )
    policy = POLICY if case.policy else {}
    model = compiled.Model(network=network, nodes=nodes, places=(0, 0) if case.near else (0, 1), policy=policy)
    compiler = compiled.compiler_of(model, "node-1", frozenset())
    wanted = [compiler.contribution(source) for source in compiler.everything()]
    assert not [problem for found in wanted if found for problem in found.problems]
    objects = [obj for found in wanted if found for obj in found.objects]
    assert any(obj.key[0] == "link" for obj in objects)
    policed = any(isinstance(obj, NftChain) and obj.name == "policies" for obj in objects)
    assert policed == case.policy
