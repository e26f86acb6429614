"""Driver host-gw: plain routes between hosts of one segment, nothing around the packets, and who is out of reach."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.capture import Capture
from support.reach import NODES, UNDERLAY, Container, make_network, ping, run_everywhere, shown, weft
from weft.lab import Lab

PREFIXES = ("10.1.0.0/16", "fd00:1::/48")
WAY_OUT = "use driver vxlan with -O direct-routing=true"


@pytest.fixture(scope="module")
def flat(lab: Lab) -> list[Container]:
    make_network(lab, "flat", "host-gw", *PREFIXES)
    return run_everywhere(lab, "flat")


@pytest.mark.parametrize("family", [4, 6])
def test_one_route_per_node_of_the_segment_and_nothing_else(lab: Lab, flat: list[Container], family: int) -> None:
    mine, *others = flat
    found = {
        (r.get("type", "unicast"), r["dst"], r.get("gateway", ""), r.get("dev", ""), tuple(r["flags"]))
        for r in shown(lab.host("node-1"), f"ip -j -d -{family} route")
        if not r["dst"].startswith("fe80:")
    }
    nowhere, link, gateway = (
        ("", "192.168.1.0/24", "192.168.1.1") if family == 4 else ("lo", "fd00:192:168:1::/64", "fd00:192:168:1::1")
    )
    expected = {
        ("unicast", "default", gateway, "eth0", ()),
        ("unicast", link, "", "eth0", ()),
        ("unicast", mine.subnet(family), "", "weft-flat", ()),
        ("unreachable", PREFIXES[family == 6], "", nowhere, ()),
    }
    for other in others[:2]:
        expected.add(("unicast", other.subnet(family), UNDERLAY[other.host][family], "eth0", ()))
    assert found == expected
    kinds = {link.get("linkinfo", {}).get("info_kind") for link in shown(lab.host("node-1"), "ip -j -d link")}
    assert kinds == {None, "veth", "bridge"}


@pytest.mark.parametrize("family", [4, 6])
def test_nothing_is_around_the_packets(lab: Lab, flat: list[Container], tmp_path: Path, family: int) -> None:
    mine, *others = flat[:3]
    with Capture(lab.host("node-1"), tmp_path) as capture:
        for other in others:
            assert ping(mine.inside, other.address(family)).ok
            assert ping(other.inside, mine.address(family)).ok
    for other in others:
        found = [p for p in capture.packets if set(p.ends) == {mine.address(family), other.address(family)}]
        assert len(found) == 4
        assert {p.layers[:3] for p in found} == {("eth", "ip", "icmp") if family == 4 else ("eth", "ipv6", "icmpv6")}
    asked = {address for p in capture.packets for address in p.asked_for if not address.startswith("fe80:")}
    assert asked <= {a for both in UNDERLAY.values() for a in both.values()} | {"192.168.1.1", "fd00:192:168:1::1"}
    assert not [p for p in capture.packets if p.tunnelled]


def problems(lab: Lab, host: str) -> dict[str, str]:
    """By peer, from `weft status`."""
    found = json.loads(weft(lab, host, "status", "-o", "json").stdout)
    return {p["peer"]: p["text"] for p in found["problems"]}


def test_the_node_behind_the_router_is_reported_on_both_sides(lab: Lab, flat: list[Container]) -> None:
    far = flat[3]
    for host in NODES[:3]:
        told = problems(lab, host)
        assert set(told) == {"node-4"}
        assert told["node-4"] == (
            f"node-4 is on another segment: host-gw cannot reach its {far.subnet(4)} and {far.subnet(6)}; {WAY_OUT}"
        )
    told = problems(lab, "node-4")
    assert set(told) == set(NODES[:3])
    for container in flat[:3]:
        assert container.subnet(4) in told[container.host] and told[container.host].endswith(WAY_OUT)


def test_and_in_network_show(lab: Lab, flat: list[Container]) -> None:
    told = json.loads(weft(lab, "node-1", "network", "show", "flat", "-o", "json").stdout)["problems"]
    assert len(told) == 1 and told[0].startswith("node-4 is on another segment") and told[0].endswith(WAY_OUT)
    told = json.loads(weft(lab, "node-4", "network", "show", "flat", "-o", "json").stdout)["problems"]
    assert sorted(line.split()[0] for line in told) == list(NODES[:3])
    table = weft(lab, "node-4", "network", "show", "flat").stdout
    assert "PROBLEMS" in table and "direct-routing=true" in table
