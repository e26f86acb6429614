"""Driver `routed` in the real kernel: the host end, what a container may send, and hosts among each other."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from support import lab
from support.namespaces import Home
from support.routed import Host, Router, hosts, listening, ping, protocols
from support.waiting import until
from weft.base.net import parse_mac
from weft.hoststate.union import Source

BOTH = (4, 6)


@pytest.fixture
def host(netns: Home, tmp_path: Path) -> Iterator[Host]:
    """node-1, with two containers c1 and c2."""
    found = Host(netns, Router(netns), "node-1", lab.network("routed", BOTH), tmp_path)
    found.attach("c1", 2)
    found.attach("c2", 3)
    found.converge()
    yield found
    found.close()


def test_nothing_is_left_to_do_and_nothing_is_written_after_a_restart(host: Host) -> None:
    assert host.converge().ops == ()
    host.restart()
    assert host.converge().ops == ()
    # What goes with a container's device is not among what has to be put back.
    assert set(json.loads((host.run / "sysctl.json").read_text())) == {
        "net/ipv4/ip_forward",
        "net/ipv6/conf/all/forwarding",
    }


def test_containers_of_a_host_talk_by_its_routing(host: Host) -> None:
    for address in host.addresses(3):
        assert "ttl=63" in ping(host.containers["c1"], address)
    for number, name in ((2, "c1"), (3, "c2")):
        for address in host.addresses(number):
            assert "ttl=64" in ping(host.ns, address), name


def test_what_ip_shows(host: Host) -> None:
    v4, v6 = host.addresses(2)
    routes = {r["dst"]: r for r in host.ns.json("ip", "-j", "route", "show", "proto", "87")}
    outer = host.endpoints["c1"].host_interface
    assert (routes[v4]["dev"], routes[v4]["scope"]) == (outer, "link")
    link = host.ns.json("ip", "-j", "-d", "link", "show", outer)[0]
    assert (link["address"], link["group"]) == ("ee:ee:ee:ee:ee:ee", "87")
    entries = {n["dst"]: n for n in host.ns.json("ip", "-j", "neigh", "show", "dev", outer, "nud", "permanent")}
    assert entries[v4]["lladdr"] == entries[v6]["lladdr"] == "02:42:00:00:01:02"


def test_the_next_hop_of_v6_stands_from_the_first_moment(host: Host) -> None:
    for endpoint in host.endpoints.values():
        shown = host.ns.json("ip", "-j", "-6", "addr", "show", "dev", endpoint.host_interface)[0]["addr_info"]
        assert [(a["local"], a.get("tentative", False)) for a in shown] == [("fe80::ecee:eeff:feee:eeee", False)]


def test_the_container_has_its_addresses_alone(host: Host) -> None:
    inside = host.containers["c1"]
    v4, v6 = host.addresses(2)
    shown = {
        (i["local"], i["prefixlen"]) for i in inside.json("ip", "-j", "addr", "show", "dev", "eth0")[0]["addr_info"]
    }
    assert {(v4, 32), (v6, 128)} <= shown
    routes = {r["dst"]: r for r in inside.json("ip", "-j", "route")}
    assert routes["default"]["gateway"] == "169.254.1.1"
    assert routes["169.254.1.1"]["scope"] == "link" and "gateway" not in routes["169.254.1.1"]
    (six,) = (r for r in inside.json("ip", "-6", "-j", "route") if r["dst"] == "default")
    assert six["gateway"] == "fe80::ecee:eeff:feee:eeee"


def test_the_host_end_answers_for_the_next_hop_at_once_also_without_a_default_route(host: Host) -> None:
    host.ns.sh("ip route del default")
    inside = host.containers["c1"]
    inside.sh("ip neigh flush dev eth0")
    with listening(inside, "eth0") as heard:
        said = ping(inside, host.addresses(3)[0])
        answers = [f for f in heard.frames() if f[12:14] == b"\x08\x06" and f[20:22] == b"\x00\x02"]
    assert float(said.partition("time=")[2].split()[0]) < 100
    assert [(a[22:28].hex(":"), str(ip_address(a[28:32]))) for a in answers] == [("ee:ee:ee:ee:ee:ee", "169.254.1.1")]


def test_nothing_goes_round_for_the_next_hop_that_exists_nowhere(host: Host) -> None:
    before = forwarded(host)
    assert not ping(host.containers["c1"], "169.254.1.1", "-W1")
    assert forwarded(host) == before


def forwarded(host: Host) -> int:
    """IPv4 packets that the host has routed on (RFC 4293, ipForwDatagrams)."""
    names, values = (line.split() for line in host.ns.sh("cat /proc/net/snmp").splitlines()[:2])
    return int(values[names.index("ForwDatagrams")])


@pytest.mark.parametrize("mine", ["40.15.43.77/32", "192.168.1.68/32", "fd40:15:0:43::77/128", "fd01:a::68/128"])
def test_a_container_sends_from_its_own_addresses_only(host: Host, mine: str) -> None:
    inside, other = host.containers["c1"], host.containers["c2"]
    address, six = mine.partition("/")[0], ":" in mine
    inside.run("ip", "addr", "add", mine, "dev", "eth0", *["nodad"] * six)
    target = host.addresses(3)[six]
    with listening(other, "eth0") as heard:
        assert not ping(inside, target, "-W1", "-I", address)
        assert ping(inside, target, "-I", host.addresses(2)[six])
        packed = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, address)
        assert not [f for f in heard.frames() if packed in f[14:54]]


def test_forged_arp_has_no_effect(host: Host) -> None:
    """c1 claims c2's address, and another MAC for its own."""
    inside, (mine, _), (others, _) = host.containers["c1"], host.addresses(2), host.addresses(3)
    assert ping(host.containers["c2"], mine) and ping(inside, others)
    before = host.ns.json("ip", "-j", "neigh", "show", "nud", "permanent")
    forged = "02:66:66:66:66:66"
    with inside.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("eth0", 0))
        for address in (mine, others):
            for operation in (1, 2):
                out.send(arp(forged, address, operation))
    assert "ttl=63" in ping(host.containers["c2"], mine)
    assert "ttl=64" in ping(host.ns, others)
    assert host.ns.json("ip", "-j", "neigh", "show", "nud", "permanent") == before


