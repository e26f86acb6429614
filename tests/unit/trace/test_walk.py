"""The walk over the reference lab, as it is and with one thing taken away at a time."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network

import msgspec
import pytest

from support import dumps as d
from support import lab
from weft.api.dump import FdbDump, HostDump, LinkDump, NeighbourDump, NextHopDump, RouteDump, RuleDump, TunnelDump
from weft.base.names import stable_mac
from weft.trace import Path, Start, walk

NODES = {str(a.ip): name for name in d.NODES for a in lab.node(name).addresses}
OUTSIDE = {4: ip_address("203.0.113.10"), 6: ip_address("2001:db8:203::10")}
FAMILIES = pytest.mark.parametrize("family", [4, 6])
PREFIX = {4: "40.15.26.0/24", 6: "fd40:15:0:26::/64"}
"""Node-2's subnets."""
BASE = {4: "40.15.26.0", 6: "fd40:15:0:26::"}
VTEP = stable_mac("vtep", "node-2", "blue")


@pytest.fixture(scope="module")
def vxlan() -> d.Dumps:
    return d.reference("vxlan")


@pytest.fixture(scope="module")
def host_gw() -> d.Dumps:
    return d.reference("host-gw")


@pytest.fixture(scope="module")
def udp() -> d.Dumps:
    return d.reference("udp")


def go(dumps: d.Dumps, to: str = "node-2", family: int = 4, origin: str = "node-1") -> Path:
    """From one host's container to another's."""
    return walk(dumps, d.start(origin, family), d.address(to, family), NODES)


def steps(path: Path) -> list[tuple[str, str]]:
    return [(hop.place, hop.step) for hop in path.hops]


def entry(path: Path, place: str, step: str) -> str:
    return next(hop.entry for hop in path.hops if (hop.place, hop.step) == (place, step))


# -- what is whole -----------------------------------------------------------------------------------------------------


@FAMILIES
def test_vxlan(vxlan: d.Dumps, family: int) -> None:
    path = go(vxlan, family=family)
    assert steps(path) == [
        ("node-1/c1", "route"),
        ("node-1/c1", "neighbour"),
        ("node-1/c1", "veth"),
        ("node-1", "bridge"),
        ("node-1", "forward"),
        ("node-1", "neighbour"),
        ("node-1", "encapsulate"),
        ("node-1", "route"),
        ("node-1", "neighbour"),
        ("node-1", "wire"),
        ("node-2", "decapsulate"),
        ("node-2", "forward"),
        ("node-2", "neighbour"),
        ("node-2", "bridge"),
        ("node-2", "veth"),
        ("node-2/c2", "deliver"),
    ]
    metric = "" if family == 4 else " metric 1024"
    assert entry(path, "node-1", "forward") == f"{PREFIX[family]} via {BASE[family]} dev weft.1 onlink proto 87{metric}"
    assert entry(path, "node-1", "neighbour") == f"{BASE[family]} dev weft.1 lladdr {VTEP} PERMANENT"
    assert entry(path, "node-1", "encapsulate") == f"{VTEP} dev weft.1 dst 192.168.1.254 self permanent"
    assert (path.outcome.ending, path.outcome.place) == ("delivered", "node-2/c2")
    assert (path.ttl, path.mtu) == (62, 1450)


@FAMILIES
def test_host_gw(host_gw: d.Dumps, family: int) -> None:
    path = go(host_gw, family=family)
    assert path.outcome.ending == "delivered"
    assert (path.ttl, path.mtu) == (62, 1500)
    assert {step for _, step in steps(path)}.isdisjoint({"encapsulate", "decapsulate"})


@FAMILIES
@pytest.mark.parametrize("node", ["node-2", "node-4"])
def test_a_tunnel_that_a_program_carries(udp: d.Dumps, family: int, node: str) -> None:
    """Both programs count as routers."""
    path = go(udp, to=node, family=family)
    assert ("node-1", "encapsulate") in steps(path) and (node, "decapsulate") in steps(path)
    (mine,) = (t for t in udp["node-1"].tunnels)
    prefix, host = next(
        (p, h) for p, h in mine.prefixes.items() if ip_address(str(d.address(node, family))) in ip_network(p)
    )
    assert entry(path, "node-1", "encapsulate") == f"prefix {prefix} {host}"
    assert (path.outcome.ending, path.outcome.place) == ("delivered", f"{node}/c{node[-1]}")
    assert (path.ttl, path.mtu) == (60, 1472)


