"""Driver overlay, as an operator and the wire see it: one namespace per network and host, entries, packets."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.capture import Capture, Packet
from support.cluster import Cluster
from support.inspected import namespaces as inspected_namespaces
from support.inspected import way
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
from weft.base.errors import Conflict, Exhausted
from weft.lab import Lab, matrix
from weft.lab.inside import Inside
from weft.model import PublishedPort

pytestmark = pytest.mark.parametrize("lab", ["etcd"], indirect=True, scope="module")

Networks = dict[str, list[Container]]
VNI = {"blue": 256, "inner": 257, "sixth": 300, "loud": 258}
NS = "weft-blue"


@pytest.fixture(scope="module")
def networks(lab: Lab) -> Iterator[Networks]:
    """`blue` with the defaults, dual stack; `inner` is internal; `sixth` over the v6 underlay with a VNI wished for; `loud`
    floods. In each a container on every node."""
    make_network(lab, "blue", "overlay", "10.20.0.0/16", "fd00:20::/64")
    make_network(lab, "inner", "overlay", "10.21.0.0/16", "fd00:21::/64", internal=True)
    make_network(lab, "sixth", "overlay", "10.22.0.0/16", vni="300", underlay="ipv6")
    make_network(lab, "loud", "overlay", "10.23.0.0/16", flood="true", internal=True)
    yield {name: run_everywhere(lab, name) for name in VNI}


def inside(lab: Lab, host: str, ns: str, command: str) -> Any:
    """What `ip -j …` and the like print in a namespace."""
    return shown(lab.host(host), f"ip netns exec {ns} {command}")


def fdb(lab: Lab, host: str, ns: str = NS) -> set[tuple[str, str]]:
    """(MAC, VTEP): the permanent entries of vxlan0's own table."""
    found = inside(lab, host, ns, "bridge -j fdb show dev vxlan0")
    return {(e["mac"], e["dst"]) for e in found if "self" in e["flags"] and e["state"] == "permanent"}


def neighbours(lab: Lab, host: str, ns: str = NS) -> set[tuple[str, str]]:
    found = inside(lab, host, ns, "ip -j neigh show dev vxlan0")
    return {(n["dst"], n["lladdr"]) for n in found if n["state"] == ["PERMANENT"]}


def entries(containers: Sequence[Container], underlay: int = 4) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """What FDB and neighbour table should have for these."""
    macs = {(c.endpoint.mac, UNDERLAY[c.host][underlay]) for c in containers}
    return macs, {(str(a.ip), c.endpoint.mac) for c in containers for a in c.endpoint.addresses}


def named(lab: Lab, host: str) -> set[str]:
    return {entry["name"] for entry in shown(lab.host(host), "ip -j netns")}


# ------------------------------------------------------------------------------------------------------- the kernel


@pytest.mark.parametrize("host", ["node-1", "node-2"])
@pytest.mark.parametrize("name", ["blue", "inner"])
def test_the_namespace_is_as_docker_makes_it(lab: Lab, networks: Networks, host: str, name: str) -> None:
    links = {link["ifname"]: link for link in inside(lab, host, f"weft-{name}", "ip -j -d link")}
    own = next(c for c in networks[name] if c.host == host)
    assert set(links) == {"lo", "br0", "vxlan0", own.endpoint.host_interface}
    assert links["br0"]["linkinfo"]["info_kind"] == "bridge"
    kind = links["vxlan0"]["linkinfo"]
    data = kind["info_data"]
    assert kind["info_kind"] == "vxlan"
    assert (data["id"], data["port"], data["ageing"]) == (VNI[name], 4789, 300)
    assert (data["proxy"], data["l2miss"], data["l3miss"], data["learning"]) == (True, True, True, True)
    assert data["local"] == UNDERLAY[host][4]
    for port in ("vxlan0", own.endpoint.host_interface):
        assert links[port]["master"] == "br0"
    assert {links[name]["mtu"] for name in links if name != "lo"} == {1450}
    assert all("UP" in links[name]["flags"] for name in links if name != "lo")


