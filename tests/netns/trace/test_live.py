"""The trace against the kernel itself: two hosts wired by hand with ip(8) and bridge(8), a container on each; what the
walk over their dumps says is what ping(8) finds."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from support.namespaces import Home, Namespace
from weft.api.dump import HostDump
from weft.kernel.host.dump import dump
from weft.kernel.plumbing import netns as spaces
from weft.trace import Path, Start, walk

SUBNET = {1: ("10.1.1", "fd00:1:1:"), 2: ("10.1.2", "fd00:1:2:")}
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def _mac(kind: int, number: int) -> str:
    return f"02:00:00:00:0{kind}:0{number}"


class Host:
    """A host `node-N` with its container `cN`, both namespaces; its uplink is a veth to a switch that nobody dumps."""

    def __init__(self, number: int, ns: Namespace, container: Namespace) -> None:
        self.number, self.ns, self.container = number, ns, container
        self.name = f"node-{number}"
        other = 3 - number
        (v4, v6), (far4, far6) = SUBNET[number], SUBNET[other]
        self.wire = f"192.168.1.{number}"
        self.far_wire = f"192.168.1.{other}"
        self.far = {4: f"{far4}.0/24", 6: f"{far6}:/64"}
        self.base = {4: f"{far4}.0", 6: f"{far6}:"}
        self.addresses = {4: f"{v4}.2", 6: f"{v6}:2"}
        for one in (ns, container):
            # A host asks for neighbours from its link-local address, which DAD would make usable a second later.
            one.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        self.ip(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
            f"ip address add {self.wire}/24 dev eth0",
            "ip link set eth0 up",
            f"ip link add name br0 address {_mac(1, number)} type bridge",
            f"ip address add {v4}.1/24 dev br0",
            f"ip address add {v6}:1/64 dev br0 nodad",
            "ip link set br0 up",
            f"ip link add name port type veth peer name eth0 netns {container.path}",
            "ip link set port master br0 up",
        )
        for command in (
            f"ip link set eth0 address {_mac(2, number)} up",
            f"ip address add {v4}.2/24 dev eth0",
            f"ip address add {v6}:2/64 dev eth0 nodad",
            f"ip route add default via {v4}.1",
            f"ip -6 route add default via {v6}:1",
        ):
            container.run(*command.split())

    def ip(self, *commands: str) -> None:
        for command in commands:
            self.ns.run(*command.split())

    def vxlan(self) -> None:
        far = _mac(3, 3 - self.number)
        self.ip(
            f"ip link add name vx address {_mac(3, self.number)} mtu 1450 type vxlan id 7 local {self.wire} dev eth0 "
            "dstport 8472 nolearning",
            f"ip address add {self.addresses[4][:-1]}0/32 dev vx",
            "ip link set vx up",
            f"bridge fdb add {far} dev vx dst {self.far_wire} self permanent",
        )
        for family in (4, 6):
            base = self.base[family]
            self.ip(
                f"ip neigh add {base} lladdr {far} dev vx nud permanent",
                f"ip -{family} route add {self.far[family]} via {base} dev vx onlink",
            )

    def host_gw(self) -> None:
        self.ip(f"ip route add {self.far[4]} via {self.far_wire} dev eth0")

    def dump(self) -> HostDump:
        containers = {self.container.path: f"c{self.number}"}
        return spaces.call(self.ns.path, lambda: dump(self.name, containers))

    def path(self) -> str:
        return self.container.path


@pytest.fixture
def hosts(netns: Home) -> Iterator[tuple[Host, Host]]:
    """Joined by a bridge in the test's own namespace."""
    netns.run("ip", "link", "add", "name", "switch", "type", "bridge")
    netns.run("ip", "link", "set", "switch", "up")
    made = []
    for number in (1, 2):
        ns = netns.new()
        command = f"ip link add name wire{number} type veth peer name eth0 netns {ns.path}"
        netns.run(*command.split())
        netns.run("ip", "link", "set", f"wire{number}", "master", "switch", "up")
        made.append(Host(number, ns, netns.new()))
    yield made[0], made[1]


def trace(one: Host, two: Host, family: int = 4) -> Path:
    """From the one's container to the two's, as the kernel is now."""
    dumps = {host.name: host.dump() for host in (one, two)}
    start = Start(host=one.name, ns=one.path(), source=ip_address(one.addresses[family]))
    return walk(dumps, start, ip_address(two.addresses[family]), {h.wire: h.name for h in (one, two)})


def ping(one: Host, two: Host, family: int = 4, seconds: float = 2) -> str:
    """Its output if an answer came within so many seconds, else ""."""
    words = ("ping", "-c1", f"-W{seconds}", f"-{family}", "-n", two.addresses[family])
    output = one.container.run(*words, check=False)
    return output if " 0% packet loss" in output else ""