def arp(mac: str, address: str, operation: int) -> bytes:
    """An announcement (RFC 5227)."""
    me, ip = bytes.fromhex(parse_mac(mac).replace(":", "")), ip_address(address).packed
    head = b"\xff" * 6 + me + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return head + me + ip + b"\xff" * 6 + ip


@pytest.mark.parametrize("what", ["route", "neighbour", "sysctl", "rule", "group"])
def test_what_is_deleted_comes_back(host: Host, what: str) -> None:
    outer, v4 = host.endpoints["c1"].host_interface, host.addresses(2)[0]
    host.ns.sh(
        {
            "route": f"ip route del {v4}",
            "neighbour": f"ip neigh del {v4} dev {outer}",
            "sysctl": f"sysctl -qw net.ipv4.conf.{outer}.proxy_arp=0",
            "rule": "nft flush chain inet weft checked",
            "group": f"ip link set {outer} group 0",
        }[what]
    )
    assert len(host.converge().ops) == 1
    assert host.converge().ops == ()


def test_all_of_it_goes(host: Host) -> None:
    for source in list(host.union.sources):
        host.want(source, None)
    host.converge()
    assert {link["ifname"] for link in host.ns.json("ip", "-j", "link")} == {"lo", "eth0"}
    assert host.ns.run("nft", "list", "ruleset") == ""
    assert host.ns.json("ip", "-j", "route", "show", "proto", "87") == []
    assert host.ns.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"


OTHERS = ["node-1", "node-2", "node-4"]


def test_vxlan_across_segments_only(netns: Home, tmp_path: Path) -> None:
    net = lab.network("routed", BOTH, options={"encap": "vxlan-cross-subnet"})
    with hosts(netns, net, OTHERS, tmp_path) as found:
        one = found["node-1"]
        for six in (0, 1):
            with listening(one.ns, "eth0") as heard:
                assert "ttl=62" in ping(one.containers["c1"], found["node-2"].addresses()[six])
                near = protocols(heard.frames())
                assert "ttl=62" in ping(one.containers["c1"], found["node-4"].addresses()[six])
                far = protocols(heard.frames())
            assert (17, "192.168.0.33") not in near and (17, "192.168.0.33") in far
        # The host itself, too, in both directions.
        assert ping(one.ns, found["node-4"].addresses()[0])
        assert ping(found["node-4"].containers["c4"], "192.168.1.68")
        assert all(h.converge().ops == () for h in found.values())


def test_vxlan_packets_of_an_unknown_host_are_dropped(netns: Home, tmp_path: Path) -> None:
    net = lab.network("routed", options={"encap": "vxlan"})
    with hosts(netns, net, ["node-1", "node-2"], tmp_path) as found:
        one, two = found.values()
        assert "ttl=62" in ping(one.containers["c1"], two.addresses()[0])
        two.want(Source("node", "", "node-1"), None)
        two.converge()
        with listening(two.containers["c2"], "eth0") as heard:
            assert not ping(one.containers["c1"], two.addresses()[0], "-W1")
            assert not [f for f in heard.frames() if f[12:14] == b"\x08\x00"]
        two.knows(one)
        two.converge()
        until(lambda: ping(one.containers["c1"], two.addresses()[0]), 5, "node-2 to take packets again")