@pytest.mark.parametrize("host", ["node-1", "node-2"])
@pytest.mark.parametrize("name", ["blue", "inner", "sixth"])
def test_entries_for_remote_containers_and_no_others(lab: Lab, networks: Networks, host: str, name: str) -> None:
    others = [c for c in networks[name] if c.host != host]
    expected = entries(others, 6 if name == "sixth" else 4)
    assert (fdb(lab, host, f"weft-{name}"), neighbours(lab, host, f"weft-{name}")) == expected


def test_a_container_has_two_interfaces(lab: Lab, networks: Networks) -> None:
    mine = networks["blue"][0]
    links = {link["ifname"]: link for link in shown(mine.inside, "ip -j addr")}
    assert set(links) == {"lo", "eth0", "eth1"}
    assert (links["eth0"]["mtu"], links["eth1"]["mtu"]) == (1450, 1500)
    octets = [int(part) for part in mine.address(4).split(".")]
    assert links["eth0"]["address"] == "02:42:" + ":".join(f"{octet:02x}" for octet in octets)
    held = {f"{a['local']}/{a['prefixlen']}" for a in links["eth0"]["addr_info"] if a["scope"] == "global"}
    assert held == {str(a) for a in mine.endpoint.addresses}
    for family, gateway in ((4, "172.30.0.1"), (6, "fd57:4546:54::1")):
        routes = shown(mine.inside, f"ip -j -{family} route show default")
        assert [(r["gateway"], r["dev"]) for r in routes] == [(gateway, "eth1")]


def test_links_shows_the_way_out(lab: Lab, networks: Networks) -> None:
    """From a container's eth0, whose other end is in the network's own namespace, to the host."""
    mine = networks["blue"][0]
    host = lab.host(mine.host)
    assert way(host, mine.endpoint.name)[:5] == [
        ("start", "eth0", "veth", mine.endpoint.name),
        ("peer", mine.endpoint.host_interface, "veth", NS),
        ("master", "br0", "bridge", NS),
        ("port", "vxlan0", "vxlan", NS),
        ("route", "eth0", "veth", "default"),
    ]
    seen = inspected_namespaces(host)
    assert {seen[f"weft-{name}"]["engine"] for name in VNI} == {"weft"}
    assert seen["default"]["this"]


def test_over_the_v6_underlay(lab: Lab, networks: Networks) -> None:
    (link,) = inside(lab, "node-1", "weft-sixth", "ip -j -d link show vxlan0")
    data = link["linkinfo"]["info_data"]
    assert (data["id"], data["local6"], link["mtu"]) == (300, UNDERLAY["node-1"][6], 1430)


# ----------------------------------------------------------------------------------------------- who reaches whom


def test_all_reach_all_of_their_network(lab: Lab, networks: Networks) -> None:
    for name, families in (("blue", 2), ("inner", 2), ("sixth", 1), ("loud", 1)):
        pings = matrix.measure(matrix.containers(lab, name))
        assert len(pings) == 12 * families
        assert [f"{p.source} {p.address}" for p in pings if not p.ok] == []


def test_a_lab_s_matrix_counts_containers_and_not_the_networks_own_namespaces(lab: Lab, networks: Networks) -> None:
    everyone = {c.inside.name for some in networks.values() for c in some}
    assert {c.name for c in matrix.containers(lab)} >= everyone
    assert NS in named(lab, "node-1")
    assert NS not in lab.host("node-1").containers()


def test_other_networks_are_not_reached(networks: Networks) -> None:
    """Neither by a second interface nor through the gateway bridge that all share."""
    mine = networks["blue"][0]
    assert not ping(mine.inside, networks["inner"][0].address(4), wait=1).ok
    assert not ping(mine.inside, networks["inner"][1].address(4), wait=1).ok


def test_second_interfaces_do_not_reach_each_other(lab: Lab, networks: Networks) -> None:
    guest = run(lab, "node-1", "guest", "blue")
    gate = next(
        a["local"] for a in shown(guest.inside, "ip -j -4 addr show dev eth1")[0]["addr_info"] if a["family"] == "inet"
    )
    mine = networks["blue"][0].inside
    assert ping(mine, guest.address(4)).ok
    assert not ping(mine, gate, wait=1).ok
    mine.must("a route", ["ip", "route", "add", f"{gate}/32", "via", "172.30.0.1", "dev", "eth1"])
    assert not ping(mine, gate, wait=1).ok, "not through the host either"
    mine.must("no route", ["ip", "route", "del", f"{gate}/32"])
    lab.rm("node-1", "guest")


