"""Nobody pretends to be somebody else: attacks by every way out of a container, and each with what an honest one does.

Every attack is a frame that bears a mark. Behind it the same container sends an honest frame to the same place: when that
has arrived, the attack has too, or never will. Whoever is attacked listens on its own device.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import pytest

from support import forge as f
from support.namespaces import entered
from support.reach import UNDERLAY, Container, client, make_network, ping, run, shown
from support.routed import Listener
from support.waiting import until
from weft.api import types as t
from weft.base.net import link_local
from weft.datapaths.routed import HOST_END_MAC
from weft.lab import Lab
from weft.lab.process import PROC

SOMEBODY = {4: "198.51.100.7", 6: "2001:db8:99::7"}
"""Who is nowhere near."""
FALSE_MAC = "02:66:66:66:66:66"
ALL_NODES, ALL_MAC = "ff02::1", "33:33:00:00:00:01"
PORT = 7777
NETWORKS = {
    "br": ("bridge", "10.51.0.0/16", "fd00:51::/48", {}),
    "gw": ("host-gw", "10.52.0.0/16", "fd00:52::/48", {}),
    "vx": ("vxlan", "10.53.0.0/16", "fd00:53::/48", {"vni": "53"}),
    "ov": ("overlay", "10.54.0.0/16", "fd00:54::/64", {"vni": "354"}),
    "ro": ("routed", "10.55.0.0/16", "fd00:55::/64", {}),
    "six": ("overlay", "10.57.0.0/16", "fd00:57::/64", {"vni": "357", "underlay": "ipv6"}),
    "free": ("vxlan", "10.56.0.0/16", "fd00:56::/48", {"vni": "56", "spoofing": "allow"}),
}


class Place:
    """A namespace of the lab, for sockets of this process."""

    def __init__(self, lab: Lab, host: str, container: str = "") -> None:
        root = PROC / str(lab.host(host).holder.pid)
        self.path = root / "root/run/netns" / container if container else root / "ns/net"

    @contextmanager
    def entered(self) -> Iterator[None]:
        with self.path.open() as there, entered(there.fileno()):
            yield

    def sender(self, device: str) -> socket.socket:
        with self.entered():
            out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        out.bind((device, 0))
        return out


@dataclass(frozen=True, kw_only=True)
class Way:
    """From the container `me` by its `device` to `target`, whose listener hears what arrives. `to`: the MAC address that
    leads there. `gateway`, `third`: MAC and addresses of those whom it would like to be. `switched`: not by a router.
    `mark`: what a frame is known by."""

    me: Place
    device: str
    mac: str
    own: dict[int, str]
    to: str
    target: dict[int, str]
    listener: Listener
    gateway: tuple[str, dict[int, str]]
    third: tuple[str, dict[int, str]]
    switched: bool = True
    mark: bytes = b""

    @property
    def link_local(self) -> str:
        return str(link_local(self.mac))


Made = Callable[[Way], bytes]


def _ip(w: Way, source: str, protocol: int, body: bytes, *, mac: str = "", to: str = "", tags: str = "") -> bytes:
    kind, packet = f.ip(source, w.target[6 if ":" in source else 4], protocol, body)
    return f.frame(to or w.to, mac or w.mac, kind, packet, tags)


def _udp(w: Way, source: str, port: int = 4000, at: int = PORT, **more: Any) -> bytes:
    return _ip(w, source, f.UDP, f.udp(port, at, w.mark), **more)


def _tcp(w: Way, source: str, **more: Any) -> bytes:
    return _ip(w, source, f.TCP, f.tcp(4000, PORT, w.mark), **more)


def _fragment(w: Way, source: str, where: int, body: bytes) -> bytes:
    return f.frame(w.to, w.mac, f.IP4, f.ip4(source, w.target[4], f.UDP, body, fragment=where))


def _arp(w: Way, operation: int, mac: str, address: str, asked: str, source: str = "") -> bytes:
    return f.frame(f.BROADCAST, source or w.mac, f.ARP, f.arp(operation, mac, address, asked) + w.mark)


def _nd(w: Way, source: str, kind: int, target: str, option: int = 0, mac: str = "", **more: Any) -> bytes:
    return f.frame(ALL_MAC, w.mac, f.IP6, f.neighbour(source, ALL_NODES, kind, w.mark, target, option, mac, **more))


def _router(w: Way, source: str, tags: str = "", *, hidden: bool = False) -> bytes:
    said = f.router(source, w.mark)
    body = (
        f.ip6(source, ALL_NODES, 60, f.padded(f.ICMPV6, said)) if hidden else f.ip6(source, ALL_NODES, f.ICMPV6, said)
    )
    return f.frame(ALL_MAC, w.mac, f.IP6, body, tags)


def _gateways(w: Way) -> str:
    """The gateway's own address by which it is a router."""
    return str(link_local(w.gateway[0]))


