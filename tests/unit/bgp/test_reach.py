"""Containers that nobody reaches are told of, and only these."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from weft.bgp.plan import Model
from weft.bgp.reach import unreached
from weft.model import BgpPeer, BgpSettings, Lease, Network, Node

SUBNETS = (ip_network("197.19.0.0/16"), ip_network("fd80::/64"))


def node(name: str, *addresses: str, segment: str = "") -> Node:
    return Node(name=name, addresses=tuple(map(ip_interface, addresses)), uplink="eth0", segment=segment)


ME = node("n1", "10.0.0.1/24", "fd01::1/64")
NEAR = node("n2", "10.0.0.2/24", "fd01::2/64")
V4 = node("n2", "10.0.0.2/24")
V6 = node("n2", "fd01::2/64")
FAR = node("n2", "10.0.1.2/24", "fd02::2/64")
TOR = BgpPeer(name="tor", address=ip_address("10.0.0.254"), asn=65001)


def said(me: Node, *nodes: Node, families: int = 2, peers: tuple[BgpPeer, ...] = (), **options: str) -> list[str]:
    network = Network(name="rt", driver="routed", subnets=SUBNETS[:families], options=dict(options))
    model = Model(
        nodes={n.name: n for n in (me, *nodes)},
        networks={"rt": network},
        leases={"rt": {n.name: Lease(network="rt", node=n.name, subnets=()) for n in (me, *nodes)}},
        endpoints=(),
        settings=BgpSettings(),
        peers={p.name: p for p in peers},
    )
    return [f"{found.peer}: {found.text}" for found in unreached(me, model)]


@pytest.mark.parametrize("encap", ["never", "ipip-cross-subnet", "vxlan-cross-subnet", "vxlan"])
def test_neighbours_of_both_families_have_nothing_to_tell(encap: str) -> None:
    assert said(ME, NEAR, encap=encap) == [] == said(ME, encap=encap)


def test_a_node_that_lacks_a_family_is_told_of_by_itself_and_by_others() -> None:
    (here,) = said(ME, V4)
    assert here.startswith("n2: n2: no IPv6 address, so no other node reaches the IPv6 addresses of containers there;")
    assert "-O encap=vxlan, or without IPv6" in here
    (there,) = said(V4, ME)
    assert there.startswith(
        ": n2 has no IPv6 address on eth0, so no other node reaches the IPv6 addresses of containers here"
    )
    (v4,) = said(ME, V6)
    assert "n2: no IPv4 address" in v4 and "-O encap=vxlan -O underlay=ipv6" in v4
    assert said(ME, V4, families=1) == []


@pytest.mark.parametrize(
    ("encap", "told"), [("vxlan", 0), ("vxlan-cross-subnet", 0), ("ipip", 1), ("ipip-cross-subnet", 1), ("never", 1)]
)
def test_a_tunnel_that_carries_the_family_does_without_an_address_of_it(encap: str, told: int) -> None:
    assert len(said(ME, V4, encap=encap)) == told


def test_across_a_router_packets_go_as_they_are_only_if_routers_are_told() -> None:
    four, six = said(ME, FAR)
    assert four.startswith("n2: n2: behind a router, so the IPv4 addresses") and "weft bgp peer add" in four
    assert "IPv6" in six
    (six,) = said(ME, FAR, peers=(TOR,))
    assert "IPv6" in six, "tor speaks of IPv4 only"
    assert said(ME, FAR, encap="vxlan-cross-subnet") == []
    (six,) = said(ME, FAR, encap="ipip-cross-subnet")
    assert "IPv6" in six


def test_one_segment_by_name_without_a_common_prefix_is_no_way_for_bgp() -> None:
    one, other = node("n1", "10.0.0.1/24", segment="a"), node("n2", "10.0.1.2/24", segment="a")
    (told,) = said(one, other, families=1, encap="vxlan-cross-subnet")
    assert "IPv4" in told


def test_many_nodes_are_one_line() -> None:
    many = [node(f"m{number}", f"10.0.0.{number + 9}/24") for number in range(6)]
    (told,) = said(ME, *many)
    assert "m0, m1, m2 and 3 more: no IPv6 address" in told
