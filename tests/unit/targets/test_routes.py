"""Whose a route in a cloud's table is, and when one that is nobody's goes."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from support.clouds import FakeClock
from weft.targets.routes import Sweep, Territory, Whose

HERE = Territory(
    me="node-1",
    subnets=(ip_network("40.15.0.0/16"), ip_network("fd40:15::/48")),
    holders={ip_network("40.15.43.0/24"): "node-1", ip_network("40.15.26.0/24"): "node-2"},
)


@pytest.mark.parametrize(
    ("destination", "to_host", "here", "whose"),
    [
        ("40.15.43.0/24", True, True, Whose.OURS),
        ("40.15.43.0/24", True, False, Whose.OURS),  # it leads to a former holder: put right
        ("40.15.43.0/24", False, False, Whose.FOREIGN),  # a gateway
        ("40.15.26.0/24", True, True, Whose.ANOTHER_NODES),
        ("40.15.99.0/24", True, True, Whose.OURS),  # left here by an earlier lease
        ("40.15.99.0/24", True, False, Whose.NOBODYS),
        ("fd40:15:0:99::/64", True, False, Whose.NOBODYS),
        ("40.16.0.0/24", True, True, Whose.FOREIGN),  # an operator's own
        ("0.0.0.0/0", True, True, Whose.FOREIGN),
        ("40.0.0.0/8", True, True, Whose.FOREIGN),  # wider than a network
    ],
)
def test_whose_a_route_is(destination: str, to_host: bool, here: bool, whose: Whose) -> None:
    assert HERE.whose(ip_network(destination), to_host=to_host, here=here) is whose


def test_what_is_nobodys_goes_after_it_has_been_seen_for_a_while() -> None:
    clock = FakeClock()
    sweep = Sweep(clock, grace=30.0)
    one, other = ("vpc-route", "vpc-1", "rtb-1", "a"), ("vpc-route", "vpc-1", "rtb-1", "b")
    assert sweep.due([one]) == set()
    clock.now += 29
    assert sweep.due([one, other]) == set()
    clock.now += 1
    assert sweep.due([one, other]) == {one}
    assert sweep.due([other]) == set(), "it was away in between, so it is new"
    clock.now += 30
    assert sweep.due([one, other]) == {other}
