"""How agents are asked, whatever some of them answer: a cluster of agents that are made up here."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from weft.api import checks as c
from weft.api import observed as o
from weft.api import types as t
from weft.base.errors import NotFound, Unavailable
from weft.check.run import Check, Wishes
from weft.cli.check_shown import render
from weft.cli.table import Page

Answer = Callable[[str, c.Test], str]


class Cluster:
    """The local agent, and by `at` those of the nodes. `fails`: what a test from a node meets."""

    def __init__(self, *nodes: str) -> None:
        self.names, self.silent, self.dead = nodes, set[str](), set[str]()
        self.networks_there = ("blue", "red")
        self.full: dict[str, str] = {}
        self.fails: Answer = lambda _node, _test: ""
        self.denied: set[str] = set()
        self.removed: list[str] = []
        self.tested: list[str] = []
        self.breaks: BaseException | None = None

    def nodes(self) -> list[t.NodeInfo]:
        return [
            t.NodeInfo(name=n, addresses=(), uplink="eth0", mtu=1500, alive=n not in self.dead, this=n == "a")
            for n in self.names
        ]

    def networks(self, *, brief: bool) -> list[t.NetworkInfo]:
        return [
            t.NetworkInfo(name=n, driver="vxlan", subnets=(), options={}, internal=False, mtu=None)
            for n in self.networks_there
        ]

    def endpoints(self) -> tuple[()]:
        return ()

    services = endpoints

    def explain(self, source: str, target: str, protocol: str, port: str, family: str) -> o.Explanation:
        denied = target in self.denied
        side = o.VerdictSide(direction="ingress", end=target, allowed=not denied, reason="policy closed selects it")
        about: dict[str, Any] = {"source_address": ip_address("10.1.0.1"), "target_address": ip_address("10.1.0.2")}
        return o.Explanation(
            allowed=not denied, source=source, target=target, protocol=protocol, sides=(side,), **about
        )

    def at(self, node: str, patience: int = 0) -> Node:
        return Node(self, node)


class Node:
    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name

    def place_probes(self, request: c.PlaceProbes) -> c.Placed:
        if self.name in self.cluster.silent:
            raise Unavailable(f"{self.name}: its agent does not answer")
        names = request.networks or self.cluster.networks_there
        number = self.cluster.names.index(self.name) + 1
        return c.Placed(
            node=self.name,
            probes=tuple(
                c.Probe(
                    id=f"{self.name}-{n}", name=f"check-{self.name}", network=n, mtu=1450, tcp=7, udp=8,
                    addresses=(ip_address(f"10.{self.cluster.networks_there.index(n)}.0.{number}"),),
                )
                for n in names if n not in self.cluster.full
            ),
            unplaced=tuple(c.Unplaced(network=n, reason=why) for n, why in self.cluster.full.items() if n in names),
        )  # fmt: skip

    def run_tests(self, run: str, request: c.RunTests) -> c.Ran:
        if self.cluster.breaks is not None:
            raise self.cluster.breaks
        self.cluster.tested.append(request.probe)
        found = tuple(c.Tested(ms=1.0, error=self.cluster.fails(self.name, test)) for test in request.tests)
        return c.Ran(node=self.name, results=found)

    def remove_probes(self, run: str) -> t.Done:
        self.cluster.removed.append(self.name)
        return t.Done(what=())


def check(cluster: Cluster, **wishes: Any) -> Any:
    return Check(cluster, Wishes(**wishes)).whole()  # type: ignore[arg-type]


def shown(found: Any) -> str:
    return "\n".join(render(Page(200, colour=False), found))


def test_all_well() -> None:
    cluster = Cluster("a", "b", "c")
    found = check(cluster)
    assert found.ok and [each.network for each in found.networks] == ["blue", "red"]
    assert {each.tests for each in found.networks} == {6 * 3}
    assert sorted(cluster.removed) == ["a", "b", "c"]
    assert shown(found).endswith("well: 36 tests in 2 networks")


def test_it_ends_with_the_first_network_that_has_problems_or_goes_on() -> None:
    cluster = Cluster("a", "b")
    cluster.fails = lambda node, test: "no answer" if node == "a" else ""
    found = check(cluster)
    assert (found.ok, found.skipped, len(found.problems)) == (False, ("red",), 1)
    assert (found.problems[0].source, found.problems[0].target, found.problems[0].more) == ("a", "b", 2)
    assert "not tested any more: red" in shown(found)
    assert len(check(cluster, keep_going=True).problems) == 2
    assert cluster.removed == ["a", "b", "a", "b"]


def test_only_large_packets_lost_is_said_so() -> None:
    cluster = Cluster("a", "b")
    cluster.fails = lambda node, test: "no answer" if test.size > 1400 else ""
    found = check(cluster, networks=("blue",))
    assert {(problem.what, problem.fits) for problem in found.problems} == {("large", 1400)}
    assert "packets of up to 1400 octets arrive" in shown(found)
    assert "1 of 3 fail" in shown(found)


def test_what_policy_denies_is_no_problem() -> None:
    cluster = Cluster("a", "b")
    cluster.denied = {"b-blue", "b-red"}
    cluster.fails = lambda node, test: "no answer" if node == "a" else ""
    found = check(cluster)
    assert found.ok and len(found.denied) == 6
    assert "denied by policy in blue: policy closed selects it (a → b)" in shown(found)


def test_that_policy_denies_the_way_out_is_no_problem() -> None:
    cluster = Cluster("a", "b")
    cluster.denied = {"192.0.2.1"}
    cluster.fails = lambda node, test: "no answer" if test.kind == "ping" else ""
    found = check(cluster, outside=(ip_address("192.0.2.1"),))
    assert found.ok and {(each.what, each.target) for each in found.denied} == {("outside", "192.0.2.1")}
    cluster.denied = set()
    assert {problem.what for problem in check(cluster, outside=(ip_address("192.0.2.1"),)).problems} == {"outside"}


def test_nodes_that_do_not_answer_are_told_and_the_others_tested() -> None:
    cluster = Cluster("a", "b", "c", "d")
    cluster.silent, cluster.dead = {"b"}, {"d"}
    found = check(cluster)
    assert not found.ok and found.silent == {"b": "b: its agent does not answer", "d": "its agent is not running"}
    assert found.networks[0].nodes == ("a", "c") and sorted(cluster.removed) == ["a", "c"]
    assert "d could not be asked: its agent is not running" in shown(found)


def test_where_no_address_can_be_had_is_one_line() -> None:
    cluster = Cluster("a", "b")
    cluster.full = {"red": "network red: no free address"}
    found = check(cluster)
    assert not found.ok and not found.problems
    assert "  a: no probe: network red: no free address" in shown(found).splitlines()
    assert shown(found).endswith("0 problems in 6 tests, but not all could be tested")


def test_probes_are_removed_whatever_happens() -> None:
    cluster = Cluster("a", "b")
    cluster.breaks = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        check(cluster)
    assert sorted(cluster.removed) == ["a", "b"]


def test_a_node_that_falls_silent_on_the_way_has_failed_its_tests() -> None:
    cluster = Cluster("a", "b")
    cluster.breaks = Unavailable("gone")
    found = check(cluster)
    assert found.problems[0].error == "a did not test it: gone"


@pytest.mark.parametrize("wishes", [{"nodes": ("x",)}, {"networks": ("x",)}])
def test_names_that_nobody_has_are_refused_before_anything_is_made(wishes: dict[str, tuple[str, ...]]) -> None:
    cluster = Cluster("a")
    with pytest.raises(NotFound, match=r"^no (node|network) x: "):
        check(cluster, **wishes)
    assert cluster.removed == []
