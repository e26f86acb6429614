"""Driver vxlan, as an operator and the wire see it: attributes, entries, packets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.capture import Capture, Packet
from support.reach import NODES, UNDERLAY, Container, client, make_network, ping, run, run_everywhere, shown
from weft.lab import Lab, matrix
from weft.lab.inside import Inside

PREFIXES = {
    "blue": ("10.1.0.0/16", "fd00:1::/48"),
    "plain": ("10.2.0.0/16",),
    "sixth": ("10.3.0.0/16", "fd00:3::/48"),
    "direct": ("10.4.0.0/16", "fd00:4::/48"),
}
VNI = {"blue": 1, "plain": 2, "sixth": 3, "direct": 4}


@pytest.fixture(scope="module")
def networks(lab: Lab) -> Iterator[dict[str, list[Container]]]:
    """`blue` with the defaults, dual stack; `plain` v4 only; `sixth` over the v6 underlay; `direct` with direct routing.
    In each a container on every node."""
    make_network(lab, "blue", "vxlan", *PREFIXES["blue"])
    make_network(lab, "plain", "vxlan", *PREFIXES["plain"], vni="2")
    make_network(lab, "sixth", "vxlan", *PREFIXES["sixth"], vni="3", underlay="ipv6")
    make_network(lab, "direct", "vxlan", *PREFIXES["direct"], vni="4", direct_routing="true")
    yield {name: run_everywhere(lab, name) for name in PREFIXES}


def device(host: Inside, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A link, and what is special to its kind."""
    (link,) = shown(host, f"ip -j -d link show dev {name}")
    return link, link["linkinfo"].get("info_data", {})


def vtep_macs(lab: Lab, network: str) -> dict[str, str]:
    return {lease.node: lease.data["vtep-mac"] for lease in client(lab, "node-1").network(network).leases}


