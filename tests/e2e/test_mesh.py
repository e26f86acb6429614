"""Driver mesh, as an operator and the wire see it: tables that are filled ahead of need, packets for one and for many."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from support.capture import Capture
from support.reach import (
    OUTSIDE,
    UNDERLAY,
    Container,
    PeerServer,
    attached,
    client,
    make_network,
    ping,
    run_everywhere,
    seen_as,
    shown,
    weft,
)
from support.snapshot import difference, snapshot
from support.waiting import until
from weft.lab import Lab, matrix
from weft.lab.inside import Inside

Networks = dict[str, list[Container]]
MEMBERS = ("node-1", "node-2", "node-4")
"""Hosts with a container in `office`: node-3 has none."""
BRIDGE, TUNNEL = "weft-office", "vxlan-256"
GROUPS = {4: "239.87.0.1", 6: "ff15::87"}


@pytest.fixture(scope="module")
def networks(lab: Lab) -> Iterator[Networks]:
    make_network(lab, "office", "mesh", "172.111.222.0/24", "fd00:222::/64", interface="ethwe0")
    make_network(lab, "other", "mesh", "172.111.223.0/24", "fd00:223::/64", internal=True)
    yield {
        "office": run_everywhere(lab, "office", MEMBERS),
        "other": run_everywhere(lab, "other", ("node-1", "node-3")),
    }


def fdb(lab: Lab, host: str) -> tuple[set[tuple[str, str]], set[str]]:
    """(MAC, VTEP) of the tunnel's own table, and the MACs that the bridge has behind it."""
    found = shown(lab.host(host), f"bridge -j fdb show dev {TUNNEL}")
    own = {(e["mac"], e["dst"]) for e in found if "self" in e["flags"] and e["state"] == "permanent"}
    return own, {e["mac"] for e in found if e.get("master") == BRIDGE and e["state"] == "static" and "vlan" not in e}


def expected(containers: Sequence[Container]) -> tuple[set[tuple[str, str]], set[str]]:
    places = {(c.endpoint.mac, UNDERLAY[c.host][4]) for c in containers}
    return places | {("00:00:00:00:00:00", dst) for _, dst in places}, {mac for mac, _ in places}


# ------------------------------------------------------------------------------------------------------- the kernel


def test_a_host_has_a_bridge_and_a_tunnel_with_an_entry_for_each_container(lab: Lab, networks: Networks) -> None:
    mine, *others = networks["office"]
    host = lab.host("node-1")
    links = {link["ifname"]: link for link in shown(host, "ip -j -d link")}
    tunnel = links[TUNNEL]
    kind, port = tunnel["linkinfo"]["info_data"], tunnel["linkinfo"]["info_slave_data"]
    assert (kind["id"], kind["port"], kind["learning"], kind["proxy"]) == (256, 6784, False, True)
    assert kind["local"] == UNDERLAY["node-1"][4]
    assert (port["isolated"], port["learning"]) == (True, False)
    ports = {name for name, link in links.items() if link.get("master") == BRIDGE}
    assert ports == {TUNNEL, mine.endpoint.host_interface}
    assert {links[name]["mtu"] for name in (BRIDGE, *ports)} == {1376}
    assert fdb(lab, "node-1") == expected(others)
    known = shown(host, f"ip -j neigh show dev {TUNNEL}")
    assert {(n["dst"], n["lladdr"]) for n in known if n["state"] == ["PERMANENT"]} == {
        (str(a.ip), c.endpoint.mac) for c in others for a in c.endpoint.addresses
    }
    assert TUNNEL not in {link["ifname"] for link in shown(lab.host("node-3"), "ip -j link")}


def test_a_container_has_its_interface_and_the_route_for_many(networks: Networks) -> None:
    mine = networks["office"][0]
    links = {link["ifname"]: link for link in shown(mine.inside, "ip -j addr")}
    assert set(links) == {"lo", "ethwe0", "eth0"}
    octets = [int(part) for part in mine.address(4).split(".")]
    assert links["ethwe0"]["address"] == "02:42:" + ":".join(f"{octet:02x}" for octet in octets)
    assert links["ethwe0"]["mtu"] == 1376
    routes = {r["dst"]: r for r in shown(mine.inside, "ip -j route")}
    assert (routes["224.0.0.0/4"]["dev"], routes["default"]["dev"]) == ("ethwe0", "eth0")
    (inner,) = [link for link in shown(networks["other"][0].inside, "ip -j link") if link["ifname"] != "lo"]
    assert inner["ifname"] == "eth0"


