"""Driver routed in the reference lab, all parts together: blocks, BGP, a tunnel to the host behind the router."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from support.bgp import bird_routes, established
from support.capture import Capture
from support.reach import (
    NODES,
    OUTSIDE,
    UNDERLAY,
    Container,
    PeerServer,
    client,
    make_network,
    namespaces,
    ping,
    run,
    run_everywhere,
    shown,
    weft,
)
from support.waiting import until
from weft.api import types as t
from weft.base.errors import Conflict
from weft.datapaths.routed import HOST_END_MAC, NEXT_HOPS
from weft.kernel.host import facts
from weft.lab import Lab, matrix
from weft.model import PublishedPort

PREFIXES = ("197.19.0.0/16", "fd80:24e2:f998:72d6::/64")
TUNNEL = "weft.4096"
Routes = dict[str, tuple[object, ...]]
FAMILIES = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(scope="module")
def prod(lab: Lab) -> Iterator[list[Container]]:
    make_network(lab, "prod", "routed", *PREFIXES, encap="vxlan-cross-subnet")
    found = run_everywhere(lab, "prod")
    established(lab, NODES, 6)
    spread(lab)
    yield found


def spread(lab: Lab) -> None:
    """Waits until the three hosts of the segment have each other's blocks by BGP."""
    until(lambda: all(len(bird_routes(lab.host(h), f)) == 3 for h in NODES[:3] for f in (4, 6)), 20, "BGP's routes")


def block(lab: Lab, host: str, family: int) -> str:
    """The one that the node holds."""
    leases = client(lab, "node-1").network("prod").leases
    (held,) = [s for lease in leases if lease.node == host for s in lease.subnets if s.version == family]
    return str(held)


def routes(lab: Lab, host: str, family: int) -> Routes:
    """Every route to somewhere in the network: how it leads there."""
    pool = ip_network(PREFIXES[family == 6])
    found = shown(lab.host(host), f"ip -j -d -{family} route show")
    return {r["dst"]: _way(r) for r in found if r["dst"] != "default" and ip_network(r["dst"]).subnet_of(pool)}


def _way(r: dict[str, Any]) -> tuple[object, ...]:
    device = r["dev"] if r["type"] == "unicast" else None
    return r["type"], r.get("gateway"), device, r["protocol"], "onlink" in r["flags"]


def link_local(lab: Lab, host: str) -> str:
    (link,) = shown(lab.host(host), f"ip -j -6 addr show dev {TUNNEL} scope link")
    return str(link["addr_info"][0]["local"])


# ----------------------------------------------------------------------------------------------------- the kernel


@FAMILIES
def test_exactly_these_routes(lab: Lab, prod: list[Container], family: int) -> None:
    """Of the segment's hosts by BGP, of the host behind the router through the tunnel, the own block's end, one container."""
    own, far = prod[0], {4: UNDERLAY["node-4"][4], 6: link_local(lab, "node-4")}
    assert routes(lab, "node-1", family) == {
        own.address(family): ("unicast", None, own.endpoint.host_interface, "87", False),
        block(lab, "node-1", family): ("blackhole", None, None, "bird", False),
        block(lab, "node-2", family): ("unicast", UNDERLAY["node-2"][family], "eth0", "bird", False),
        block(lab, "node-3", family): ("unicast", UNDERLAY["node-3"][family], "eth0", "bird", False),
        block(lab, "node-4", family): ("unicast", far[family], TUNNEL, "87", True),
    }
    if family == 4:
        (alone,) = shown(lab.host("node-1"), f"ip -j route show {own.address(4)}")
        assert alone["scope"] == "link"
    ways = routes(lab, "node-4", family)
    assert [ways[block(lab, host, family)][2:] for host in NODES[:3]] == [(TUNNEL, "87", True)] * 3


@FAMILIES
def test_one_more_container_is_one_more_route_on_its_host_and_none_elsewhere(
    lab: Lab, prod: list[Container], family: int
) -> None:
    before = {host: routes(lab, host, family) for host in NODES}
    guest = run(lab, "node-1", "guest", "prod")
    try:
        after = {host: routes(lab, host, family) for host in NODES}
        assert set(after["node-1"]) - set(before["node-1"]) == {guest.address(family)}
        assert after | {"node-1": {}} == before | {"node-1": {}}
    finally:
        lab.rm("node-1", "guest")
    assert routes(lab, "node-1", family) == before["node-1"]