def test_a_tunnel_without_the_prefix_or_with_it_at_another_host(udp: d.Dumps) -> None:
    (mine,) = udp["node-1"].tunnels
    gone = {p: h for p, h in mine.prefixes.items() if h != "192.168.1.254"}
    path = go({**udp, "node-1": msgspec.structs.replace(udp["node-1"], tunnels=(replaced(mine, gone),))})
    assert (path.outcome.ending, path.outcome.place) == ("no-route", "node-1")
    assert "is in no prefix of it" in path.outcome.text
    (theirs,) = udp["node-2"].tunnels
    wrong = {p: "192.168.1.245" if h == "192.168.1.68" else h for p, h in theirs.prefixes.items()}
    path = go({**udp, "node-2": msgspec.structs.replace(udp["node-2"], tunnels=(replaced(theirs, wrong),))})
    assert (path.outcome.ending, path.outcome.place) == ("no-route", "node-2")
    assert "node-2 drops what comes from 192.168.1.68: `prefix 40.15.43.0/24 192.168.1.245`" in path.outcome.text
    path = go({**udp, "node-2": msgspec.structs.replace(udp["node-2"], tunnels=())})
    assert path.outcome.ending == "no-vtep" and "carries no tunnel at UDP port 8285" in path.outcome.text


SLEEVE = "sleeve-256"


def by_sleeve(dumps: d.Dumps, node: str, *stations: str) -> d.Dumps:
    """With a sleeve, by which frames to node-2's container go by these hosts, if any do."""
    mac = next(link.mac for link in dumps["node-2"].namespaces[1].links if link.name == "eth0")
    own = next(ip for ip, name in NODES.items() if name == node and "." in ip)
    bridge = LinkDump(name="weft-blue", ifindex=98, kind="bridge", up=True, carrier=True)
    port = LinkDump(name=SLEEVE, ifindex=99, kind="tun", mtu=1376, up=True, carrier=True, master="weft-blue")
    found = d.change(dumps, node, "", links=(*dumps[node].namespaces[0].links, bridge, port))
    if stations:
        found = d.with_entry(found, node, "", "fdb", FdbDump(lladdr=mac, dev=SLEEVE, master="weft-blue"))
        found = d.with_entry(found, node, d.path(node), "routes", RouteDump(prefix="40.15.0.0/16", dev="eth0"))
        entry = NeighbourDump(address=str(d.address("node-2")), dev="eth0", lladdr=mac, state="reachable")
        found = d.with_entry(found, node, d.path(node), "neighbours", entry)
    told = {mac: stations} if stations else {}
    tunnel = TunnelDump(dev=SLEEVE, local=own, port=6783, prefixes={}, network=256, stations=told, overhead=52)
    return {**found, node: msgspec.structs.replace(found[node], tunnels=(tunnel,))}


@pytest.mark.parametrize("via", [(), ("192.168.1.245",)])
def test_frames_that_a_program_carries(via: tuple[str, ...]) -> None:
    """Straight, and by a third host."""
    dumps = by_sleeve(d.reference("mesh"), "node-1", *via, "192.168.1.254")
    path = go(dumps)
    assert path.outcome.ending == "no-vtep" and "has no sleeve at UDP port 6783" in path.outcome.text
    for node in ("node-2", "node-3"):
        dumps = by_sleeve(dumps, node)
    path = go(dumps)
    assert (path.outcome.ending, path.outcome.place, path.ttl) == ("delivered", "node-2/c2", 64)
    assert ("node-2", "decapsulate") in steps(path)
    assert (("node-3", "forward") in steps(path)) is bool(via)
    path = go(by_sleeve(d.reference("mesh"), "node-1", "192.168.1.254") | {"node-2": other_network(dumps["node-2"])})
    assert path.outcome.ending == "no-vtep" and "has no sleeve of network 256" in path.outcome.text


def other_network(host: HostDump) -> HostDump:
    return msgspec.structs.replace(host, tunnels=(msgspec.structs.replace(host.tunnels[0], network=7),))


def replaced(tunnel: TunnelDump, prefixes: dict[str, str]) -> TunnelDump:
    return msgspec.structs.replace(tunnel, prefixes=prefixes)


ENCAPS = ("never", "ipip", "ipip-cross-subnet", "vxlan", "vxlan-cross-subnet")


@pytest.mark.parametrize("encap", ENCAPS)
@FAMILIES
def test_routed_on_the_segment(encap: str, family: int) -> None:
    """A container's question for its next hop is answered by its host end."""
    path = go(d.reference("routed", options={"encap": encap}), family=family)
    assert path.outcome.ending == "delivered", path
    through = encap == "vxlan" or (encap == "ipip" and family == 4)
    assert ("encapsulate" in {step for _, step in steps(path)}) == through
    lost = {"never": 0, "ipip": 20, "vxlan": 50}[encap.removesuffix("-cross-subnet")]
    assert (path.ttl, path.mtu) == (62, 1500 - lost)