def routes(inside: Inside, family: int, dev: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """(prefix, next hop, flags) of those that are not the kernel's own."""
    found = shown(inside, f"ip -j -{family} route show dev {dev}")
    return sorted((r["dst"], r.get("gateway", ""), tuple(r["flags"])) for r in found if r.get("protocol") != "kernel")


def neighbours(inside: Inside, dev: str) -> list[tuple[str, str, list[str]]]:
    """(address, MAC, state)."""
    return sorted((n["dst"], n["lladdr"], n["state"]) for n in shown(inside, f"ip -j neigh show dev {dev}"))


def fdb(inside: Inside, dev: str) -> list[tuple[str, str, list[str], str]]:
    """(MAC, underlay address, flags, state) of all entries."""
    found = shown(inside, f"bridge -j fdb show dev {dev}")
    return sorted((e["mac"], e["dst"], e["flags"], e["state"]) for e in found)


def base(container: Container, family: int) -> str:
    return container.subnet(family).partition("/")[0]


# ------------------------------------------------------------------------------------------------------- the kernel


@pytest.mark.parametrize("name", ["blue", "plain"])
def test_the_device_is_as_flannel_makes_it(lab: Lab, networks: dict[str, list[Container]], name: str) -> None:
    link, data = device(lab.host("node-1"), f"weft.{VNI[name]}")
    assert link["linkinfo"]["info_kind"] == "vxlan"
    assert (data["id"], data["local"], data["link"], data["port"]) == (VNI[name], "192.168.1.68", "eth0", 8472)
    assert data["learning"] is False
    assert not any(data.get(feature) for feature in ("proxy", "rsc", "l2miss", "l3miss", "group", "external"))
    assert link["mtu"] == 1450
    assert "UP" in link["flags"]
    assert link["address"] == vtep_macs(lab, name)["node-1"]
    assert link["ifalias"] == f"weft:network/{name}"


def test_over_the_v6_underlay(lab: Lab, networks: dict[str, list[Container]]) -> None:
    link, data = device(lab.host("node-1"), "weft.3")
    assert (data["id"], data["local6"], data["link"], data["port"]) == (3, "fd00:192:168:1::68", "eth0", 8472)
    assert "local" not in data
    assert link["mtu"] == 1430
    assert {dst for _, dst, _, _ in fdb(lab.host("node-1"), "weft.3")} == {UNDERLAY[node][6] for node in NODES[1:]}


@pytest.mark.parametrize("name", ["blue", "plain", "sixth"])
def test_per_node_exactly_a_route_a_neighbour_and_an_fdb_entry(
    lab: Lab, networks: dict[str, list[Container]], name: str
) -> None:
    """A route and a neighbour for each family of the network; three entries for a network of one family."""
    node, dev = lab.host("node-1"), f"weft.{VNI[name]}"
    macs, peers = vtep_macs(lab, name), networks[name][1:]
    families = [6 if ":" in prefix else 4 for prefix in PREFIXES[name]]
    for family in families:
        expected = sorted((peer.subnet(family), base(peer, family), ("onlink",)) for peer in peers)
        assert routes(node, family, dev) == expected
    expected_neighbours = sorted((base(p, f), macs[p.host], ["PERMANENT"]) for p in peers for f in families)
    assert neighbours(node, dev) == expected_neighbours
    underlay = 6 if name == "sixth" else 4
    assert fdb(node, dev) == sorted((macs[p.host], UNDERLAY[p.host][underlay], ["self"], "permanent") for p in peers)
    if name == "plain":
        assert (
            len(routes(node, 4, dev)) + len(routes(node, 6, dev)) + len(neighbours(node, dev)) + len(fdb(node, dev))
            == 9
        )


def test_the_whole_v4_routing_table(lab: Lab, networks: dict[str, list[Container]]) -> None:
    """Nothing but what the host had, the local subnets, a route per peer, and unreachable for what nobody holds."""
    found = {
        (r.get("type", "unicast"), r["dst"], r.get("gateway", ""), r.get("dev", ""))
        for r in shown(lab.host("node-1"), "ip -j -d -4 route")
    }
    expected = {("unicast", "default", "192.168.1.1", "eth0"), ("unicast", "192.168.1.0/24", "", "eth0")}
    for name, (mine, *peers) in networks.items():
        expected.add(("unreachable", PREFIXES[name][0], "", ""))
        expected.add(("unicast", mine.subnet(4), "", f"weft-{name}"))
        for peer in peers:
            if name == "direct" and peer.host != "node-4":
                expected.add(("unicast", peer.subnet(4), UNDERLAY[peer.host][4], "eth0"))
            else:
                expected.add(("unicast", peer.subnet(4), base(peer, 4), f"weft.{VNI[name]}"))
    assert found == expected


def test_a_container_has_one_interface_on_a_plain_bridge(lab: Lab, networks: dict[str, list[Container]]) -> None:
    mine = networks["blue"][0]
    links = {link["ifname"]: link for link in shown(mine.inside, "ip -j -d link")}
    assert set(links) == {"lo", "eth0"}
    assert links["eth0"]["mtu"] == 1450
    assert links["eth0"]["address"] == mine.endpoint.mac
    (eth0,) = shown(mine.inside, "ip -j addr show dev eth0")
    addresses = {f"{a['local']}/{a['prefixlen']}" for a in eth0["addr_info"] if a["scope"] == "global"}
    assert addresses == {str(a) for a in mine.endpoint.addresses}
    for family, whole in zip((4, 6), PREFIXES["blue"], strict=True):
        assert mine.address(family).startswith(whole.split("0.0/")[0].split(":/")[0])
        assert routes(mine.inside, family, "eth0") == [("default", mine.gateway(family), ())]
    (bridge,) = shown(lab.host("node-1"), "ip -j -d addr show dev weft-blue")
    assert bridge["linkinfo"]["info_kind"] == "bridge"
    owned = {a["local"] for a in bridge["addr_info"] if a["scope"] == "global"}
    assert owned == {mine.gateway(4), mine.gateway(6)}


def test_a_container_elsewhere_is_no_work_here(lab: Lab, networks: dict[str, list[Container]]) -> None:
    """Only a node's coming and going is."""

    def writes() -> float:
        text = lab.host("node-1").must(
            "metrics", ["curl", "-s", "--unix-socket", "/run/weft/weft.sock", "http://w/metrics"]
        )
        return next(
            float(line.split()[1]) for line in text.splitlines() if line.startswith("weft_kernel_writes_total ")
        )

    node = lab.host("node-1")
    entries = (routes(node, 4, "weft.1"), neighbours(node, "weft.1"), fdb(node, "weft.1"), writes())
    guest = run(lab, "node-2", "guest", "blue")
    assert ping(networks["blue"][0].inside, guest.address(4)).ok
    assert (routes(node, 4, "weft.1"), neighbours(node, "weft.1"), fdb(node, "weft.1"), writes()) == entries
    lab.rm("node-2", "guest")
    assert (routes(node, 4, "weft.1"), neighbours(node, "weft.1"), fdb(node, "weft.1"), writes()) == entries


# ----------------------------------------------------------------------------------------------- who reaches whom


def test_all_reach_all(lab: Lab, networks: dict[str, list[Container]]) -> None:
    for name in PREFIXES:
        pings = matrix.measure(matrix.containers(lab, name))
        assert len(pings) == 12 * len(PREFIXES[name])
        assert [f"{p.source} {p.address}" for p in pings if not p.ok] == []


@pytest.mark.parametrize("name", PREFIXES)
@pytest.mark.parametrize("family", [4, 6])
def test_two_hosts_route_on_the_way(networks: dict[str, list[Container]], name: str, family: int) -> None:
    """TTL 64 less both hosts' routing; a tunnel's underlay does not count, the router of a tunnel neither."""
    if name == "plain" and family == 6:
        assert len(networks[name][0].endpoint.addresses) == 1
        return
    mine, *others = networks[name]
    assert [ping(mine.inside, other.address(family)).ttl for other in others] == [62, 62, 62]


def test_a_host_reaches_containers_everywhere(lab: Lab, networks: dict[str, list[Container]]) -> None:
    for other in networks["blue"]:
        for family in (4, 6):
            assert ping(lab.host("node-1"), other.address(family)).ok, f"{other.name} over IPv{family}"


def test_an_address_that_nobody_holds_is_refused_at_once(networks: dict[str, list[Container]]) -> None:
    """It lies in a subnet that no node has leased."""
    assert "Unreachable" in ping(networks["blue"][0].inside, "10.1.255.254", wait=20).text
    assert "No route" in ping(networks["blue"][0].inside, "fd00:1:0:ffff::2", wait=20).text


# ----------------------------------------------------------------------------------------------------- on the wire


def pinged(lab: Lab, folder: Path, containers: list[Container], family: int) -> list[Packet]:
    """What node-1's uplink carries while its container pings all others and they ping it."""
    mine, *others = containers
    with Capture(lab.host("node-1"), folder) as capture:
        for other in others:
            assert ping(mine.inside, other.address(family)).ok
            assert ping(other.inside, mine.address(family)).ok
    return capture.packets


def between(packets: list[Packet], one: Container, other: Container, family: int) -> list[Packet]:
    ends = {one.address(family), other.address(family)}
    return [p for p in packets if set(p.ends) == ends]


def assert_nobody_asks_for_containers(packets: list[Packet]) -> None:
    """Neither on the wire nor inside a tunnel."""
    hosts = {address for both in UNDERLAY.values() for address in both.values()}
    hosts |= {"192.168.1.1", "fd00:192:168:1::1"}
    asked = {address for p in packets for address in p.asked_for if not address.startswith("fe80:")}
    assert asked <= hosts
    assert not [p for p in packets if p.tunnelled and ("arp" in p.layers or p.asked_for)]


@pytest.mark.parametrize("family", [4, 6])
def test_packets_are_vxlan_with_vni_1_to_port_8472(
    lab: Lab, networks: dict[str, list[Container]], tmp_path: Path, family: int
) -> None:
    mine, *others = networks["blue"]
    packets = pinged(lab, tmp_path, networks["blue"], family)
    for other in others:
        found = between(packets, mine, other, family)
        assert len(found) == 4, f"two pings and their answers, with {other.name}"
        for packet in found:
            icmp = "icmp" if family == 4 else "icmpv6"
            assert packet.layers[:6] == ("eth", "ip", "udp", "vxlan", "eth", "ip" if family == 4 else "ipv6")
            assert packet.layers[6] == icmp
            assert packet["vxlan.vni"] == ("1",)
            assert packet["udp.dstport"] == ("8472",)
            assert {packet["ip.src"][0], packet["ip.dst"][0]} == {UNDERLAY["node-1"][4], UNDERLAY[other.host][4]}
    assert all(packet.tunnelled for packet in packets if set(packet.ends) & {mine.address(family)})
    assert_nobody_asks_for_containers(packets)


@pytest.mark.parametrize("family", [4, 6])
def test_packets_over_the_v6_underlay(
    lab: Lab, networks: dict[str, list[Container]], tmp_path: Path, family: int
) -> None:
    mine, *others = networks["sixth"]
    packets = pinged(lab, tmp_path, networks["sixth"], family)
    for other in others:
        found = between(packets, mine, other, family)
        assert len(found) == 4
        for packet in found:
            assert packet.layers[:4] == ("eth", "ipv6", "udp", "vxlan")
            assert packet["vxlan.vni"] == ("3",)
            assert packet["udp.dstport"] == ("8472",)
            assert {packet["ipv6.src"][0], packet["ipv6.dst"][0]} == {UNDERLAY["node-1"][6], UNDERLAY[other.host][6]}
    assert_nobody_asks_for_containers(packets)


@pytest.mark.parametrize("family", [4, 6])
def test_direct_routing_tunnels_only_what_must_cross_the_router(
    lab: Lab, networks: dict[str, list[Container]], tmp_path: Path, family: int
) -> None:
    mine, *others = networks["direct"]
    packets = pinged(lab, tmp_path, networks["direct"], family)
    tunnelled = {o.host: {p.tunnelled for p in between(packets, mine, o, family)} for o in others}
    assert tunnelled == {"node-2": {False}, "node-3": {False}, "node-4": {True}}
    assert_nobody_asks_for_containers(packets)


def test_direct_routing_has_entries_for_the_node_behind_the_router_only(
    lab: Lab, networks: dict[str, list[Container]]
) -> None:
    node, far = lab.host("node-1"), networks["direct"][3]
    assert fdb(node, "weft.4") == [(vtep_macs(lab, "direct")["node-4"], UNDERLAY["node-4"][4], ["self"], "permanent")]
    assert routes(node, 4, "weft.4") == [(far.subnet(4), base(far, 4), ("onlink",))]
    assert len(neighbours(node, "weft.4")) == 2
    assert len(fdb(lab.host("node-4"), "weft.4")) == 3
