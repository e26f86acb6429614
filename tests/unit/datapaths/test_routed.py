"""Driver `routed`: who is tunnelled, who can take part, what cannot be had. What it yields is in tests/golden."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec
import pytest

from support import lab
from weft.base.net import parse_network
from weft.compile import isolation
from weft.datapaths._encap import tunnelled
from weft.datapaths.driver import gather
from weft.datapaths.registry import driver, parse_options
from weft.datapaths.routed import NEXT_HOPS
from weft.hoststate import Link, NftElement, Route
from weft.model.network import OptionValue

ROUTED = driver("routed")
ONE, NEAR, FAR = (lab.node(name) for name in ("node-1", "node-2", "node-4"))


@pytest.mark.parametrize(
    ("encap", "through"),
    [
        ("never", set()),
        ("ipip", {("near", 4), ("far", 4)}),
        ("ipip-cross-subnet", {("far", 4)}),
        ("vxlan", {("near", 4), ("far", 4), ("near", 6), ("far", 6)}),
        ("vxlan-cross-subnet", {("far", 4), ("far", 6)}),
    ],
)
def test_who_is_tunnelled(encap: str, through: set[tuple[str, int]]) -> None:
    options = parse_options(lab.network("routed", options={"encap": encap}))
    peers = {"near": NEAR, "far": FAR}
    found = {(name, fam) for name, node in peers.items() for fam in (4, 6) if tunnelled(options, ONE, node, fam)}
    assert found == through


def test_a_segment_by_name_counts_as_one() -> None:
    options = parse_options(lab.network("routed", options={"encap": "vxlan-cross-subnet"}))
    one, far = lab.node("node-1", segment="rack"), lab.node("node-4", segment="rack")
    assert not tunnelled(options, one, far, 4)


def test_the_next_hop_of_v6_is_what_the_kernel_makes_of_the_mac() -> None:
    assert NEXT_HOPS == {4: "169.254.1.1", 6: "fe80::ecee:eeff:feee:eeee"}


def refusal(options: dict[str, OptionValue], families: tuple[int, ...] = (4,), **facts: object) -> str:
    own = facts.pop("own", (4, 6))
    net = lab.network("routed", families, options=options)
    site = lab.site(net, lab.node("node-1", own), **facts)  # type: ignore[arg-type]
    return ROUTED.refusal(site.host, net, site.options)


def test_a_kernel_without_the_module_is_told_what_does_the_same() -> None:
    lacking = frozenset({"ipip"})
    assert refusal({"encap": "ipip-cross-subnet"}, lacking=lacking) == (
        "the kernel of node-1 has no ipip, which encap=ipip-cross-subnet needs: load the module there (modprobe ipip), "
        "or make network blue with -O encap=vxlan-cross-subnet"
    )
    assert refusal({"encap": "vxlan-cross-subnet"}, lacking=lacking) == ""
    assert refusal({}, lacking=frozenset({"ipip", "vxlan"})) == ""
    assert refusal({"encap": "vxlan"}, lacking=frozenset({"vxlan"})).endswith("make network blue with -O encap=never")


def test_ipip_carries_ipv4_only() -> None:
    assert refusal({"encap": "ipip"}, (6,)) == (
        "encap=ipip carries IPv4 only, and there is no IPv4 subnet: use -O encap=vxlan"
    )
    assert refusal({"encap": "vxlan"}, (6,)) == refusal({"encap": "ipip"}, (4, 6)) == ""


def test_a_host_without_the_tunnels_family() -> None:
    assert refusal({"encap": "ipip"}, own=(6,)) == (
        "node-1 has no IPv4 address on eth0, which encap=ipip needs: give it one, "
        "or make network blue with -O encap=vxlan -O underlay=ipv6"
    )
    assert "has no IPv6 address" in refusal({"encap": "vxlan", "underlay": "ipv6"}, own=(4,))
    assert refusal({}, own=(6,)) == ""


def test_addresses_outside_a_peers_blocks_go_the_same_way() -> None:
    net = lab.network("routed", (4, 6), options={"encap": "vxlan"})
    lease = lab.lease(net, FAR)
    moved = tuple(map(parse_network, ("40.15.43.5/32", "fd40:15:0:43::5/128")))
    found = gather(ROUTED.peer(lab.site(net, ONE), FAR, msgspec.structs.replace(lease, hosts=moved))).objects
    routes = {o.prefix: o.via for o in found if isinstance(o, Route)}
    assert routes["40.15.43.5/32"] == routes[str(lease.subnets[0])] == "192.168.0.33"
    assert routes["fd40:15:0:43::5/128"] == routes[str(lease.subnets[1])]


def test_a_peer_on_the_segment_costs_an_element() -> None:
    """By the uplink come its packets; its routes are BGP's."""
    for encap in ("never", "ipip-cross-subnet"):
        net = lab.network("routed", options={"encap": encap})
        found = gather(ROUTED.peer(lab.site(net, ONE), NEAR, lab.lease(net, NEAR))).objects
        assert found == (NftElement(set="via4", value='"eth0" . 40.15.26.0/26'),)


def test_a_network_is_entered_by_its_own_ways_only() -> None:
    """By the uplink from blocks of those who need no tunnel, else by the tunnel's device."""
    net = lab.network("routed", options={"encap": "ipip-cross-subnet"})
    site = lab.site(net, ONE)
    ways = [o for p in (NEAR, FAR) for o in gather(ROUTED.peer(site, p, lab.lease(net, p))).objects]
    assert [o.value for o in ways if isinstance(o, NftElement)] == ['"eth0" . 40.15.26.0/26']
    own = [o.value for o in gather(ROUTED.network(site)).objects if isinstance(o, NftElement) and o.set == "via4"]
    assert own == ['"weft.ipip" . 40.15.0.0/16']


def test_all_subnets_of_an_internal_network_reach_each_other() -> None:
    subnets = tuple(map(ip_network, ("40.15.0.0/16", "40.17.0.0/16")))
    net = lab.network("routed", subnets=subnets, internal=True)
    found = list(isolation.answer({net.name: net}, lambda _: None))
    assert len([o for o in found if isinstance(o, NftElement) and o.set == "within4"]) == 4


def test_two_networks_share_the_ipip_device_and_not_a_vni() -> None:
    def devices(name: str, encap: str) -> set[Link]:
        net = lab.network("routed", name=name, options={"encap": encap})
        return {o for o in gather(ROUTED.network(lab.site(net, ONE))).objects if isinstance(o, Link)}

    assert devices("blue", "ipip") == devices("green", "ipip-cross-subnet") != set()
    options = parse_options(lab.network("routed", options={"encap": "vxlan"}))
    assert ROUTED.claims(options) == (("vni/4096", "VNI 4096"),)
    assert ROUTED.claims(parse_options(lab.network("routed", options={"encap": "ipip"}))) == ()