@pytest.mark.parametrize("encap", ENCAPS[1:])
def test_routed_across_segments(encap: str) -> None:
    path = go(d.reference("routed", options={"encap": encap}), "node-4")
    assert path.outcome.ending == "delivered", path
    assert path.ttl == 62
    assert {("node-1", "encapsulate"), ("node-4", "decapsulate")} <= set(steps(path))
    if "ipip" in encap:
        assert entry(path, "node-1", "forward") == (
            "40.15.9.0/26 via 192.168.0.33 dev weft.ipip onlink proto 87 src 192.168.1.68"
        )
        assert entry(path, "node-1", "encapsulate") == "weft.ipip: IPIP"


def test_routed_without_the_tunnel_at_the_other_end() -> None:
    whole = d.reference("routed", options={"encap": "ipip"})
    path = go(d.with_link(whole, "node-2", "", "weft.ipip", ipip=None, kind="sit"))
    assert path.outcome.text == "node-2 gets the tunnel packet, but has no IPIP device at 192.168.1.254"
    path = go(d.with_link(whole, "node-2", "", "weft.ipip", up=False))
    assert (path.outcome.ending, path.outcome.place) == ("link-down", "node-2")


def test_routed_without_proxy_arp() -> None:
    whole = d.reference("routed")
    outer = next(x.name for n in whole["node-1"].namespaces for x in n.links if x.proxying)
    path = go(d.with_link(whole, "node-1", "", outer, proxying=()))
    assert (path.outcome.ending, path.outcome.place) == ("no-neighbour", "node-1/c1")


@pytest.mark.parametrize("driver", ["vxlan", "host-gw"])
@FAMILIES
def test_everybody_reaches_everybody_on_the_segment(driver: str, family: int) -> None:
    whole = d.reference(driver)
    for origin in d.NODES[:3]:
        for to in d.NODES[:3]:
            path = go(whole, to, family, origin)
            assert path.outcome.ending == "delivered", path
            assert path.ttl == (64 if origin == to else 62)


def test_v6_underlay_takes_twenty_octets_more() -> None:
    path = go(d.reference("vxlan", options={"underlay": "ipv6"}))
    assert path.outcome.ending == "delivered"
    assert path.mtu == 1430


@FAMILIES
def test_tunnel_through_a_router(vxlan: d.Dumps, family: int) -> None:
    path = go(vxlan, "node-4", family)
    assert path.outcome.ending == "delivered"
    router = next(hop for hop in path.hops if hop.step == "router")
    assert "192.168.1.1 is not a Weft host" in router.entry
    assert path.ttl == 62, "the router counts on the tunnel's TTL"


@FAMILIES
@pytest.mark.parametrize("driver", ["vxlan", "host-gw"])
def test_outside(driver: str, family: int) -> None:
    path = walk(d.reference(driver), d.start("node-1", family), OUTSIDE[family], NODES)
    assert path.outcome.ending == "left"
    assert path.outcome.arrived
    router = {4: "192.168.1.1", 6: "fd01:a::1"}[family]
    assert path.outcome.text == f"leaves the cluster through eth0 of node-1 to {OUTSIDE[family]} by {router}"


def test_from_a_node(vxlan: d.Dumps) -> None:
    path = walk(vxlan, Start(host="node-1", source=ip_address("192.168.1.68")), d.address("node-2"), NODES)
    assert path.outcome.ending == "delivered"
    assert path.ttl == 63


def test_to_the_gateway_and_to_itself(vxlan: d.Dumps) -> None:
    assert walk(vxlan, d.start("node-1"), ip_address("40.15.43.1")).outcome.text == "delivered to 40.15.43.1 on node-1"
    assert walk(vxlan, d.start("node-1"), d.address("node-1")).outcome.place == "node-1/c1"


def test_uplink_in_a_bridge(host_gw: d.Dumps) -> None:
    """As hosts of virtual machines have it: the address is the bridge's, the cable is its port."""
    old = host_gw["node-2"].namespace("")
    assert old is not None
    uplink = next(link for link in old.links if link.name == "eth0")
    bridge = msgspec.structs.replace(uplink, name="br0", kind="bridge", peer=None, ifindex=50)
    links = [msgspec.structs.replace(x, master="br0") if x.name == "eth0" else x for x in old.links]
    moved = {
        table: tuple(msgspec.structs.replace(e, dev="br0") if e.dev == "eth0" else e for e in getattr(old, table))
        for table in ("addresses", "routes", "neighbours")
    }
    bridged = d.change(host_gw, "node-2", "", links=(*links, bridge), **moved)
    assert go(bridged).outcome.ending == "delivered"
    assert go(bridged, "node-1", origin="node-2").outcome.ending == "delivered"