ROUTABLE: dict[str, Made] = {
    "ip4 as the gateway": lambda w: _udp(w, w.gateway[1][4]),
    "ip4 as another container": lambda w: _udp(w, w.third[1][4]),
    "ip4 as somebody elsewhere": lambda w: _udp(w, SOMEBODY[4]),
    "ip4 as a host": lambda w: _udp(w, UNDERLAY["node-2"][4]),
    "ip4 as nobody": lambda w: _udp(w, "0.0.0.0"),
    "tcp4 as another container": lambda w: _tcp(w, w.third[1][4]),
    "icmp as another container": lambda w: _ip(w, w.third[1][4], f.ICMP, b"\x08\0\xf7\xff" + w.mark),
    "a first fragment": lambda w: _fragment(w, w.third[1][4], 0x2000, f.udp(4000, PORT, w.mark * 2)),
    "a last fragment": lambda w: _fragment(w, w.third[1][4], 2, w.mark * 4),
    "ip4 with options": lambda w: f.frame(
        w.to, w.mac, f.IP4, f.ip4(w.third[1][4], w.target[4], f.UDP, f.udp(4000, PORT, w.mark), options=b"\x01" * 4)
    ),
    "ip6 as the gateway": lambda w: _udp(w, w.gateway[1][6]),
    "ip6 as another container": lambda w: _udp(w, w.third[1][6]),
    "ip6 as somebody elsewhere": lambda w: _udp(w, SOMEBODY[6]),
    "ip6 as nobody": lambda w: _udp(w, "::"),
    "tcp6 as another container": lambda w: _tcp(w, w.third[1][6]),
    "ip6 behind a header": lambda w: _ip(w, w.third[1][6], 60, f.padded(f.UDP, f.udp(4000, PORT, w.mark))),
}
"""What is told by addresses alone; the rest is told on a bridge."""
SWITCHED: dict[str, Made] = {
    "another's MAC address": lambda w: _udp(w, w.own[4], mac=w.third[0]),
    "another's MAC address, tcp": lambda w: _tcp(w, w.own[4], mac=w.third[0]),
    "a false MAC address, ip6": lambda w: _tcp(w, w.own[6], mac=FALSE_MAC),
    "another's MAC and address": lambda w: _tcp(w, w.third[1][4], mac=w.third[0]),
    "the gateway's MAC address": lambda w: _udp(w, w.own[4], mac=w.gateway[0]),
    "ip6 as the gateway's link-local": lambda w: _udp(w, _gateways(w)),
    "a DHCP server": lambda w: _udp(w, w.own[4], 67, to=f.BROADCAST),
    "a DHCPv6 server": lambda w: _udp(w, w.own[6], 547),
    "a DHCP server at another port": lambda w: _udp(w, w.own[4], 4067, 68, to=f.BROADCAST),
    "a DHCPv6 server at another port": lambda w: _udp(w, w.own[6], 4547, 546),
    "a redirect": lambda w: _ip(w, w.own[4], f.ICMP, b"\x05\x01" + w.mark * 7),
    "arp: the gateway's address": lambda w: _arp(w, 2, w.mac, w.gateway[1][4], w.target[4]),
    "arp: the gateway's address, asking": lambda w: _arp(w, 1, w.mac, w.gateway[1][4], w.target[4]),
    "arp: unasked, another's address": lambda w: _arp(w, 1, w.mac, w.third[1][4], w.third[1][4]),
    "arp: own address at a false MAC": lambda w: _arp(w, 2, FALSE_MAC, w.own[4], w.target[4]),
    "arp: own words in a false frame": lambda w: _arp(w, 2, w.mac, w.own[4], w.target[4], FALSE_MAC),
    "arp: another's whole claim": lambda w: _arp(w, 2, w.third[0], w.third[1][4], w.target[4], w.third[0]),
    "arp: a probe for another's address": lambda w: _arp(w, 1, w.mac, "0.0.0.0", w.third[1][4]),
    "arp: a probe with a false MAC": lambda w: _arp(w, 1, FALSE_MAC, "0.0.0.0", w.own[4]),
    "nd: the gateway's address": lambda w: _nd(w, w.own[6], 136, w.gateway[1][6], 2, w.mac),
    "nd: the gateway's link-local": lambda w: _nd(w, w.link_local, 136, _gateways(w), 2, w.mac),
    "nd: as the gateway": lambda w: _nd(w, w.gateway[1][6], 136, w.gateway[1][6], 2, w.mac),
    "nd: another's address, no option": lambda w: _nd(w, w.own[6], 136, w.third[1][6]),
    "nd: own address at a false MAC": lambda w: _nd(w, w.own[6], 136, w.own[6], 2, FALSE_MAC),
    "nd: a second option": lambda w: _nd(w, w.own[6], 136, w.own[6], 2, w.mac, more=b"\x02\x01" + f.octets(FALSE_MAC)),
    "nd: another option first": lambda w: _nd(w, w.own[6], 136, w.own[6], 1, w.mac),
    "nd: asks as another": lambda w: _nd(w, w.third[1][6], 135, w.target[6], 1, w.mac),
    "nd: asks for a false MAC": lambda w: _nd(w, w.own[6], 135, w.target[6], 1, FALSE_MAC),
    "nd: another's address is a duplicate": lambda w: _nd(w, "::", 135, w.third[1][6]),
    "nd: a redirect": lambda w: _nd(w, w.link_local, 137, SOMEBODY[6]),
    "nd: behind a header": lambda w: f.frame(
        ALL_MAC,
        w.mac,
        f.IP6,
        f.ip6(
            w.own[6],
            ALL_NODES,
            60,
            f.padded(f.ICMPV6, f.neighbour(w.own[6], ALL_NODES, 136, w.mark, w.gateway[1][6], 2, w.mac)[40:]),
        ),
    ),
    "a router": lambda w: _router(w, w.link_local),
    "a router as the gateway": lambda w: _router(w, _gateways(w)),
    "a router behind a header": lambda w: _router(w, w.link_local, hidden=True),
    "a router, priority tag": lambda w: _router(w, w.link_local, "81000000"),
    "a router, service tag": lambda w: _router(w, w.link_local, "88a80000"),
    "a router, two tags": lambda w: _router(w, w.link_local, "8100000081000000"),
    "tagged with VLAN 5": lambda w: _udp(w, w.third[1][4], tags="81000005"),
    "tagged with VLAN 0": lambda w: _udp(w, w.third[1][4], tags="8100e000"),
    "tagged, own address": lambda w: _udp(w, w.own[4], tags="88a8000581000005"),
    "RARP": lambda w: f.frame(f.BROADCAST, w.mac, 0x8035, f.arp(3, w.mac, w.third[1][4], w.target[4]) + w.mark),
    "MPLS": lambda w: f.frame(w.to, w.mac, 0x8847, bytes(4) + f.ip4(w.third[1][4], w.target[4], f.UDP, w.mark * 2)),
    "PPPoE": lambda w: f.frame(w.to, w.mac, 0x8864, w.mark * 10),
    "LLC": lambda w: f.frame("01:80:c2:00:00:00", w.mac, 40, b"\x42\x42\x03" + w.mark * 10),
}
HONEST: dict[str, Made] = {
    "udp4": lambda w: _udp(w, w.own[4]),
    "udp6": lambda w: _udp(w, w.own[6]),
    "tcp4": lambda w: _tcp(w, w.own[4]),
    "tcp6": lambda w: _tcp(w, w.own[6]),
    "a first fragment": lambda w: _fragment(w, w.own[4], 0x2000, f.udp(4000, PORT, w.mark * 2)),
    "the last fragment": lambda w: _fragment(w, w.own[4], 2, w.mark * 4),
    "a DHCP client's port": lambda w: _udp(w, w.own[4], 68),
    "ip6 behind a header": lambda w: _ip(w, w.own[6], 60, f.padded(f.UDP, f.udp(4000, PORT, w.mark))),
}
HONEST_SWITCHED: dict[str, Made] = {
    "multicast": lambda w: f.frame(
        "01:00:5e:00:00:fb", w.mac, f.IP4, f.ip4(w.own[4], "224.0.0.251", f.UDP, f.udp(5353, 5353, w.mark))
    ),
    "link-local": lambda w: _udp(w, w.link_local),
    "arp: asks": lambda w: _arp(w, 1, w.mac, w.own[4], w.target[4]),
    "arp: answers": lambda w: _arp(w, 2, w.mac, w.own[4], w.target[4]),
    "arp: unasked": lambda w: _arp(w, 1, w.mac, w.own[4], w.own[4]),
    "arp: a probe": lambda w: _arp(w, 1, w.mac, "0.0.0.0", w.own[4]),
    "nd: asks": lambda w: _nd(w, w.own[6], 135, w.target[6], 1, w.mac),
    "nd: asks by link-local": lambda w: _nd(w, w.link_local, 135, w.target[6], 1, w.mac),
    "nd: answers": lambda w: _nd(w, w.own[6], 136, w.own[6], 2, w.mac),
    "nd: answers plainly": lambda w: _nd(w, w.link_local, 136, w.link_local),
    "nd: detects a duplicate": lambda w: _nd(w, "::", 135, w.own[6]),
    "nd: detects one, with a nonce": lambda w: _nd(w, "::", 135, w.link_local, 14, FALSE_MAC),
    "nd: looks for routers": lambda w: f.frame(
        ALL_MAC, w.mac, f.IP6, f.ip6(w.own[6], ALL_NODES, f.ICMPV6, f.icmp6(w.own[6], ALL_NODES, 133, w.mark))
    ),
}


