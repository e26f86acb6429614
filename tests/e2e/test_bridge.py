"""Driver bridge: one host's containers, a way out, no way to other hosts."""

from __future__ import annotations

import pytest

from support.reach import OUTSIDE, UNDERLAY, Container, PeerServer, make_network, ping, run, seen_as, shown
from weft.lab import Lab


@pytest.fixture(scope="module")
def local(lab: Lab) -> list[Container]:
    """Two on node-1, one on node-2."""
    make_network(lab, "local", "bridge", "10.1.0.0/16", "fd00:1::/48")
    return [run(lab, host, name, "local") for host, name in (("node-1", "c1"), ("node-1", "c2"), ("node-2", "c3"))]


@pytest.mark.parametrize("family", [4, 6])
def test_neighbours_on_the_bridge(local: list[Container], family: int) -> None:
    one, two, _ = local
    assert one.subnet(family) == two.subnet(family)
    assert ping(one.inside, two.address(family)).ttl == 64
    assert ping(one.inside, one.gateway(family)).ttl == 64


def test_nothing_for_other_nodes(lab: Lab, local: list[Container]) -> None:
    node = lab.host("node-1")
    ours = [r for family in (4, 6) for r in shown(node, f"ip -j -d -{family} route show proto 87")]
    assert sorted((r["type"], r["dst"]) for r in ours) == [
        ("unreachable", "10.1.0.0/16"),
        ("unreachable", "fd00:1::/48"),
    ]
    devices = shown(node, "ip -j -d link")
    kinds = sorted(d["linkinfo"]["info_kind"] for d in devices if d.get("ifalias", "").startswith("weft:"))
    assert kinds == ["bridge", "veth", "veth"]
    assert {d["mtu"] for d in devices if d.get("ifalias", "").startswith("weft:")} == {1500}


@pytest.mark.parametrize("family", [4, 6])
def test_other_hosts_containers_are_answered_for_at_once(local: list[Container], family: int) -> None:
    pong = ping(local[0].inside, local[2].address(family), wait=20)
    assert not pong.ok
    assert "Unreachable" in pong.text or "No route" in pong.text


@pytest.mark.parametrize("family", [4, 6])
def test_the_way_out_is_masqueraded(lab: Lab, local: list[Container], family: int) -> None:
    with PeerServer(lab.host("outside")):
        assert seen_as(local[0].inside, OUTSIDE[family]) == UNDERLAY["node-1"][family]
        assert seen_as(local[2].inside, OUTSIDE[family]) == UNDERLAY["node-2"][family]