# -- what is known of neighbours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["reachable", "stale", "delay", "probe", "permanent"])
def test_known_neighbours_are_not_asked_for(vxlan: d.Dumps, state: str) -> None:
    gateway = stable_mac("bridge", "node-1", "blue")
    known = NeighbourDump(dev="eth0", address="40.15.43.1", lladdr=gateway, state=state)
    path = go(d.with_entry(vxlan, "node-1", d.path("node-1"), "neighbours", known))
    assert entry(path, "node-1/c1", "neighbour") == f"40.15.43.1 dev eth0 lladdr {gateway} {state.upper()}"
    assert path.outcome.ending == "delivered"


def test_others_would_be_asked_for(vxlan: d.Dumps) -> None:
    asked = entry(go(vxlan), "node-1/c1", "neighbour")
    assert asked == "40.15.43.1 would be asked for by ARP on eth0"
    assert "by ND" in entry(go(vxlan, family=6), "node-1/c1", "neighbour")


def test_bridge_table_decides_the_port(vxlan: d.Dumps) -> None:
    mac = stable_mac("container", "node-2")
    assert entry(go(vxlan), "node-2", "bridge") == f"{mac} dev weft00000000000 master weft-blue"


# -- one thing taken away ----------------------------------------------------------------------------------------------

Break = Callable[[d.Dumps], d.Dumps]


def lacks(host: str, table: str, which: Callable[..., bool], ns: str = "") -> Break:
    return lambda dumps: d.without(dumps, host, ns, table, which)


def lacks_address(host: str, address: str, ns: str) -> Break:
    """With the kernel's own route to it, which goes with it."""
    alone = lacks(host, "addresses", lambda a: a.address.startswith(f"{address}/"), ns)
    return lambda dumps: lacks(host, "routes", lambda r: r.prefix == f"{address}/32", ns)(alone(dumps))


def differs(host: str, ns: str, name: str, **fields: object) -> Break:
    return lambda dumps: d.with_link(dumps, host, ns, name, **fields)


