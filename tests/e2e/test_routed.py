"""Driver routed by the agents of a lab, all of it through VXLAN: that needs no routes but Weft's own."""

from __future__ import annotations

import json

import pytest

from support.reach import NODES, OUTSIDE, Container, client, make_network, ping, run_everywhere, shown, weft
from support.waiting import until
from weft.base.errors import Conflict
from weft.kernel import facts
from weft.lab import Lab, matrix

PREFIXES = ("10.1.0.0/16", "fd00:1::/48")


@pytest.fixture(scope="module")
def prod(lab: Lab) -> list[Container]:
    make_network(lab, "prod", "routed", *PREFIXES, encap="vxlan")
    found = run_everywhere(lab, "prod")
    until(lambda: all(len(routes(lab, host)) == 3 for host in NODES), 20, "a route to each other's block")
    return found


def routes(lab: Lab, host: str) -> list[str]:
    found = shown(lab.host(host), "ip -j route show dev weft.4096 proto 87")
    return [r["dst"] for r in found if r["flags"] == ["onlink"]]


def test_everybody_reaches_everybody_and_outside(lab: Lab, prod: list[Container]) -> None:
    pings = matrix.measure(matrix.containers(lab, "prod"))
    assert [f"{p.source} {p.address}" for p in pings if not p.ok] == []
    assert {ping(prod[0].inside, other.address(family)).ttl for other in prod[1:] for family in (4, 6)} == {62}
    assert all(ping(c.inside, OUTSIDE[family]).ok for c in prod for family in (4, 6))


@pytest.mark.parametrize("family", [4, 6])
def test_a_trace_follows_the_packet(lab: Lab, prod: list[Container], family: int) -> None:
    mine, far = prod[0], prod[3]
    said = json.loads(weft(lab, "node-1", "trace", mine.name, far.address(family), "-o", "json").stdout)
    ends = {way: said[way]["outcome"]["ending"] for way in ("there", "back")}
    assert set(ends.values()) == {"delivered"}, ends


def test_the_replies_say_what_the_container_has(lab: Lab, prod: list[Container]) -> None:
    endpoint = prod[0].endpoint
    assert [str(g) for g in endpoint.gateways] == ["169.254.1.1", "fe80::ecee:eeff:feee:eeee"]
    assert {a.network.prefixlen for a in endpoint.addresses} == {32, 128}
    assert endpoint.mtu == 1450
    elsewhere = client(lab, "node-2").endpoint("node-1/" + prod[0].name)
    assert elsewhere.gateways == endpoint.gateways


def test_nothing_is_left_to_plan(lab: Lab, prod: list[Container]) -> None:
    assert [weft(lab, host, "plan").stdout for host in NODES] == [""] * 4


def test_without_the_module_ipip_is_refused_before_anything_is_made(lab: Lab) -> None:
    if "ipip" in facts.features():
        pytest.skip("this kernel has it")
    with pytest.raises(Conflict, match=r"has no ipip.*-o encap=vxlan-cross-subnet"):
        make_network(lab, "second", "routed", "10.9.0.0/16", encap="ipip-cross-subnet")
    assert "second" not in {n.name for n in client(lab, "node-1").networks()}
