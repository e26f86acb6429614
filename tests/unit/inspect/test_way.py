"""Links joined, and the way from one to the uplink: the shapes that the engines and data paths make."""

from __future__ import annotations

from typing import Any

import pytest

from weft.inspect.graph import Graph
from weft.inspect.model import End, Hop
from weft.inspect.way import Outlets, way
from weft.inspect.wire import Raw

HOST, NET, WEB, DB = 10, 20, 30, 40
NAMES = {HOST: "default", NET: "net", WEB: "web", DB: "db"}


def link(index: int, name: str, kind: str = "", **about: Any) -> Raw:
    whole: dict[str, Any] = {
        "mac": "", "mtu": 1500, "flags": 1, "alias": "", "master": 0, "port_of": "", "link": 0, "nsid": None, "details": {},
    }  # fmt: skip
    return Raw(index=index, name=name, kind=kind, **{**whole, **about})


def told(hop: Hop) -> list[str]:
    """The way as lines, indented."""
    line = f"{hop.how} {hop.name or hop.ifindex}@{hop.namespace}"
    return [line, *(f" {below}" for next in hop.next for below in told(next))]


OVERLAY = Graph(
    NAMES,
    {
        HOST: (
            link(2, "eth0"),
            link(9, "gw", "bridge"),
            link(3, "wg", "veth", master=9, port_of="bridge", link=3, nsid=1),
        ),
        NET: (
            link(2, "br0", "bridge"),
            link(3, "vxlan0", "vxlan", master=2, port_of="bridge", nsid=0, details={"vni": 256}),
            link(4, "v1", "veth", master=2, port_of="bridge", link=2, nsid=1),
            link(5, "v2", "veth", master=2, port_of="bridge", link=2, nsid=2),
        ),
        WEB: (link(2, "eth0", "veth", link=4, nsid=7), link(3, "eth1", "veth", link=3, nsid=0)),
        DB: (link(2, "eth0", "veth", link=5, nsid=0),),
    },
    {(HOST, 1): WEB, (NET, 0): HOST, (NET, 1): WEB, (NET, 2): DB, (WEB, 7): NET, (WEB, 0): HOST, (DB, 0): NET},
)
OVERLAY_ROUTES = {HOST: Outlets(default=(2,)), WEB: Outlets(default=(3,))}


def test_overlay_from_a_container_to_the_host() -> None:
    found = way(OVERLAY, (WEB, 2), lambda ns: OVERLAY_ROUTES.get(ns, Outlets()))
    assert told(found) == [
        "start eth0@web",
        " peer v1@net",
        "  master br0@net",
        "   port vxlan0@net",
        "    route eth0@default",
    ]
    bridge = found.next[0].next[0]
    assert bridge.beside == ("v2",)
    assert bridge.next[0].details == {"vni": 256}
    assert bridge.next[0].next[0].ends == "hardware: the uplink"


def test_a_hop_tells_its_mtu_and_what_it_is_a_port_of() -> None:
    found = way(OVERLAY, (WEB, 2), lambda ns: OVERLAY_ROUTES.get(ns, Outlets()))
    first, second, bridge = found, found.next[0], found.next[0].next[0]
    assert [(hop.mtu, hop.master) for hop in (first, second, bridge)] == [(1500, ""), (1500, "br0"), (1500, "")]


def test_a_container_s_second_interface_goes_by_the_host_s_bridge_and_its_routes() -> None:
    found = way(OVERLAY, (WEB, 3), lambda ns: OVERLAY_ROUTES.get(ns, Outlets()))
    assert told(found) == ["start eth1@web", " peer wg@default", "  master gw@default", "   route eth0@default"]


def test_the_same_ifindex_is_told_apart_by_namespace() -> None:
    """v1 and v2 both lead to an ifindex 2, and four namespaces have one."""
    assert OVERLAY.link((NET, 4)).peer == End(namespace="web", ifindex=2, name="eth0")
    assert OVERLAY.link((NET, 5)).peer == End(namespace="db", ifindex=2, name="eth0")
    assert {key[0] for key in OVERLAY.named("2")} == {HOST, NET, WEB, DB}
    assert list(OVERLAY.named("eth0@if4", WEB)) == [(WEB, 2)]
    assert OVERLAY.link((NET, 3)).outside == "default"
    assert OVERLAY.link((NET, 2)).ports == ("vxlan0", "v1", "v2")


def test_an_end_that_cannot_be_seen_is_said_to_be_none_that_is_seen() -> None:
    graph = Graph({WEB: "web"}, {WEB: (link(2, "eth0", "veth", link=4, nsid=0),)}, {(WEB, 0): None})
    assert graph.link((WEB, 2)).peer == End(namespace="", ifindex=4)
    found = way(graph, (WEB, 2), lambda _: Outlets())
    assert found.next[0].ends == "its namespace cannot be seen from here"