def test_a_container_has_one_way_out_to_an_address_that_exists_nowhere(lab: Lab, prod: list[Container]) -> None:
    inside = prod[0].inside
    found = {r["dst"]: r for r in shown(inside, "ip -j -4 route")}
    assert set(found) == {"default", NEXT_HOPS[4]}
    assert (found["default"]["gateway"], found["default"]["dev"]) == (NEXT_HOPS[4], "eth0")
    assert (found[NEXT_HOPS[4]]["scope"], found[NEXT_HOPS[4]]["dev"]) == ("link", "eth0")
    (default,) = shown(inside, "ip -j -6 route show default")
    assert (default["gateway"], default["dev"]) == (NEXT_HOPS[6], "eth0")
    (link,) = shown(inside, "ip -j addr show dev eth0")
    held = {(a["local"], a["prefixlen"]) for a in link["addr_info"] if a["scope"] == "global"}
    assert held == {(prod[0].address(4), 32), (prod[0].address(6), 128)}
    (end,) = shown(lab.host("node-1"), f"ip -j link show dev {prod[0].endpoint.host_interface}")
    assert (end["address"], end["mtu"]) == (HOST_END_MAC, 1450)
    assert "bridge" not in {link.get("linkinfo", {}).get("info_kind") for link in shown(inside, "ip -j -d link")}
    assert shown(lab.host("node-1"), "ip -j link show type bridge") == []


def test_the_host_end_answers_for_the_next_hop(lab: Lab, prod: list[Container], tmp_path: Path) -> None:
    """As a capture on it shows; the answer does not wait."""
    mine = prod[0]
    mine.inside.must("forget", ["ip", "neigh", "flush", "all"])
    ear = tmp_path / "arp.pcap"
    words = [
        "tcpdump",
        "-Z",
        "root",
        "-n",
        "-U",
        "--immediate-mode",
        "-i",
        mine.endpoint.host_interface,
        "-w",
        str(ear),
    ]
    with lab.host("node-1").popen([*words, "arp"]) as process:
        assert process.stderr is not None
        while "listening on" not in process.stderr.readline():
            assert process.poll() is None
        assert ping(mine.inside, prod[1].address(4)).ok
        show = ["tcpdump", "-n", "-e", "-r", str(ear)]
        until(lambda: "is-at" in lab.host("node-1").run(show).stdout, 5, "an answer")
        process.terminate()
        process.communicate(timeout=10)
    said = lab.host("node-1").run(show, check=True).stdout
    question = f"who-has {NEXT_HOPS[4]} tell {mine.address(4)}"
    assert question in said and f"Reply {NEXT_HOPS[4]} is-at {HOST_END_MAC}" in said, said


# ----------------------------------------------------------------------------------------------- who reaches whom


def test_everybody_reaches_everybody(lab: Lab, prod: list[Container]) -> None:
    pings = matrix.measure(matrix.containers(lab, "prod"))
    assert len(pings) == 24
    assert [f"{p.source} {p.address}" for p in pings if not p.ok] == []
    far = {ping(a.inside, b.address(f)).ttl for a in prod for b in prod if a is not b for f in (4, 6)}
    assert far == {62}


@FAMILIES
def test_only_the_way_over_the_router_is_a_tunnel(lab: Lab, prod: list[Container], tmp_path: Path, family: int) -> None:
    mine, *others = prod
    with Capture(lab.host("node-1"), tmp_path) as capture:
        assert all(ping(mine.inside, other.address(family)).ok for other in others)
    for other in others:
        ends = {mine.address(family), other.address(family)}
        found = [p for p in capture.packets if set(p.ends) == ends]
        assert [p.tunnelled for p in found] == [other.host == "node-4"] * 2, other.host
    assert [p.layers for p in capture.packets if set(p.asked_for) & {c.address(family) for c in prod}] == []


@FAMILIES
def test_an_address_of_the_own_block_that_nobody_has_does_not_leave_the_host(
    lab: Lab, prod: list[Container], tmp_path: Path, family: int
) -> None:
    nobody = str(ip_network(block(lab, "node-1", family))[60])
    with Capture(lab.host("node-1"), tmp_path) as capture:
        assert not ping(prod[0].inside, nobody, wait=1).ok
        assert not ping(prod[1].inside, nobody, wait=1).ok
    # The one that came from node-2 is all there is.
    assert [p.ends[0] for p in capture.packets if p.ends[1] == nobody] == [prod[1].address(family)]