@FAMILIES
def test_vxlan(hosts: tuple[Host, Host], family: int) -> None:
    for host in hosts:
        host.vxlan()
    before = trace(*hosts, family)
    answer = ping(*hosts, family)
    after = trace(*hosts, family)
    assert answer
    assert (before.outcome.text, after.outcome.text) == (f"delivered to {hosts[1].addresses[family]} on node-2/c2",) * 2
    # The way back is as long: what ping sees of the answer is what the trace says of the question.
    assert f"ttl={after.ttl} " in answer
    assert after.mtu == 1450
    entries = [hop.entry for hop in after.hops]
    assert f"{_mac(3, 2)} dev vx dst 192.168.1.2 self permanent" in entries
    assert any(e.startswith(f"{hosts[0].addresses[family][:-1]}1 dev eth0 lladdr {_mac(1, 1)}") for e in entries), (
        entries
    )
    assert f"{_mac(2, 2)} dev port master br0" in entries, "the far bridge has learnt the container's MAC"


def test_largest_packet_is_the_mtu_that_is_told(hosts: tuple[Host, Host]) -> None:
    for host in hosts:
        host.vxlan()
    mtu = trace(*hosts).mtu
    for size, passes in ((mtu, True), (mtu + 1, False)):
        words = ("ping", "-c1", "-W1", "-n", "-M", "do", "-s", str(size - 28), hosts[1].addresses[4])
        assert (" 0% packet loss" in hosts[0].container.run(*words, check=False)) is passes


def test_host_gw(hosts: tuple[Host, Host]) -> None:
    for host in hosts:
        host.host_gw()
    answer, path = ping(*hosts), trace(*hosts)
    assert path.outcome.ending == "delivered"
    assert f"ttl={path.ttl} " in answer
    assert path.mtu == 1500


BROKEN: dict[str, tuple[int, str, str, str]] = {
    "route": (0, "ip route del 10.1.2.0/24", "no-route", "node-1 has no route to 10.1.2.2"),
    "neighbour": (
        0,
        "ip neigh del 10.1.2.0 dev vx",
        "no-neighbour",
        "vx on node-1 has no neighbour entry for 10.1.2.0",
    ),
    "FDB entry": (
        0,
        f"bridge fdb del {_mac(3, 2)} dev vx",
        "no-fdb",
        f"vx on node-1 has no FDB entry for {_mac(3, 2)}",
    ),
    "VXLAN device down": (0, "ip link set vx down", "no-route", "vx is down, which takes routes away with it"),
    "underlay address": (0, "ip address del 192.168.1.1/24 dev eth0", "no-address", "vx sends from 192.168.1.1, which"),
    "uplink": (0, "ip link set eth0 down", "no-route", "no route to 192.168.1.2: eth0 is down"),
    "forwarding": (0, "sysctl -qw net.ipv4.conf.br0.forwarding=0", "not-forwarding", "what comes in by br0"),
    "unreachable route": (
        0,
        "ip route replace unreachable 10.1.2.0/24",
        "unreachable",
        "`unreachable 10.1.2.0/24 proto boot`",
    ),
    "rule": (
        0,
        "ip rule add to 10.1.2.0/24 priority 5 prohibit",
        "prohibit",
        "a rule on node-1 makes 10.1.2.2 prohibit",
    ),
    "port off the bridge": (0, "ip link set port nomaster", "no-fdb", "port on node-1 is no port of br0"),
    "far VXLAN device": (1, "ip link del vx", "no-vtep", "node-2 gets the tunnel packet, but has no VXLAN device"),
    "far VXLAN device down": (1, "ip link set vx down", "link-down", "vx on node-2 is down"),
    "far VTEP's MAC": (
        1,
        "ip link set vx address 02:00:00:00:03:09",
        "wrong-mac",
        "vx on node-2 has MAC 02:00:00:00:03:09",
    ),
    "far forwarding": (1, "sysctl -qw net.ipv4.ip_forward=0", "not-forwarding", "node-2 does not route on"),
    "far port": (1, "ip link set port down", "link-down", "port on node-2 is down"),
    "far bridge": (1, "ip link set br0 down", "no-route", "br0 is down"),
    "far underlay address": (1, "ip address del 192.168.1.2/24 dev eth0", "no-address", "not an address of node-2"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken(hosts: tuple[Host, Host], what: str) -> None:
    which, command, ending, text = BROKEN[what]
    for host in hosts:
        host.vxlan()
    # Nothing has been sent yet, so no neighbour entry is there that would outlive what it tells of.
    hosts[which].ip(command)
    path = trace(*hosts)
    assert path.outcome.ending == ending, path.outcome
    assert text in path.outcome.text
    assert not ping(*hosts, seconds=0.3)


def test_container_that_has_lost_its_device(hosts: tuple[Host, Host]) -> None:
    for host in hosts:
        host.host_gw()
    hosts[1].container.run("ip", "link", "set", "eth0", "down")
    path = trace(*hosts)
    assert path.outcome.ending == "link-down"
    assert "its other end, eth0 on node-2/c2, is down" in path.outcome.text
    assert not ping(*hosts, seconds=0.3)


def test_namespace_that_has_gone(hosts: tuple[Host, Host]) -> None:
    found = spaces.call(hosts[0].ns.path, lambda: dump("node-1", {"/proc/self/ns/no-such": "c9"}))
    assert [n.path for n in found.namespaces] == [""]