def test_what_one_end_cannot_say_the_other_does() -> None:
    links = {HOST: (link(5, "v", "veth", link=2, nsid=3),), WEB: (link(2, "eth0", "veth", link=5, nsid=0),)}
    graph = Graph(NAMES, links, {(HOST, 3): WEB, (WEB, 0): None})
    assert graph.link((WEB, 2)).peer == End(namespace="default", ifindex=5, name="v")


def joined(*host: Raw, web: tuple[Raw, ...] = ()) -> Graph:
    return Graph(NAMES, {HOST: host, WEB: web}, {(HOST, 1): WEB, (WEB, 0): HOST})


ROUTED = joined(
    link(2, "eth0"),
    link(3, "tunl0", "ipip"),
    link(4, "cali1", "veth", link=2, nsid=1),
    web=(link(2, "eth0", "veth", link=4, nsid=0),),
)
PATCHED = joined(
    link(2, "eth0"),
    link(3, "weave", "bridge"),
    link(4, "vethwl1", "veth", master=3, port_of="bridge", link=2, nsid=1),
    link(5, "bridge", "veth", master=3, port_of="bridge", link=6),
    link(6, "datapath", "veth", master=7, port_of="openvswitch", link=5),
    link(7, "ovs", "openvswitch"),
    link(8, "vxlan-6784", "vxlan", master=7, port_of="openvswitch"),
    link(9, "tap1", "tun", master=3, port_of="bridge", details={"type": "tap"}),
    web=(link(2, "eth0", "veth", link=4, nsid=0),),
)
BONDED = joined(
    link(2, "eth0", master=4, port_of="bond"),
    link(3, "eth1", master=4, port_of="bond"),
    link(4, "bond0", "bond"),
    link(5, "vl7", "vlan", link=4),
    web=(link(2, "eth0", "macvlan", link=5, nsid=0),),
)
FLANNEL = joined(
    link(2, "eth0"),
    link(3, "flannel.1", "vxlan", link=2),
    link(4, "cni0", "bridge"),
    link(5, "v1", "veth", master=4, port_of="bridge", link=2, nsid=1),
    web=(link(2, "eth0", "veth", link=5, nsid=0),),
)


@pytest.mark.parametrize(
    ("graph", "start", "routes", "lines"),
    [
        (
            ROUTED,
            (WEB, 2),
            {HOST: Outlets((2,), (3,)), WEB: Outlets((2,))},
            ["start eth0@web", " peer cali1@default", "  route eth0@default", "  route tunl0@default"],
        ),
        (  # from its outer end a container is not on the way
            ROUTED,
            (HOST, 4),
            {HOST: Outlets((2,)), WEB: Outlets((2,))},
            ["start cali1@default", " route eth0@default"],
        ),
        (
            PATCHED,
            (WEB, 2),
            {HOST: Outlets((2,))},
            [
                "start eth0@web",
                " peer vethwl1@default",
                "  master weave@default",
                "   port bridge@default",
                "    peer datapath@default",
                "     master ovs@default",
                "      port vxlan-6784@default",
                "       route eth0@default",
            ],
        ),
        (
            BONDED,
            (WEB, 2),
            {},
            [
                "start eth0@web",
                " lower vl7@default",
                "  lower bond0@default",
                "   port eth0@default",
                "   port eth1@default",
            ],
        ),
        (
            FLANNEL,
            (WEB, 2),
            {HOST: Outlets((2,), (3,))},
            [
                "start eth0@web",
                " peer v1@default",
                "  master cni0@default",
                "   route eth0@default",
                "   route flannel.1@default",
            ],
        ),
        (FLANNEL, (HOST, 2), {HOST: Outlets((2,))}, ["start eth0@default"]),
        (OVERLAY, (NET, 3), OVERLAY_ROUTES, ["start vxlan0@net", " route eth0@default"]),
        (BONDED, (HOST, 2), {}, ["start eth0@default"]),
        (
            OVERLAY,
            (NET, 5),
            OVERLAY_ROUTES,
            ["start v2@net", " master br0@net", "  port vxlan0@net", "   route eth0@default"],
        ),
    ],
)
def test_ways(graph: Graph, start: tuple[int, int], routes: dict[int, Outlets], lines: list[str]) -> None:
    found = way(graph, start, lambda ns: routes.get(ns, Outlets()))
    assert told(found) == lines


def test_links_in_a_circle_end() -> None:
    graph = Graph(NAMES, {HOST: tuple(link(n, f"l{n}", "vlan", link=n % 3 + 1) for n in (1, 2, 3))}, {})
    assert told(way(graph, (HOST, 1), lambda _: Outlets()))[-1].strip() == "lower l3@default"