def test_an_internal_network_has_no_way_out(lab: Lab, networks: Networks) -> None:
    mine = networks["inner"][0]
    assert {link["ifname"] for link in shown(mine.inside, "ip -j link")} == {"lo", "eth0"}
    for family in (4, 6):
        assert shown(mine.inside, f"ip -j -{family} route show default") == []
        assert not ping(mine.inside, OUTSIDE[family], wait=1).ok
        assert not ping(mine.inside, UNDERLAY["node-1"][family], wait=1).ok


@pytest.mark.parametrize("family", [4, 6])
def test_a_published_port_leads_to_the_second_interface(lab: Lab, networks: Networks, family: int) -> None:
    """From outside, and from containers of the same host, which reach each other by it in no other way."""
    host = lab.host("node-2")
    namespaces(host, ["shop"])
    ports = (PublishedPort(host_port=8000, container_port=PeerServer.PORT),)
    client(lab, "node-2").attach(t.Attach(target="shop", network="blue", ports=ports))
    server = host.container("shop")
    with PeerServer(server):
        for source in (lab.host("outside"), networks["blue"][0].inside, networks["blue"][1].inside, server):
            script = f"exec 3<>/dev/tcp/{UNDERLAY['node-2'][family]}/8000 && cat <&3"
            assert source.run(["timeout", "5", "bash", "-c", script], timeout=20).stdout, source.name
    client(lab, "node-2").detach("shop")
    host.must("end", ["ip", "netns", "del", "shop"])


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("far", [1, 3])
def test_a_trace_says_what_packets_do(lab: Lab, networks: Networks, far: int, family: int) -> None:
    mine, other = networks["blue"][0], networks["blue"][far]
    words = ["trace", mine.name, other.name, "--family", str(family), "-o", "json"]
    done = weft(lab, "node-1", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    for path, (one, two) in ((found["there"], (mine, other)), (found["back"], (other, mine))):
        by_place = {(hop["place"], hop["step"]) for hop in path["hops"]}
        assert (f"{one.host}/weft-blue", "encapsulate") in by_place
        assert (f"{two.host}/weft-blue", "decapsulate") in by_place
        assert path["hops"][-1]["place"] == f"{two.host}/{two.name}"
    weft_sh = Cluster(lab).sh
    weft_sh("node-1", f"ip netns exec {mine.name} ip neigh flush all")
    nobody = json.loads(weft(lab, "node-1", "trace", mine.name, "10.20.255.254", "-o", "json").stdout)["there"]
    assert "vxlan0 on node-1/weft-blue has no neighbour entry to answer with" in nobody["outcome"]["text"]


# ----------------------------------------------------------------------------------------------------- on the wire


def assert_nobody_asks_for_containers(packets: list[Packet]) -> None:
    """Neither on the wire nor inside a tunnel, nor by whatever else is sent to everybody."""
    hosts = {address for both in UNDERLAY.values() for address in both.values()}
    hosts |= {"192.168.1.1", "fd00:192:168:1::1"}
    assert {a for p in packets for a in p.asked_for if not a.startswith("fe80:")} <= hosts
    assert [p.layers for p in packets if p.tunnelled and ("arp" in p.layers or p.asked_for)] == []


@pytest.mark.parametrize("name", ["blue", "sixth"])
def test_the_wire_carries_vxlan_and_no_question(lab: Lab, networks: Networks, tmp_path: Path, name: str) -> None:
    mine, *others = networks[name]
    for container in (mine, *others):
        container.inside.must("forget", ["ip", "neigh", "flush", "all"])
    outer = "ipv6" if name == "sixth" else "ip"
    families = {"ip": 4} if name == "sixth" else {"ip": 4, "ipv6": 6}
    with Capture(lab.host("node-1"), tmp_path) as capture:
        for other in others:
            for family in families.values():
                assert ping(mine.inside, other.address(family)).ok
                assert ping(other.inside, mine.address(family)).ok
    for other in others:
        for inner, family in families.items():
            ends = {mine.address(family), other.address(family)}
            found = [p for p in capture.packets if set(p.ends) == ends]
            assert len(found) == 4, f"two pings and their answers, with {other.name}"
            for packet in found:
                assert packet.layers[:6] == ("eth", outer, "udp", "vxlan", "eth", inner)
                assert packet["vxlan.vni"] == (str(VNI[name]),)
                assert packet["udp.dstport"] == ("4789",)
    assert_nobody_asks_for_containers(capture.packets)


def test_no_question_leaves_the_host(lab: Lab, networks: Networks, tmp_path: Path) -> None:
    """Not even for an address that nobody has, nor by a broadcast or multicast of the container's own."""
    mine = networks["blue"][0].inside
    with Capture(lab.host("node-1"), tmp_path) as capture:
        assert not ping(mine, "10.20.255.254", wait=1).ok
        assert not ping(mine, "fd00:20::fffe", wait=1).ok
        mine.run(["ping", "-c", "1", "-W", "1", "-b", "10.20.255.255"], timeout=20)
        mine.run(["ping", "-c", "1", "-W", "1", "-I", "eth0", "224.0.0.1"], timeout=20)
        mine.run(["ping", "-c", "1", "-W", "1", "ff02::1%eth0"], timeout=20)
    assert [p.layers for p in capture.packets if p["vxlan.vni"] == (str(VNI["blue"]),)] == []
    assert_nobody_asks_for_containers(capture.packets)


def test_flood_sends_multicast_to_each_host_once(lab: Lab, networks: Networks, tmp_path: Path) -> None:
    mine = networks["loud"][0].inside
    expected = {("00:00:00:00:00:00", UNDERLAY[node][4]) for node in NODES[1:]}
    assert expected < fdb(lab, "node-1", "weft-loud")
    with Capture(lab.host("node-1"), tmp_path) as capture:
        mine.run(["ping", "-c", "1", "-W", "1", "224.0.0.1"], timeout=20)
        assert not ping(mine, "10.23.255.254", wait=1).ok
    sent = [p for p in capture.packets if p.tunnelled and p.ends[1] == "224.0.0.1"]
    assert sorted(p["ip.dst"][0] for p in sent) == sorted(UNDERLAY[node][4] for node in NODES[1:])
    assert_nobody_asks_for_containers(capture.packets)


# ------------------------------------------------------------------------------------------------ coming and going


def test_a_container_gone_elsewhere_takes_its_own_entries_only(lab: Lab, networks: Networks) -> None:
    guests = [run(lab, "node-2", name, "blue") for name in ("going", "staying")]
    mine, *others = networks["blue"]
    assert ping(mine.inside, guests[0].address(4)).ok, "at once: attach returned only on node-2"
    until(lambda: fdb(lab, "node-1") == entries([*others, *guests])[0], 5, "entries for both guests")
    lab.rm("node-2", "going")
    expected = entries([*others, guests[1]])
    until(lambda: (fdb(lab, "node-1"), neighbours(lab, "node-1")) == expected, 5, "the one's entries gone")
    lab.rm("node-2", "staying")
    until(lambda: (fdb(lab, "node-1"), neighbours(lab, "node-1")) == entries(others), 5, "the other's entries gone")


def test_from_the_first_container_to_the_last(lab: Lab, networks: Networks) -> None:
    """A host without a container of the network has nothing of it, and need not know of the others."""
    make_network(lab, "late", "overlay", "10.24.0.0/16", "fd00:24::/64")
    before = {node: shown(lab.host(node), "ip -j link") for node in NODES}
    first = run(lab, "node-1", "first", "late")
    assert {node for node in NODES if "weft-late" in named(lab, node)} == {"node-1"}
    assert fdb(lab, "node-1", "weft-late") == set()
    second = run(lab, "node-4", "second", "late")
    for family in (4, 6):
        assert ping(second.inside, first.address(family)).ok, "all others are reached as soon as attach returns"
    lab.rm("node-1", "first")
    assert "weft-late" not in named(lab, "node-1")
    assert len(shown(lab.host("node-1"), "ip -j link")) == len(before["node-1"])
    until(lambda: fdb(lab, "node-4", "weft-late") == set(), 5, "the entries gone")
    lab.rm("node-4", "second")
    client(lab, "node-2").remove_network("late")
    assert not any("weft-late" in named(lab, node) for node in NODES)


def test_an_agent_killed_and_started_again_writes_nothing(lab: Lab, networks: Networks) -> None:
    weft = Cluster(lab)
    mine, other = networks["blue"][0], networks["blue"][1]
    before = (fdb(lab, "node-1"), neighbours(lab, "node-1"), shown(lab.host("node-1"), "ip -j netns"))
    indexes = inside(lab, "node-1", NS, "ip -j link")
    weft.end("node-1", signal.SIGKILL)
    assert ping(mine.inside, other.address(4)).ok
    weft.start("node-1")
    weft.settled(["node-1"])
    assert weft.metric("node-1", "weft_kernel_writes_total") == 0
    assert (fdb(lab, "node-1"), neighbours(lab, "node-1"), shown(lab.host("node-1"), "ip -j netns")) == before
    assert [link["ifindex"] for link in inside(lab, "node-1", NS, "ip -j link")] == [x["ifindex"] for x in indexes]


def test_what_changed_while_an_agent_was_away(lab: Lab, networks: Networks) -> None:
    weft = Cluster(lab)
    guest = run(lab, "node-2", "gone-meanwhile", "blue")
    weft.end("node-1", signal.SIGKILL)
    lab.rm("node-2", "gone-meanwhile")
    fresh = run(lab, "node-2", "new-meanwhile", "blue")
    weft.start("node-1")
    weft.settled(["node-1"])
    others = [*networks["blue"][1:], fresh]
    until(lambda: fdb(lab, "node-1") == entries(others)[0], 5, f"{guest.name} gone, {fresh.name} there")
    lab.rm("node-2", "new-meanwhile")


@pytest.mark.parametrize(
    "damage",
    [
        "ip -n weft-blue link del vxlan0",
        "ip -n weft-blue link del br0",
        "ip -n weft-blue link set vxlan0 nomaster",
        "ip -n weft-blue neigh flush all nud permanent",
        "for m in $(bridge -n weft-blue fdb show dev vxlan0 | grep self | cut -d' ' -f1); "
        "do bridge -n weft-blue fdb del $m dev vxlan0 self; done",
        "ip link del weft_gw",
        "ip netns del weft-blue || true",  # it is made again between ip's two steps, unmounting and unlinking
        "ip -n {mine} route flush table main; ip -n {mine} -6 route flush table main",
        "ip -n {mine} -6 address flush dev eth0 scope link",
        "ip route del 172.30.0.0/16 dev weft_gw; ip route del local 172.30.0.1 dev weft_gw table local",
    ],
)
def test_what_is_deleted_by_hand_comes_back(lab: Lab, networks: Networks, damage: str) -> None:
    weft = Cluster(lab)
    mine, *others = networks["blue"]
    weft.sh("node-1", damage.format(mine=mine.name) if "{mine}" in damage else damage)

    def right() -> bool:
        if NS not in named(lab, "node-1") or weft.unsettled("node-1"):
            return False
        links = {link["ifname"]: link for link in inside(lab, "node-1", NS, "ip -j link")}
        ports = ("vxlan0", mine.endpoint.host_interface)
        if not all(links.get(port, {}).get("master") == "br0" for port in ports):
            return False
        return (fdb(lab, "node-1"), neighbours(lab, "node-1")) == entries(others)

    until(right, 10, f"repair of: {damage}")
    for other in others:
        # A ping that was sent before the agent heard of the damage is lost: each waits for a second only.
        until(lambda o=other: ping(mine.inside, o.address(4), wait=1).ok, 5, "a container elsewhere")
        until(lambda o=other: ping(o.inside, mine.address(6), wait=1).ok, 5, "an answer by IPv6")
    until(lambda: ping(mine.inside, OUTSIDE[4], wait=1).ok, 5, "the way out")


def test_a_node_whose_agent_ended_keeps_its_address_and_nothing_of_it_is_left_after_node_rm(
    lab: Lab, networks: Networks
) -> None:
    weft = Cluster(lab)
    make_network(lab, "small", "overlay", "10.25.0.0/29", internal=True)
    held = run(lab, "node-3", "held", "small")
    near = run(lab, "node-1", "near", "small")
    with pytest.raises(Conflict, match=f"{held.address(4)} is taken by a container on node-3"):
        namespaces(lab.host("node-1"), ["wishes"])
        client(lab, "node-1").attach(
            t.Attach(target="wishes", network="small", addresses=(held.endpoint.addresses[0].ip,))
        )
    weft.end("node-3", signal.SIGKILL)
    client(lab, "node-1").remove_node("node-3", force=True)
    until(lambda: fdb(lab, "node-1", "weft-small") == set(), 5, "node-3's container gone")
    again = client(lab, "node-1").attach(
        t.Attach(target="wishes", network="small", addresses=(held.endpoint.addresses[0].ip,))
    )
    assert again.addresses == held.endpoint.addresses
    weft.start("node-3")
    weft.settled(NODES)
    assert near.endpoint.addresses != again.addresses
    client(lab, "node-1").remove_network("small", force=True)


# --------------------------------------------------------------------------------------------------------- addresses


def test_fifty_at_once_on_each_of_four_hosts(lab: Lab, networks: Networks) -> None:
    """All in a network that is hardly larger: nodes that want the same address find another."""
    make_network(lab, "crowd", "overlay", "10.26.0.0/24", "fd00:26::/64", internal=True)
    names = [f"n{number}" for number in range(50)]
    for node in NODES:
        namespaces(lab.host(node), names)
    places = [(node, name) for name in names for node in NODES]

    def attach(place: tuple[str, str]) -> t.EndpointInfo:
        return client(lab, place[0]).attach(t.Attach(target=place[1], network="crowd"))

    with ThreadPoolExecutor(24) as pool:
        made = list(pool.map(attach, places))
    given = [a.ip for endpoint in made for a in endpoint.addresses]
    assert len(given) == len(set(given)) == 400
    for node in NODES:
        others = {(e.mac, UNDERLAY[e.node][4]) for e in made if e.node != node}
        until(lambda node=node, others=others: fdb(lab, node, "weft-crowd") == others, 20, f"all entries on {node}")
    for endpoint in made[::17]:
        source = lab.host("node-1").container("n7")
        assert ping(source, str(endpoint.addresses[0].ip)).ok
    client(lab, "node-1").remove_network("crowd", force=True)
    until(lambda: not any("weft-crowd" in named(lab, node) for node in NODES), 20, "all of it gone")
    for node in NODES:
        Inside.must(lab.host(node), "cleared", ["ip", "-batch", "-"], input="\n".join(f"netns del {n}" for n in names))


def test_when_no_address_is_left(lab: Lab, networks: Networks) -> None:
    """A /29 has eight, of which its own, the reserved first and the broadcast address are given to nobody."""
    make_network(lab, "tiny", "overlay", "10.27.0.0/29", internal=True)
    held = [run(lab, NODES[number % 4], f"tiny{number}", "tiny") for number in range(5)]
    assert sorted(c.address(4) for c in held) == [f"10.27.0.{number}" for number in range(2, 7)]
    namespaces(lab.host("node-1"), ["toomuch"])
    with pytest.raises(
        Exhausted, match=r"no address is left in subnet 10\.27\.0\.0/29: .*make a network with a larger subnet"
    ):
        client(lab, "node-1").attach(t.Attach(target="toomuch", network="tiny"))
    for container in held:
        lab.rm(container.host, container.name)
    client(lab, "node-1").remove_network("tiny")


def test_vnis(lab: Lab, networks: Networks) -> None:
    """The smallest free one; one that is taken is refused."""
    assert {name: client(lab, "node-3").network(name).options["vni"] for name in VNI} == VNI
    with pytest.raises(Conflict, match="VNI 257 is taken by network inner: choose another"):
        make_network(lab, "green", "overlay", "10.28.0.0/16", vni="257")
    make_network(lab, "green", "overlay", "10.28.0.0/16", host="node-2")
    assert client(lab, "node-3").network("green").options["vni"] == 259
    client(lab, "node-1").remove_network("green")