# ----------------------------------------------------------------------------------------------------------- the lab


@dataclass(frozen=True)
class Scene:
    lab: Lab
    containers: dict[str, Container]
    ways: dict[str, Way]


@pytest.fixture(scope="module")
def scene(lab: Lab) -> Iterator[Scene]:
    """Of each network three containers on node-1; of those with tunnels a fourth one on node-2."""
    for name, (driver, v4, v6, options) in NETWORKS.items():
        make_network(lab, name, driver, v4, v6, reach="all", **options)
    wanted = [("node-1", f"{name}-{n}", name) for name in NETWORKS for n in (1, 2, 3)]
    wanted += [("node-2", f"{name}-4", name) for name in ("ov", "vx", "six")]
    found = {name: run(lab, host, name, network) for host, name, network in wanted}
    with ExitStack() as stack:
        yield Scene(lab, found, dict(_ways(lab, found, stack)))


def _listen(place: Place, device: str, stack: ExitStack) -> Listener:
    listener = Listener(place, device)
    stack.callback(listener.close)
    return listener


def _both(container: Container) -> dict[int, str]:
    return {family: container.address(family) for family in (4, 6)}


def _ways(lab: Lab, found: dict[str, Container], stack: ExitStack) -> Iterator[tuple[str, Way]]:
    host = lab.host("node-1")
    for name in NETWORKS:
        me, target, third = (found[f"{name}-{n}"] for n in (1, 2, 3))
        bridge = _bridge(lab, name)
        gateway = third.endpoint.mac, _both(third)
        if name not in ("ov", "six", "ro"):
            gateway = bridge, {family: me.gateway(family) for family in (4, 6)}
        way = Way(
            me=Place(lab, "node-1", me.name),
            device="eth0",
            mac=me.endpoint.mac,
            own=_both(me),
            to=HOST_END_MAC if name == "ro" else target.endpoint.mac,
            target=_both(target),
            listener=_listen(Place(lab, "node-1", target.name), "eth0", stack),
            gateway=gateway,
            third=(third.endpoint.mac, _both(third)),
            switched=name != "ro",
        )
        yield name, way
        if name in ("vx", "ov"):
            far = found[f"{name}-4"]
            listener = _listen(Place(lab, "node-2", far.name), "eth0", stack)
            to = bridge if name == "vx" else far.endpoint.mac
            yield f"{name} to node-2", replace(way, to=to, target=_both(far), listener=listener, switched=False)
        if name == "vx":
            listener = _listen(Place(lab, "node-1"), "weft-vx", stack)
            yield "vx to its host", replace(way, to=bridge, target=gateway[1], listener=listener)
        second, other = me.endpoint.second, third.endpoint.second
        if second and other and name == "ov":
            (mac,) = [link["address"] for link in shown(host, "ip -j link show weft_gw")]
            ways = {a.version: str(a.network[1]) for a in second.addresses}
            yield (
                "ov by its second interface",
                replace(
                    way,
                    device=second.interface,
                    mac=second.mac,
                    own={a.version: str(a.ip) for a in second.addresses},
                    to=mac,
                    target=ways,
                    listener=_listen(Place(lab, "node-1"), "weft_gw", stack),
                    gateway=(mac, ways),
                    third=(other.mac, {a.version: str(a.ip) for a in other.addresses}),
                ),
            )