def test_who_has_a_way_out_keeps_it(lab: Lab, networks: Networks) -> None:
    """As with an engine's own eth0."""
    host = lab.host("node-1")
    for words in (
        "ip netns add engine",
        "ip link add eng0 type veth peer name eth0 netns engine",
        "ip -n engine address add 198.51.100.2/30 dev eth0",
        "ip -n engine link set eth0 up",
        "ip link set eng0 up",
        "ip -n engine route add default via 198.51.100.1",
    ):
        host.must("an engine's container", words.split())
    assert weft(lab, "node-1", "attach", "engine", "--network", "office").returncode == 0
    inside = host.container("engine")
    assert {link["ifname"] for link in shown(inside, "ip -j link")} == {"lo", "eth0", "ethwe0"}
    (default,) = shown(inside, "ip -j route show default")
    assert default["dev"] == "eth0"
    assert ping(inside, networks["office"][1].address(4)).ok
    assert weft(lab, "node-1", "detach", "engine").returncode == 0
    host.must("end", ["ip", "netns", "del", "engine"])


# ----------------------------------------------------------------------------------------------- who reaches whom


def test_all_reach_all_of_their_network(lab: Lab, networks: Networks) -> None:
    for name, pairs in (("office", 6), ("other", 2)):
        pings = matrix.measure(matrix.containers(lab, name))
        assert len(pings) == 2 * pairs
        assert [f"{p.source} {p.address}" for p in pings if not p.ok] == []
    for family in (4, 6):
        assert ping(networks["office"][0].inside, OUTSIDE[family]).ok


