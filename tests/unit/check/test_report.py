"""What is said of tests: cells of the matrix, and which failures are told together."""

from __future__ import annotations

from ipaddress import ip_address

from weft.api.checks import Test, Tested
from weft.check.plan import Case, What
from weft.check.report import Report, cells, together
from weft.cli.check_shown import render
from weft.cli.table import Page


def case(what: What, source: str = "a", target: str = "b", address: str = "10.1.0.2") -> Case:
    kind = {"tcp": "tcp", "service": "connect"}.get(what, "udp")
    test = Test(kind=kind, target=ip_address(address), port=7)  # type: ignore[arg-type]
    return Case(what=what, network="blue", source=source, probe="p", target=target, to="q", test=test)


WELL, LOST = Tested(ms=0.5), Tested(ms=2000, error="no answer within 2 s")


def test_a_cell_counts_what_failed_and_what_is_denied() -> None:
    refused = case("tcp")
    results = [(case("small"), Tested(ms=3)), (case("small"), WELL), (case("large"), LOST), (refused, LOST)]
    (found,) = cells([*results, (case("service"), LOST)], [refused])
    assert (found.source, found.target, found.tests, found.failed, found.denied, found.ms) == ("a", "b", 4, 1, 1, 0.5)


def test_where_small_packets_are_lost_the_rest_is_told_with_them() -> None:
    groups = together([(case("large"), LOST), (case("small"), LOST), (case("small", target="c"), LOST)])
    assert [[each[0].what for each in some] for some in groups] == [["small", "large"], ["small"]]


def test_where_small_packets_arrive_each_kind_is_a_problem_of_its_own() -> None:
    groups = together([(case("large"), LOST), (case("name"), LOST), (case("large", address="fd00::2"), LOST)])
    assert [len(some) for some in groups] == [1, 1, 1]


def test_without_a_network_it_says_that_nothing_was_tested() -> None:
    lines = list(render(Page(100, colour=False), Report(run="0badcafe", ok=True, nodes=("a",), networks=())))
    assert lines == ["there is no network in which containers have addresses: nothing was tested"]