def _bridge(lab: Lab, name: str) -> str:
    """The MAC address of the network's bridge on node-1; "" where it has none there."""
    links = shown(lab.host("node-1"), "ip -j link show type bridge")
    return next((link["address"] for link in links if link["ifname"] == f"weft-{name}"), "")


# ---------------------------------------------------------------------------------------------------------- attacks


_MARK = b"\x2d\xe7\x9f"
"""Of three octets, and one that says which. In a neighbour advertisement it is the flags, of which one says to override."""


def passed(way: Way, table: dict[str, Made]) -> set[str]:
    """Which of these arrive. Each is followed by an honest frame, and awaited no longer than that."""
    marks = {name: _MARK + bytes([number]) for number, name in enumerate(table, 1)}
    last = _MARK + b"\0"
    way.listener.frames()
    with way.me.sender(way.device) as out:
        for name, made in table.items():
            out.send(made(replace(way, mark=marks[name])).ljust(60, b"\0"))
        out.send(_udp(replace(way, mark=last), way.own[4]).ljust(60, b"\0"))
    heard: list[bytes] = []

    def arrived() -> bool:
        heard.extend(way.listener.frames())
        return any(last in frame for frame in heard)

    until(arrived, 10, "the honest frame")
    return {name for name, mark in marks.items() if any(mark in frame for frame in heard)}