@FAMILIES
def test_a_published_port(lab: Lab, prod: list[Container], family: int) -> None:
    host = lab.host("node-2")
    namespaces(host, ["shop"])
    ports = (PublishedPort(host_port=8000, container_port=PeerServer.PORT),)
    client(lab, "node-2").attach(t.Attach(target="shop", network="prod", ports=ports))
    try:
        with PeerServer(host.container("shop")):
            for source in (lab.host("outside"), lab.host("node-1"), prod[0].inside, prod[1].inside, prod[3].inside):
                script = f"exec 3<>/dev/tcp/{UNDERLAY['node-2'][family]}/8000 && cat <&3"
                assert source.run(["timeout", "5", "bash", "-c", script], timeout=20).stdout, source.name
    finally:
        client(lab, "node-2").detach("shop")
        host.must("end", ["ip", "netns", "del", "shop"])


@FAMILIES
def test_a_trace_follows_the_packet(lab: Lab, prod: list[Container], family: int) -> None:
    for far in (prod[1], prod[3]):
        said = json.loads(weft(lab, "node-1", "trace", prod[0].name, far.address(family), "-o", "json").stdout)
        ends = {way: said[way]["outcome"]["ending"] for way in ("there", "back")}
        assert set(ends.values()) == {"delivered"}, ends
        steps = {hop["step"] for hop in said["there"]["hops"]}
        assert ("encapsulate" in steps) == (far.host == "node-4")


# ------------------------------------------------------------------------------------------------- what is told


def test_the_replies_say_what_the_container_has(lab: Lab, prod: list[Container]) -> None:
    endpoint = prod[0].endpoint
    assert [str(g) for g in endpoint.gateways] == [NEXT_HOPS[4], NEXT_HOPS[6]]
    assert {a.network.prefixlen for a in endpoint.addresses} == {32, 128}
    assert endpoint.mtu == 1450
    elsewhere = client(lab, "node-2").endpoint("node-1/" + prod[0].name)
    assert elsewhere.gateways == endpoint.gateways


def test_nothing_is_left_to_do(lab: Lab, prod: list[Container]) -> None:
    assert [weft(lab, host, "plan").stdout for host in NODES] == [""] * 4
    checked = weft(lab, "node-1", "ipam", "check")
    assert (checked.returncode, checked.stdout.rstrip().endswith("nothing is wrong")) == (0, True)
    status = client(lab, "node-1").status()
    assert (status.state, status.troubles) == ("converged", ())
    assert status.bgp is not None and (status.bgp.established, status.bgp.reason) == (6, "")


def test_bgp_routes_say_what_is_left_to_the_tunnel(lab: Lab, prod: list[Container]) -> None:
    found = {(r.source, r.prefix.version): r for r in client(lab, "node-1").bgp_routes() if r.source in NODES}
    assert {key: r.tunnelled for key, r in found.items()} == {
        (node, family): node == "node-4" for node in NODES[1:] for family in (4, 6)
    }
    shown_to_us = weft(lab, "node-1", "bgp", "routes", found["node-4", 4].prefix.with_prefixlen).stdout
    assert "192.168.0.33 by tunnel" in shown_to_us, shown_to_us


# ------------------------------------------------------------------------------------------------ other networks


def test_an_internal_network_has_no_way_out(lab: Lab, prod: list[Container]) -> None:
    make_network(lab, "inner", "routed", "10.70.0.0/16", internal=True, encap="vxlan-cross-subnet", vni="9")
    guests = [run(lab, host, "inner", "inner") for host in ("node-1", "node-4", "node-2")]
    mine, *others = guests
    try:
        until(
            lambda: all(ping(mine.inside, o.address(4), wait=1).ok for o in others), 10, "its containers to be reached"
        )
        assert {r["dst"] for r in shown(mine.inside, "ip -j -4 route")} == {"10.70.0.0/16", NEXT_HOPS[4]}
        mine.inside.must("a way", ["ip", "route", "add", "default", "via", NEXT_HOPS[4], "dev", "eth0"])
        for address in (OUTSIDE[4], UNDERLAY["node-2"][4], prod[0].address(4), prod[1].address(4)):
            assert not ping(mine.inside, address, wait=1).ok, address
    finally:
        for guest in guests:
            lab.rm(guest.host, "inner")
        client(lab, "node-1").remove_network("inner")


def test_without_the_module_ipip_is_refused_before_anything_is_made(lab: Lab) -> None:
    if "ipip" in facts.features():
        pytest.skip("this kernel has it")
    with pytest.raises(Conflict, match=r"has no ipip.*-O encap=vxlan-cross-subnet"):
        make_network(lab, "second", "routed", "10.9.0.0/16", encap="ipip-cross-subnet")
    assert "second" not in {n.name for n in client(lab, "node-1").networks()}