C1, C2 = d.path("node-1"), d.path("node-2")
BROKEN_VXLAN: dict[str, tuple[Break, str, str, str]] = {
    "sender's address": (
        lacks("node-1", "addresses", lambda a: a.address.startswith("40."), C1),
        "no-address",
        "node-1/c1",
        "40.15.43.2 is not an address of node-1/c1",
    ),
    "sender's route": (
        lacks("node-1", "routes", lambda r: r.via == "40.15.43.1", C1),
        "no-route",
        "node-1/c1",
        "node-1/c1 has no route to 40.15.26.2",
    ),
    "gateway's address": (
        lacks("node-1", "addresses", lambda a: a.address == "40.15.43.1/24"),
        "no-neighbour",
        "node-1/c1",
        "no neighbour entry for 40.15.43.1, and nobody behind it has that address",
    ),
    "sender's device": (
        lambda w: d.link_down(w, "node-1", C1, "eth0"),
        "no-route",
        "node-1/c1",
        "eth0 is down, which takes routes away with it",
    ),
    "other end of sender's veth": (
        lambda w: d.link_down(w, "node-1", "", "weft00000000000"),
        "link-down",
        "node-1/c1",
        "eth0 on node-1/c1 has no carrier: its other end, weft00000000000 on node-1, is down",
    ),
    "sender's bridge": (
        differs("node-1", "", "weft-blue", up=False, carrier=False),
        "link-down",
        "node-1",
        "weft-blue on node-1 is down",
    ),
    "port taken off the bridge": (
        differs("node-1", "", "weft00000000000", master=""),
        "no-fdb",
        "node-1",
        "weft00000000000 on node-1 is no port of weft-blue",
    ),
    "forwarding": (
        differs("node-1", "", "weft-blue", forwarding=(6,)),
        "not-forwarding",
        "node-1",
        "net.ipv4.ip_forward is off",
    ),
    "route": (
        lacks("node-1", "routes", lambda r: r.prefix == "40.15.26.0/24"),
        "unreachable",
        "node-1",
        "no route to 40.15.26.2 but `unreachable 40.15.0.0/16 proto 87 metric 4000000000`",
    ),
    "neighbour": (
        lacks("node-1", "neighbours", lambda n: n.address == "40.15.26.0"),
        "no-neighbour",
        "node-1",
        "weft.1 on node-1 has no neighbour entry for 40.15.26.0, and nobody is asked there",
    ),
    "FDB entry": (
        lacks("node-1", "fdb", lambda f: f.dst == "192.168.1.254"),
        "no-fdb",
        "node-1",
        f"weft.1 on node-1 has no FDB entry for {VTEP}",
    ),
    "VXLAN device down": (
        lambda w: d.link_down(w, "node-1", "", "weft.1"),
        "unreachable",
        "node-1",
        "weft.1 is down, which takes routes away with it",
    ),
    "underlay address": (
        lacks("node-1", "addresses", lambda a: a.address == "192.168.1.68/24"),
        "no-address",
        "node-1",
        "weft.1 sends from 192.168.1.68, which is not an address of node-1",
    ),
    "underlay routes": (
        lacks("node-1", "routes", lambda r: r.dev == "eth0" and r.table == 254),
        "no-route",
        "node-1",
        "node-1 has no route to 192.168.1.254",
    ),
    "uplink": (
        lambda w: d.link_down(w, "node-1", "", "eth0"),
        "no-route",
        "node-1",
        "no route to 192.168.1.254: eth0 is down",
    ),
    "cable": (
        differs("node-1", "", "eth0", carrier=False),
        "link-down",
        "node-1",
        "eth0 on node-1 has no carrier",
    ),
    "receiving uplink": (
        differs("node-2", "", "eth0", up=False),
        "link-down",
        "node-2",
        "eth0 on node-2 is down",
    ),
    "receiver's underlay address": (
        lacks("node-2", "addresses", lambda a: a.address == "192.168.1.254/24"),
        "no-address",
        "node-2",
        "192.168.1.254 is not an address of node-2",
    ),
    "receiver's VXLAN device": (
        lacks("node-2", "links", lambda x: x.name == "weft.1"),
        "no-vtep",
        "node-2",
        "no VXLAN device of VNI 1 on UDP port 8472",
    ),
    "receiver's VXLAN device down": (
        lambda w: d.link_down(w, "node-2", "", "weft.1"),
        "link-down",
        "node-2",
        "weft.1 on node-2 is down",
    ),
    "receiver's VTEP MAC": (
        differs("node-2", "", "weft.1", mac="02:00:00:00:00:99"),
        "wrong-mac",
        "node-2",
        f"weft.1 on node-2 has MAC 02:00:00:00:00:99, but the frame is for {VTEP} as `40.15.26.0 dev weft.1",
    ),
    "receiver's forwarding": (
        differs("node-2", "", "weft.1", forwarding=()),
        "not-forwarding",
        "node-2",
        "does not route on what comes in by weft.1",
    ),
    "receiver's route": (
        lacks("node-2", "routes", lambda r: r.prefix == "40.15.26.0/24"),
        "unreachable",
        "node-2",
        "node-2 has no route to 40.15.26.2",
    ),
    "receiver's bridge": (
        differs("node-2", "", "weft-blue", up=False),
        "link-down",
        "node-2",
        "weft-blue on node-2 is down",
    ),
    "receiving port": (
        lambda w: d.link_down(w, "node-2", "", "weft00000000000"),
        "link-down",
        "node-2",
        "weft00000000000 on node-2 is down",
    ),
    "receiver's device": (
        differs("node-2", C2, "eth0", up=False),
        "link-down",
        "node-2/c2",
        "eth0 on node-2/c2 is down",
    ),
    "receiver's address": (
        lacks_address("node-2", "40.15.26.2", C2),
        "no-address",
        "node-2/c2",
        "40.15.26.2 is not an address of node-2/c2",
    ),
    "sender's namespace": (
        lambda w: {**w, "node-1": HostDump(node="node-1", namespaces=w["node-1"].namespaces[:1])},
        "no-state",
        "node-1 /run/netns/c1",
        "no namespace /run/netns/c1 on node-1",
    ),
}


@pytest.mark.parametrize("what", BROKEN_VXLAN)
def test_vxlan_without(vxlan: d.Dumps, what: str) -> None:
    make, ending, place, text = BROKEN_VXLAN[what]
    outcome = go(make(vxlan)).outcome
    assert (outcome.ending, outcome.place) == (ending, place), outcome
    assert text in outcome.text
    assert outcome.advice
    assert not outcome.arrived


BROKEN_HOST_GW: dict[str, tuple[Break, str, str, str]] = {
    "route": (
        lacks("node-1", "routes", lambda r: r.prefix == "40.15.26.0/24"),
        "unreachable",
        "node-1",
        "no route to 40.15.26.2 but `unreachable 40.15.0.0/16",
    ),
    "all routes": (
        lacks("node-1", "routes", lambda r: r.table == 254 and r.prefix != "40.15.43.0/24"),
        "no-route",
        "node-1",
        "node-1 has no route to 40.15.26.2",
    ),
    "route and unreachable": (
        lacks("node-1", "routes", lambda r: r.prefix in ("40.15.26.0/24", "40.15.0.0/16")),
        "router",
        "node-1",
        "router 192.168.1.1, which is not a Weft host and knows no container networks: 40.15.26.2 is on node-2/c2",
    ),
    "receiver's address": (
        lacks("node-2", "addresses", lambda a: a.address == "192.168.1.254/24"),
        "no-address",
        "node-2",
        "192.168.1.254 is not an address of node-2",
    ),
    "receiver's forwarding": (
        differs("node-2", "", "eth0", forwarding=()),
        "not-forwarding",
        "node-2",
        "does not route on what comes in by eth0",
    ),
}