CHECKED = ["br", "gw", "vx", "vx to its host", "vx to node-2", "ov", "ov to node-2", "ov by its second interface", "ro"]


@pytest.mark.parametrize("name", CHECKED)
def test_nothing_arrives_in_anybody_elses_name(scene: Scene, name: str) -> None:
    way = scene.ways[name]
    table = ROUTABLE | (SWITCHED if way.switched else {})
    assert passed(way, table) == set()


@pytest.mark.parametrize("name", [*CHECKED, "free"])
def test_what_is_said_in_the_own_name_arrives(scene: Scene, name: str) -> None:
    way = scene.ways[name]
    table = HONEST | (HONEST_SWITCHED if way.switched else {})
    assert set(table) - passed(way, table) == set()


def test_who_may_pretend_does(scene: Scene) -> None:
    """All of it: so each attack would arrive, were it not for the check."""
    table = ROUTABLE | SWITCHED
    assert set(table) - passed(scene.ways["free"], table) == set()


@pytest.mark.parametrize("name", ["gw", "ov"])
def test_a_container_in_two_networks_answers_by_the_one_that_its_routes_say(scene: Scene, name: str) -> None:
    """With the address that was asked."""
    lab, asking = scene.lab, scene.containers["br-3"]
    own = scene.containers[f"{name}-3"]
    lab.host("node-1").must("attach", [*lab.weft, "attach", own.name, "--network", "vx", "--interface", "eth7"])
    try:
        (second,) = [e for e in client(lab, "node-1").endpoints() if e.container == own.name and e.network == "vx"]
        for address in second.addresses:
            assert ping(asking.inside, str(address.ip)).ok
            route = own.inside.must("route", ["ip", "route", "get", asking.address(address.version)])
            assert "dev eth7" not in route
    finally:
        lab.host("node-1").must("detach", [*lab.weft, "detach", own.name, "--network", "vx"])