@pytest.mark.parametrize("family", [4, 6])
def test_a_trace_says_what_packets_do(lab: Lab, networks: Networks, family: int) -> None:
    mine, other = networks["office"][0], networks["office"][2]
    done = weft(lab, "node-1", "trace", mine.name, other.name, "--family", str(family), "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    for path in json.loads(done.stdout).values():
        if isinstance(path, dict) and "hops" in path:
            assert {"encapsulate", "decapsulate"} <= {hop["step"] for hop in path["hops"]}


def test_a_service_is_reached_at_its_own_address(lab: Lab, networks: Networks) -> None:
    """Translated on the client's own host, whose bridge has the address; the member sees its client."""
    mine, *others = networks["office"]
    for other in others:
        assert weft(lab, "node-1", "endpoint", "label", other.endpoint.id, "app=shop").returncode == 0
    words = f"service create shop --network office --port {PeerServer.PORT} --select app=shop"
    done = weft(lab, "node-1", *words.split())
    assert done.returncode == 0, done.stderr
    addresses = [str(a) for a in client(lab, "node-1").service("office/shop").service.addresses]
    assert len(addresses) == 2
    with PeerServer(others[0].inside), PeerServer(others[1].inside):
        for address in addresses:
            family = 6 if ":" in address else 4
            until(
                lambda a=address, f=family: seen_as(mine.inside, a) == mine.address(f), 10, f"{address} of the service"
            )
            assert seen_as(others[0].inside, address), "a member calls its own service"
    assert weft(lab, "node-1", "service", "rm", "office/shop").returncode == 0


def test_what_is_gone_elsewhere_takes_its_own_entries_only(lab: Lab, networks: Networks) -> None:
    """Also where its MAC address comes back, on another host."""
    others = networks["office"][1:]
    mac = ("--mac", "02:42:00:00:00:77")
    guest = attached(lab, "node-2", "guest", "office", *mac)
    until(lambda: fdb(lab, "node-1") == expected([*others, guest]), 5, "entries for the guest")
    lab.rm("node-2", "guest")
    until(lambda: fdb(lab, "node-1") == expected(others), 5, "its entries gone")
    guest = attached(lab, "node-1", "guest", "office", *mac)
    assert fdb(lab, "node-1") == expected(others)
    for one in others:
        assert ping(one.inside, guest.address(4)).ok
    lab.rm("node-1", "guest")


# --------------------------------------------------------------------------------------------------------- for many

_LISTEN = """
import json, socket, struct, sys
group, dev = sys.argv[1:]
v6 = ":" in group
sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 7087))
index = socket.if_nametoindex(dev)
packed = socket.inet_pton(sock.family, group)
if v6:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed + struct.pack("=I", index))
else:
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, packed + struct.pack("=4xI", index))
print("ready", flush=True)
sock.settimeout(30)
heard = []
while (said := sock.recv(100).decode()) != "end":
    heard.append(said)
print(json.dumps(heard))
"""
_SEND = """
import socket, sys
group, dev, *words = sys.argv[1:]
sock = socket.socket(socket.AF_INET6 if ":" in group else socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
if ":" in group:
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(dev))
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
for word in words:
    sock.sendto(word.encode(), (group, 7087))
"""


def _device(container: Container) -> str:
    return container.endpoint.interface


def listening(containers: Sequence[Container], group: str) -> list[Popen[str]]:
    """Returns when all have joined."""
    return [_listen(each.inside, group, _device(each)) for each in containers]


def _listen(inside: Inside, group: str, dev: str) -> Popen[str]:
    process = inside.popen([sys.executable, "-c", _LISTEN, group, dev], stdout=PIPE)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def send(container: Container, group: str, *words: str) -> None:
    container.inside.must("sent", [sys.executable, "-c", _SEND, group, _device(container), *words])


def heard(process: Popen[str]) -> list[str]:
    said, _ = process.communicate(timeout=30)
    return list(json.loads(said))


@pytest.mark.parametrize("family", [4, 6])
def test_a_multicast_stream_comes_to_all_members_once_and_to_nobody_else(
    lab: Lab, networks: Networks, tmp_path: Path, family: int
) -> None:
    source, *members = networks["office"]
    group, words = GROUPS[family], [str(number) for number in range(20)]
    with Capture(lab.host("node-3"), tmp_path) as capture:
        listeners, strangers = listening(members, group), listening(networks["other"], group)
        send(source, group, *words, "end")
        assert [heard(one) for one in listeners] == [words] * len(members)
        send(networks["other"][0], group, "end")
        assert [heard(one) for one in strangers] == [[]] * len(strangers)
    assert not any("256" in packet["vxlan.vni"] for packet in capture.packets), "node-3 is in the other network only"


def behind(lab: Lab, host: str, device: str) -> set[str]:
    """The MACs that its bridge has behind this port; none where there is no such."""
    found = shown(lab.host(host), f"bridge -j fdb show br {BRIDGE}")
    return {e["mac"] for e in found if e["ifname"] == device and e.get("master") == BRIDGE and e["state"] == "static"}


def test_frames_for_many_come_once_where_a_program_carries_some_of_them(lab: Lab, networks: Networks) -> None:
    """To node-4 the tunnel's port is closed: its frames go to a program, and what is asked is still answered on the spot."""
    near, middle, far = networks["office"]
    program = TUNNEL.replace("vxlan", "sleeve")
    closed = "table inet closed { chain c { type filter hook prerouting priority -400; udp dport 6784 drop; }; }"

    def ways() -> list[set[str]]:
        return [behind(lab, c.host, program) for c in (near, middle, far)]

    lab.host("node-4").must("closed", ["nft", closed])
    try:
        others = [{far.endpoint.mac}, {far.endpoint.mac}, {near.endpoint.mac, middle.endpoint.mac}]
        until(lambda: ways() == others, 20, lambda: f"the way by the program: {ways()}")
        assert fdb(lab, "node-1") == expected([middle])
        near.inside.must("forget", ["ip", "neigh", "flush", "all"])
        for family in (4, 6):
            until(lambda f=family: ping(near.inside, far.address(f), wait=1).ok, 10, f"answers of it over IPv{family}")
            words = [str(number) for number in range(20)]
            for source, *members in ((near, middle, far), (far, near, middle)):
                listeners = listening(members, GROUPS[family])
                send(source, GROUPS[family], *words, "end")
                assert [heard(one) for one in listeners] == [words] * 2, f"from {source.name}"
    finally:
        lab.host("node-4").must("open", ["nft", "delete", "table", "inet", "closed"])
    until(lambda: ways() == [set()] * 3, 40, lambda: f"the tunnel again: {ways()}")
    assert fdb(lab, "node-1") == expected([middle, far])
    assert program not in {link["ifname"] for link in shown(lab.host("node-1"), "ip -j link")}


def test_a_broadcast_comes_to_all_members(networks: Networks) -> None:
    source, *members = networks["office"]
    listeners = listening(members, GROUPS[4])
    send(source, "172.111.222.255", "hello", "end")
    assert [heard(one) for one in listeners] == [["hello"]] * len(members)


def test_a_bridge_is_no_way_out(lab: Lab, networks: Networks) -> None:
    """For a container that sends to its bridge's own MAC address: neither to other networks nor to outside."""
    mine, target = networks["office"][0], networks["other"][0]
    outside, host, hop = lab.host("outside"), lab.host("node-1"), "192.0.2.1"
    (listener,), (far,) = listening([target], GROUPS[4]), [_listen(outside, GROUPS[4], "eth0")]
    for source, bridge, there in ((mine, BRIDGE, target.address(4)), (target, "weft-other", OUTSIDE[4])):
        (link,) = shown(host, f"ip -j link show {bridge}")
        dev = _device(source)
        for words in (
            f"route add {hop} dev {dev}",
            f"neigh add {hop} lladdr {link['address']} dev {dev} nud permanent",
        ):
            source.inside.must("a hop", ["ip", *words.split()])
        source.inside.must("a route", f"ip route add {there}/32 via {hop} dev {dev}".split())
        send(source, there, "forged")
        source.inside.must("as it was", ["ip", "route", "del", f"{there}/32"])
    send(networks["other"][1], GROUPS[4], "end")
    host.must("end", [sys.executable, "-c", _SEND, OUTSIDE[4], "eth0", "end"])
    assert (heard(listener), heard(far)) == ([], [])


def test_no_question_leaves_the_host(lab: Lab, networks: Networks, tmp_path: Path) -> None:
    mine, other = networks["office"][:2]
    mine.inside.must("forget", ["ip", "neigh", "flush", "all"])
    with Capture(lab.host("node-1"), tmp_path) as capture:
        assert ping(mine.inside, other.address(4)).ok and ping(mine.inside, other.address(6)).ok
        assert not ping(mine.inside, "172.111.222.250", wait=1).ok
        assert not ping(mine.inside, "fd00:222::fffe", wait=1).ok
    sent = [p for p in capture.packets if p.tunnelled]
    assert {p["udp.dstport"][0] for p in sent} == {"6784"}
    assert [p.layers for p in sent if "arp" in p.layers or p.asked_for] == []


# ------------------------------------------------------------------------------------------------- the host itself


def test_a_host_is_in_the_network_where_it_is_exposed(lab: Lab, networks: Networks) -> None:
    """It has no container there; it outlives its agent, and leads those in that it routes for."""
    members, host, agent = networks["office"], lab.host("node-3"), client(lab, "node-3")
    bare = snapshot(host)
    assert weft(lab, "node-3", "expose", "office").returncode == 0
    own = {a.version: str(a) for a in (i.ip for i in agent.endpoint("node-3/node-3").addresses)}
    for member in members:
        for family in (4, 6):
            assert ping(host, member.address(family)).ok
            assert ping(member.inside, own[family]).ok
    with PeerServer(members[0].inside):
        assert seen_as(host, members[0].address(4)) == own[4]
        for place, hop in (("outside", "203.0.113.1"), ("router", UNDERLAY["node-3"][4])):
            lab.host(place).must("a way in", f"ip route add 172.111.222.0/24 via {hop}".split())
        assert seen_as(lab.host("outside"), members[0].address(4)) == own[4]
    lab.agent("node-3").end(signal.SIGKILL)
    exposed = snapshot(host)
    lab.agent("node-3").start()
    lab.agent("node-3").wait_ready()
    assert (agent.plan().commands, difference(exposed, snapshot(host))) == ((), "")
    assert weft(lab, "node-3", "hide", "office").returncode == 0
    until(lambda: not difference(bare, snapshot(host)), 10, lambda: difference(bare, snapshot(host)))


def test_nothing_is_left(lab: Lab, networks: Networks) -> None:
    for node in MEMBERS:
        lab.rm(node, f"office-{node[-1]}")
    client(lab, "node-1").remove_network("office")
    for node in MEMBERS:
        assert not {BRIDGE, TUNNEL} & {link["ifname"] for link in shown(lab.host(node), "ip -j link")}