@pytest.mark.parametrize("what", BROKEN_HOST_GW)
def test_host_gw_without(host_gw: d.Dumps, what: str) -> None:
    make, ending, place, text = BROKEN_HOST_GW[what]
    outcome = go(make(host_gw)).outcome
    assert (outcome.ending, outcome.place) == (ending, place), outcome
    assert text in outcome.text


@FAMILIES
def test_host_gw_ends_at_the_unreachable_route_to_another_segment(host_gw: d.Dumps, family: int) -> None:
    outcome = go(host_gw, "node-4", family).outcome
    assert (outcome.ending, outcome.place) == ("unreachable", "node-1")


# -- entries that are wrong --------------------------------------------------------------------------------------------


def test_host_route_over_a_router(host_gw: d.Dumps) -> None:
    """Somebody put it there by hand: nobody answers ARP on this segment for a host on the other."""
    wrong = RouteDump(prefix="40.15.9.0/24", via="192.168.0.33", dev="eth0", flags=("onlink",), proto=4)
    outcome = go(d.with_entry(host_gw, "node-1", "", "routes", wrong), "node-4").outcome
    assert outcome.ending == "no-neighbour"
    assert "192.168.0.33 cannot be found by eth0 on node-1: node-4, whose it is, is on another segment" in outcome.text
    assert "direct-routing" in outcome.advice


def test_stale_neighbour(host_gw: d.Dumps) -> None:
    stale = NeighbourDump(dev="eth0", address="192.168.1.254", lladdr="02:00:00:00:00:99", state="permanent")
    outcome = go(d.with_entry(host_gw, "node-1", "", "neighbours", stale)).outcome
    assert outcome.ending == "wrong-mac"
    assert "`192.168.1.254 dev eth0 lladdr 02:00:00:00:00:99 PERMANENT on node-1` sends to 02" in outcome.text


def test_neighbour_of_another_host(host_gw: d.Dumps) -> None:
    """The frame goes to whose MAC it is; that host routes it on."""
    other = NeighbourDump(dev="eth0", address="192.168.1.254", lladdr=stable_mac("eth0", "node-3"), state="permanent")
    path = go(d.with_entry(host_gw, "node-1", "", "neighbours", other))
    assert ("node-3", "forward") in steps(path)
    assert (path.outcome.ending, path.ttl) == ("delivered", 61)


def test_nobody_answers_for_the_next_hop(vxlan: d.Dumps) -> None:
    silent = d.without(vxlan, "node-1", "", "neighbours", lambda n: n.address == "192.168.1.1")
    failed = NeighbourDump(dev="eth0", address="192.168.1.1", state="failed")
    outcome = go(d.with_entry(silent, "node-1", "", "neighbours", failed), "node-4").outcome
    assert outcome.ending == "no-neighbour"
    assert "nobody answers for 192.168.1.1 on eth0 of node-1" in outcome.text


def test_vtep_that_is_no_host(vxlan: d.Dumps) -> None:
    without = d.without(vxlan, "node-1", "", "fdb", lambda f: f.dst == "192.168.1.254")
    wrong = FdbDump(dev="weft.1", lladdr=VTEP, dst="192.168.1.99")
    outcome = go(d.with_entry(without, "node-1", "", "fdb", wrong)).outcome
    assert outcome.ending == "no-vtep"
    assert "weft.1 on node-1 sends to the VTEP 192.168.1.99, which is no host of Weft" in outcome.text


def test_vtep_where_only_one_host_is_known(vxlan: d.Dumps) -> None:
    """Such as when the store does not answer: nobody can say that it is wrong."""
    outcome = walk(
        {"node-1": vxlan["node-1"]}, d.start("node-1"), d.address("node-2"), {"192.168.1.68": "node-1"}
    ).outcome
    assert (outcome.ending, outcome.fault) == ("elsewhere", "")
    assert "no other host than node-1 is known here" in outcome.text


def test_vtep_of_another_host(vxlan: d.Dumps) -> None:
    without = d.without(vxlan, "node-1", "", "fdb", lambda f: f.dst == "192.168.1.254")
    wrong = FdbDump(dev="weft.1", lladdr=VTEP, dst="192.168.1.245")
    outcome = go(d.with_entry(without, "node-1", "", "fdb", wrong)).outcome
    assert (outcome.ending, outcome.place) == ("wrong-mac", "node-3")


def test_routes_in_a_circle(host_gw: d.Dumps) -> None:
    wrong = RouteDump(prefix="40.15.26.2/32", via="192.168.1.68", dev="eth0", proto=4)
    path = go(d.with_entry(host_gw, "node-2", "", "routes", wrong))
    assert path.outcome.ending == "ttl"
    assert path.ttl == 1
    assert "in a circle" in path.outcome.text