@pytest.mark.parametrize("name", ["br", "ov"])
def test_link_local_addresses_are_no_way_round_policy(scene: Scene, name: str) -> None:
    asking, asked = scene.containers[f"{name}-1"], scene.containers[f"{name}-2"]
    targets = [asked.address(4), str(link_local(asked.endpoint.mac))]

    def reached(*, wait: int = 1) -> list[bool]:
        return [ping(asking.inside, address, "-I", "eth0", wait=wait).ok for address in targets]

    assert reached(wait=5) == [True, True]
    agent = client(scene.lab, "node-1")
    spec = {"selector": "all()", "types": ["Ingress"]}
    policy = {"apiVersion": "weft/v1", "kind": "Policy", "metadata": {"name": "closed", "namespace": ""}, "spec": spec}
    agent.apply_policies(t.ApplyPolicies(documents=(t.PolicySource(place="test", document=policy),)))
    try:
        until(lambda: not any(reached()), 20, "the policy to be asked")
    finally:
        agent.remove_policies(t.RemovePolicies(refs=("closed",)))
    until(lambda: all(reached()), 20, "all to be as before")


@pytest.mark.parametrize("name", ["br", "ov"])
def test_who_joins_a_group_is_heard_by_the_bridge(scene: Scene, name: str) -> None:
    """IGMP and MLD."""
    container = scene.containers[f"{name}-2"]
    group4, group6 = "239.1.2.3", "ff05::1:23"
    with Place(scene.lab, "node-1", container.name).entered():
        sockets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        device = socket.if_nametoindex("eth0")
    with sockets[0], sockets[1]:
        request = ip_address(group4).packed + bytes(4) + struct.pack("@i", device)
        sockets[0].setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        request = ip_address(group6).packed + struct.pack("@i", device)
        sockets[1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        inside = "" if name == "br" else f"ip netns exec weft-{name} "
        shown_to = scene.lab.host("node-1")

        def heard() -> bool:
            said = shown_to.run(f"{inside}bridge mdb show".split(), check=True, timeout=30).stdout
            return all(f"port {container.endpoint.host_interface} grp {group} " in said for group in (group4, group6))

        until(heard, 10, "the bridge to know who is in the groups")


@pytest.mark.parametrize("name", ["br", "vx", "ov"])
def test_neighbours_are_known_by_their_own_mac_addresses(scene: Scene, name: str) -> None:
    """After all that was said: who asks gets the answer of whom it asked for."""
    way, asking = scene.ways[name], scene.containers[f"{name}-2"]
    third = scene.containers[f"{name}-3"]
    whole = dict.fromkeys(way.gateway[1].values(), way.gateway[0])
    whole |= dict.fromkeys(way.third[1].values(), third.endpoint.mac)
    passed(way, ROUTABLE | SWITCHED)
    assert all(ping(asking.inside, address).ok for address in whole)
    passed(way, ROUTABLE | SWITCHED)
    known = {n["dst"]: n.get("lladdr") for n in shown(asking.inside, "ip -j neigh show dev eth0")}
    assert {address: known.get(address) for address in whole} == whole


# ---------------------------------------------------------------------------------------------------------- tunnels


@dataclass(frozen=True, kw_only=True)
class Tunnel:
    """A network's on a host, by which frames would come to the container `target` there. `to`: the MAC address inside that
    leads to it; `source`: a container's address, of another host."""

    port: int
    vni: int
    at: dict[int, str]
    underlay: int
    to: str
    source: str
    target: str
    listener: Listener

    def datagram(self, mark: bytes) -> bytes:
        inner = f.ip4(self.source, self.target, f.UDP, f.udp(4000, PORT, mark))
        return f.vxlan(self.vni, f.frame(self.to, FALSE_MAC, f.IP4, inner))


@pytest.fixture(scope="module")
def tunnels(scene: Scene) -> Iterator[dict[str, Tunnel]]:
    with ExitStack() as stack:
        yield {
            f"{name} on {host}": _tunnel(scene, name, host, stack)
            for name in ("ov", "six", "vx")
            for host in ("node-1", "node-2")
        }


def _tunnel(scene: Scene, name: str, host: str, stack: ExitStack) -> Tunnel:
    here, there = scene.containers[f"{name}-3"], scene.containers[f"{name}-4"]
    target, source = (here, there) if host == "node-1" else (there, here)
    to, port = target.endpoint.mac, 4789
    if name == "vx":
        ((link,), port) = shown(scene.lab.host(host), "ip -j link show weft.53"), 8472
        to = link["address"]
    return Tunnel(
        port=port,
        vni=int(NETWORKS[name][3]["vni"]),
        at=UNDERLAY[host],
        underlay=6 if name == "six" else 4,
        to=to,
        source=source.address(4),
        target=target.address(4),
        listener=_listen(Place(scene.lab, host, target.name), "eth0", stack),
    )


def told(sender: Place, tunnel: Tunnel, mark: bytes) -> None:
    """As any process sends it, with the addresses and routes that it has; to IPv4 addresses also in two pieces."""
    place = tunnel.at[tunnel.underlay]
    with sender.entered():
        out = socket.socket(socket.AF_INET6 if tunnel.underlay == 6 else socket.AF_INET, socket.SOCK_DGRAM)
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with out, raw, suppress(OSError):  # no route: that is one way to get nowhere
        out.sendto(tunnel.datagram(mark + b"\1"), (place, tunnel.port))
        if tunnel.underlay == 4:
            out.connect((place, tunnel.port))
            whole = f.udp(4000, tunnel.port, tunnel.datagram(mark + b"\2"))
            for piece in (
                f.ip4(out.getsockname()[0], place, f.UDP, whole[:24], fragment=0x2000),
                f.ip4(out.getsockname()[0], place, f.UDP, whole[24:], fragment=3),
            ):
                raw.sendto(piece, (place, 0))


def heard(tunnel: Tunnel, senders: dict[str, Place]) -> set[str]:
    """Whose packets come out of the tunnel. A host of the cluster sends last, and is awaited."""
    tunnel.listener.frames()
    marks = {name: b"\x2e\xe7" + bytes([number]) for number, name in enumerate(senders, 1)}
    for name, sender in senders.items():
        told(sender, tunnel, marks[name])
    found: list[bytes] = []

    def arrived() -> bool:
        found.extend(tunnel.listener.frames())
        *_, last = marks.values()
        pieces = (b"\1", b"\2")[: 2 if tunnel.underlay == 4 else 1]
        return all(any(last + piece in frame for frame in found) for piece in pieces)

    until(arrived, 10, "what a host of the cluster sends")
    return {name for name, mark in marks.items() if any(mark in frame for frame in found)}


@pytest.mark.parametrize("name", ["ov", "six", "vx"])
def test_hosts_take_tunnel_packets_of_hosts_only(scene: Scene, tunnels: dict[str, Tunnel], name: str) -> None:
    """Not of their own containers nor of each other's, which are masqueraded; of no neighbour, and of nobody outside."""
    lab = scene.lab
    containers = {each: Place(lab, "node-1", f"{each}-1") for each in ("br", "gw", "vx", "ov", "ro", "free")}
    others = {each: Place(lab, each) for each in ("router", "outside")}
    for host, peer in (("node-1", "node-2"), ("node-2", "node-1")):
        senders = {**containers, **others, peer: Place(lab, peer)}
        assert heard(tunnels[f"{name} on {host}"], senders) == {peer}
