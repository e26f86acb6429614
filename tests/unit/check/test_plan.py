"""What is tested: pairs, and the tests between two probes."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

import pytest

from weft.api import services as s
from weft.api.checks import MOST_TESTS, PlaceProbes, Probe, RunTests, Test
from weft.base.errors import Invalid
from weft.check import plan
from weft.services.model import Service, ServicePort


def probe(node: str, *addresses: str, **more: object) -> Probe:
    about: dict[str, object] = {"id": f"id{node}", "mtu": 1450, "tcp": 1001, "udp": 1002, "network": "blue", **more}
    found = addresses or ("10.1.0.2", "fd00:1::2")
    return Probe(name=f"check-{node}", addresses=tuple(map(ip_address, found)), **about)  # type: ignore[arg-type]


def test_of_a_few_nodes_all_ordered_pairs() -> None:
    assert plan.pairs([]) == [] and plan.pairs(["a"]) == []
    found = plan.pairs(list("abc"))
    assert sorted(found) == [("a", "b"), ("a", "c"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "b")]
    assert len(plan.pairs([str(n) for n in range(12)])) == 12 * 11


@pytest.mark.parametrize("count", [13, 14, 20, 57, 100])
def test_of_many_each_is_with_some_others_as_source_and_as_target(count: int) -> None:
    nodes = [f"n{number}" for number in range(count)]
    found = plan.pairs(nodes)
    assert len(set(found)) == len(found) == count * 8
    assert all(one != other for one, other in found)
    for side in (0, 1):
        assert set(Counter(pair[side] for pair in found).values()) == {8}


def test_between_two_probes_there_are_all_kinds_of_both_families() -> None:
    one, other = probe("a", resolver=True), probe("b", "10.1.1.2", "fd00:2::2", mtu=1400, tcp=7, udp=8)
    found = list(plan.between("a", one, "b", other))
    assert [(case.what, case.family) for case in found] == [
        (what, family) for family in (4, 6) for what in ("small", "large", "tcp", "name")
    ]
    large, tcp, name = found[1].test, found[2].test, found[3].test
    assert (large.kind, large.size, large.port) == ("udp", 1400, 8), "the smaller MTU of both"
    assert (tcp.kind, tcp.port) == ("tcp", 7) and name.name == "check-b"
    assert {(case.source, case.probe, case.target, case.to) for case in found} == {("a", "ida", "b", "idb")}


def test_sizes_to_try_close_in() -> None:
    """Whatever the limit is, it is found in a few rounds."""
    for limit in (576, 577, 1000, 1386, 1449):
        fits, too_large, rounds = 576, 1450, 0
        while tried := plan.sizes(fits, too_large):
            assert all(fits < size < too_large for size in tried) and len(tried) <= 12
            fits = max((size for size in tried if size <= limit), default=fits)
            too_large = min(size for size in (*tried, too_large) if size > limit)
            rounds += 1
        assert (fits, too_large) == (limit, limit + 1) and rounds <= 3


def test_names_and_families_only_where_there_are_any() -> None:
    found = list(plan.between("a", probe("a", "10.1.0.2"), "b", probe("b", "10.1.1.2", "fd00:2::2")))
    assert [(case.what, case.family) for case in found] == [("small", 4), ("large", 4), ("tcp", 4)]
    assert list(plan.between("a", probe("a", "fd00:1::2"), "b", probe("b", "10.1.1.2"))) == []


def test_a_network_that_each_host_has_alone_is_tested_within_each() -> None:
    by_node = {node: [probe(f"{node}1", "10.1.0.2"), probe(f"{node}2", "10.1.0.3")] for node in ("a", "b")}
    found = list(plan.cases(by_node, local=True))
    assert {(case.source, case.target) for case in found} == {("a", "a"), ("b", "b")}
    assert len(found) == 2 * 2 * 3
    everywhere = list(plan.cases({node: some[:1] for node, some in by_node.items()}, local=False))
    assert {(case.source, case.target) for case in everywhere} == {("a", "b"), ("b", "a")}


def test_a_host_asks_its_own_probe_where_it_reaches_it() -> None:
    reached = probe("a", reached=(ip_address("172.30.0.2"),))
    found = [case for case in plan.cases({"a": [reached], "b": [probe("b")]}, local=False) if case.what == "host"]
    assert [(case.probe, case.to, str(case.test.target), case.test.kind) for case in found] == [
        ("", "ida", "172.30.0.2", "udp"),
        ("", "ida", "172.30.0.2", "tcp"),
    ]


def test_the_way_out_and_services_of_the_probes_families() -> None:
    by_node = {"a": [probe("a", "10.1.0.2")], "b": [probe("b", "fd00:1::2")]}
    (out,) = plan.outside(by_node, ip_address("192.0.2.1"))
    assert (out.source, out.target, out.protocol) == ("a", "192.0.2.1", "icmp")
    web = Service(
        name="web",
        network="blue",
        select="a=b",
        ports=(ServicePort(port=80), ServicePort(port=53, protocol="udp")),
        addresses=(ip_address("10.1.255.9"), ip_address("fd00:1::9")),
    )
    member = s.MemberInfo(id="e", name="w", node="a", addresses=(), state="ready", connections=0)
    found = list(plan.services(by_node, [s.ServiceInfo(service=web, members=(member,))]))
    assert [(case.source, case.test.kind, str(case.test.target), case.test.port) for case in found] == [
        ("a", "connect", "10.1.255.9", 80),
        ("b", "connect", "fd00:1::9", 80),
    ]
    assert list(plan.services(by_node, [s.ServiceInfo(service=web, members=())])) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: PlaceProbes(run="../../x", seconds=60),
        lambda: PlaceProbes(run="0badcafe", seconds=3_600),
        lambda: PlaceProbes(run="0badcafe", seconds=float("nan")),
        lambda: RunTests(probe="", tests=(), seconds=0),
        lambda: RunTests(probe="", tests=(), rate=0),
        lambda: RunTests(probe="", tests=(Test(kind="ping", target=ip_address("::1")),) * (MOST_TESTS + 1)),
        lambda: Test(kind="udp", target=ip_address("::1"), size=70_000),
        lambda: Test(kind="tcp", target=ip_address("::1"), port=70_000),
    ],
)
def test_what_no_agent_is_asked_for(make) -> None:
    with pytest.raises(Invalid):
        make()