def test_tunnel_into_itself(vxlan: d.Dumps) -> None:
    wrong = RouteDump(prefix="192.168.1.254/32", via="40.15.26.0", dev="weft.1", flags=("onlink",), proto=4)
    assert go(d.with_entry(vxlan, "node-1", "", "routes", wrong)).outcome.ending == "loop"


def test_bridge_table_with_a_wrong_port(vxlan: d.Dumps) -> None:
    mac = stable_mac("bridge", "node-1", "blue")
    stale = d.with_link(vxlan, "node-1", "", "weft-blue", mac="02:00:00:00:00:77")
    known = NeighbourDump(dev="eth0", address="40.15.43.1", lladdr=mac, state="reachable")
    back = FdbDump(dev="weft00000000000", lladdr=mac, master="weft-blue", state="reachable")
    asked = d.with_entry(stale, "node-1", C1, "neighbours", known)
    assert "nobody behind its ports has that MAC" in go(asked).outcome.text
    assert "back where it came from" in go(d.with_entry(asked, "node-1", "", "fdb", back)).outcome.text


@pytest.mark.parametrize("kind", ["blackhole", "prohibit", "unreachable"])
def test_refusing_routes(vxlan: d.Dumps, kind: str) -> None:
    refuses = RouteDump(prefix="40.15.26.2/32", type=kind, proto=4)
    outcome = go(d.with_entry(vxlan, "node-1", "", "routes", refuses)).outcome
    assert (outcome.ending, outcome.place) == (kind, "node-1")
    assert f"`{kind} 40.15.26.2 proto static`" in outcome.text


def test_address_that_nobody_has(vxlan: d.Dumps) -> None:
    path = walk(vxlan, d.start("node-1"), ip_address("40.15.26.77"), NODES)
    assert (path.outcome.ending, path.outcome.place) == ("no-neighbour", "node-2")


# -- lookups -----------------------------------------------------------------------------------------------------------


def routed(dumps: d.Dumps) -> str:
    """The route by which node-1 forwards."""
    return next(hop.entry for hop in go(dumps).hops if hop.step == "forward")


def test_lower_metric_goes_first(host_gw: d.Dumps) -> None:
    for metric, wins in ((0, True), (5, False)):
        changed = d.without(host_gw, "node-1", "", "routes", lambda r: r.prefix == "40.15.26.0/24")
        for via, number in (("192.168.1.254", 1), ("192.168.1.245", metric)):
            one = RouteDump(prefix="40.15.26.0/24", via=via, dev="eth0", metric=number)
            changed = d.with_entry(changed, "node-1", "", "routes", one)
        assert ("192.168.1.245" in routed(changed)) is wins


def test_dead_routes_are_passed_over(host_gw: d.Dumps) -> None:
    dead = RouteDump(prefix="40.15.26.2/32", via="192.168.1.245", dev="eth0", flags=("dead", "linkdown"))
    assert "192.168.1.254" in routed(d.with_entry(host_gw, "node-1", "", "routes", dead))


def test_one_of_several_next_hops(host_gw: d.Dumps) -> None:
    hops = (
        NextHopDump(via="192.168.1.245", dev="eth0", flags=("dead",)),
        NextHopDump(via="192.168.1.254", dev="eth0"),
    )
    several = RouteDump(prefix="40.15.26.2/32", nexthops=hops)
    path = go(d.with_entry(host_gw, "node-1", "", "routes", several))
    assert entry(path, "node-1", "forward") == "40.15.26.2 via 192.168.1.254 dev eth0 (one of 2 next hops)"
    assert path.outcome.ending == "delivered"


RULES: dict[str, tuple[dict[str, object], bool]] = {
    "by source": ({"src": "40.15.43.0/24"}, True),
    "by another source": ({"src": "40.15.44.0/24"}, False),
    "by destination": ({"dst": "40.15.26.2/32"}, True),
    "by device": ({"iif": "weft-blue"}, True),
    "by another device": ({"iif": "eth0"}, False),
    "of what is sent from here": ({"iif": "lo"}, False),
    "by mark": ({"mark": 16, "mask": 255}, False),
    "not by mark": ({"mark": 16, "mask": 255, "invert": True}, True),
    "by port": ({"more": True}, False),
    "but short prefixes": ({"suppress": 31}, True),
    "but all prefixes": ({"suppress": 32}, False),
}


@pytest.mark.parametrize("which", RULES)
def test_rules(host_gw: d.Dumps, which: str) -> None:
    selectors, applies = RULES[which]
    other = RouteDump(prefix="40.15.26.2/32", via="192.168.1.245", dev="eth0", table=77)
    dumps = d.with_entry(host_gw, "node-1", "", "routes", other)
    dumps = d.with_entry(dumps, "node-1", "", "rules", RuleDump(priority=100, family=4, table=77, **selectors))  # type: ignore[arg-type]
    assert ("table 77" in routed(dumps)) is applies


def test_rules_that_refuse_and_jump(host_gw: d.Dumps) -> None:
    refuses = RuleDump(priority=100, family=4, action="prohibit", dst="40.15.26.0/24")
    dumps = d.with_entry(host_gw, "node-1", "", "rules", refuses)
    assert go(dumps).outcome.text == "a rule on node-1 makes 40.15.26.2 prohibit"
    jumps = RuleDump(priority=50, family=4, action="goto", target=32766)
    assert go(d.with_entry(dumps, "node-1", "", "rules", jumps)).outcome.ending == "delivered"


def test_throw_goes_on_with_the_next_rule(host_gw: d.Dumps) -> None:
    thrown = RouteDump(prefix="40.15.26.0/24", type="throw", table=77)
    dumps = d.with_entry(host_gw, "node-1", "", "routes", thrown)
    dumps = d.with_entry(dumps, "node-1", "", "rules", RuleDump(priority=100, family=4, table=77))
    assert go(dumps).outcome.ending == "delivered"


# -- hosts that are not at hand ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["vxlan", "host-gw"])
def test_other_host_not_at_hand(driver: str) -> None:
    outcome = go({"node-1": d.reference(driver)["node-1"]}).outcome
    assert (outcome.ending, outcome.place) == ("elsewhere", "node-1")
    assert outcome.text == "continues on node-2 (192.168.1.254), whose state is not at hand"
    assert outcome.advice == "on node-2: `weft trace node-2 40.15.26.2`"
    assert not outcome.arrived


def test_other_host_not_at_hand_behind_a_router(vxlan: d.Dumps) -> None:
    assert "continues on node-4 (192.168.0.33)" in go({"node-1": vxlan["node-1"]}, "node-4").outcome.text


def test_sender_not_at_hand(vxlan: d.Dumps) -> None:
    outcome = go({"node-2": vxlan["node-2"]}).outcome
    assert (outcome.ending, outcome.advice) == ("no-state", "run the trace on node-1")


def test_mtu_is_that_of_the_smallest_device(vxlan: d.Dumps) -> None:
    """Of the underlay less what the tunnel adds, or of a device inside."""
    assert go(d.with_link(vxlan, "node-1", "", "eth0", mtu=1400)).mtu == 1350
    assert go(d.with_link(vxlan, "node-2", "", "weft00000000000", mtu=1300)).mtu == 1300


# -- by a cloud's router -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws_vpc() -> d.Dumps:
    return d.reference("aws-vpc", options={"route-table-ids": "auto"})


@FAMILIES
@pytest.mark.parametrize(("to", "table"), [("node-2", "rtb-a"), ("node-4", "rtb-a")])
def test_by_the_route_tables_of_a_vpc(aws_vpc: d.Dumps, family: int, to: str, table: str) -> None:
    path = go(aws_vpc, to, family)
    subnet = lab.lease(lab.network("aws-vpc", (4, 6)), lab.node(to)).subnet(4 if family == 4 else 6)
    assert entry(path, "node-1", "router") == f"{table}: {subnet} to eni-{to[-1]}"
    assert (path.outcome.ending, path.ttl, path.mtu) == ("delivered", 61, 1500)
    assert entry(go(aws_vpc, "node-1", family, "node-4"), "node-4", "router").startswith("rtb-b: ")


def test_the_route_that_a_vpc_lacks_is_named() -> None:
    """Only the table of node-1's subnet is written to, so node-4's packets get nowhere."""
    dumps = d.reference("aws-vpc", options={"route-table-ids": "rtb-a"})
    assert go(dumps, "node-4").outcome.ending == "delivered"
    outcome = go(dumps, "node-1", origin="node-4").outcome
    assert outcome.ending == "router"
    assert outcome.text == "rtb-b, by which packets of node-4 go, has no route to 40.15.43.2, which is on node-1/c1"


def test_where_a_vpc_leads_is_not_at_hand(aws_vpc: d.Dumps) -> None:
    outcome = go({"node-1": aws_vpc["node-1"]}, "node-4").outcome
    assert (outcome.ending, outcome.arrived) == ("elsewhere", False)
    assert outcome.text == "continues by rtb-a, of which it is not at hand where it leads to 40.15.9.2"


def test_outside_is_no_concern_of_a_vpcs_tables(aws_vpc: d.Dumps) -> None:
    assert walk(aws_vpc, d.start("node-1"), OUTSIDE[4], NODES).outcome.ending == "left"
