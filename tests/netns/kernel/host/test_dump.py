"""What ip(8) and bridge(8) have put into the kernel is what a dump tells."""

from __future__ import annotations

import pytest

from support.namespaces import Home
from weft.api.dump import (
    BridgeDump,
    FdbDump,
    HostDump,
    LinkDump,
    NamespaceDump,
    NeighbourDump,
    NextHopDump,
    PeerDump,
    RouteDump,
    RuleDump,
    VxlanDump,
)
from weft.kernel.host.dump import dump
from weft.model import decode, encode

MAC = "02:00:00:00:00:01"


def run(netns: Home, *commands: str) -> NamespaceDump:
    for command in commands:
        netns.run(*command.split())
    return dump("node-1", {}).namespaces[0]


def link(found: NamespaceDump, name: str) -> LinkDump:
    return next(x for x in found.links if x.name == name)


@pytest.fixture
def wired(netns: Home) -> Home:
    run(netns, f"ip link add va address {MAC} type veth peer name vb", "ip link set va up", "ip link set vb up")
    run(netns, "ip address add 192.168.9.1/24 dev va", "ip address add fd00:9::1/64 dev va nodad")
    return netns


def test_routes(wired: Home) -> None:
    found = run(
        wired,
        "ip route add 10.2.0.0/16 via 192.168.9.2 dev va metric 7 proto 87",
        "ip route add 10.3.0.0/16 nexthop via 192.168.9.2 nexthop via 192.168.9.3 dev va onlink",
        "ip route add 10.4.0.0/16 via inet6 fe80::1 dev va",
        "ip route add unreachable 10.0.0.0/8 metric 4000000000 table 77",
        "ip -6 route add fd00:1::/64 via fd00:9::9 dev va src fd00:9::1",
    )
    wanted = (
        RouteDump(prefix="10.2.0.0/16", via="192.168.9.2", dev="va", metric=7, proto=87),
        RouteDump(
            prefix="10.3.0.0/16",
            proto=3,
            nexthops=(
                NextHopDump(via="192.168.9.2", dev="va"),
                NextHopDump(via="192.168.9.3", dev="va", flags=("onlink",)),
            ),
        ),
        RouteDump(prefix="10.4.0.0/16", via="fe80::1", dev="va", proto=3),
        RouteDump(prefix="10.0.0.0/8", type="unreachable", metric=4000000000, table=77, proto=3),
        RouteDump(prefix="fd00:1::/64", via="fd00:9::9", dev="va", src="fd00:9::1", metric=1024, proto=3),
        RouteDump(prefix="192.168.9.0/24", dev="va", scope="link", src="192.168.9.1", proto=2),
        RouteDump(prefix="192.168.9.1/32", dev="va", type="local", table=255, scope="host", src="192.168.9.1", proto=2),
    )
    for route in wanted:
        assert route in found.routes


def test_rules(netns: Home) -> None:
    found = run(
        netns,
        "ip rule add from 10.1.0.0/16 to 10.2.0.0/16 iif lo lookup 77 priority 10",
        "ip rule add not fwmark 0x10/0xff lookup 78 priority 11",
        "ip -6 rule add lookup main suppress_prefixlength 0 priority 12",
        "ip rule add goto 32766 priority 13",
        "ip rule add prohibit dport 80 priority 14",
        "ip rule add fwmark 0x20 lookup 1000 priority 15",
    )
    wanted = (
        RuleDump(priority=0, family=4, table=255),
        RuleDump(priority=10, family=4, table=77, src="10.1.0.0/16", dst="10.2.0.0/16", iif="lo"),
        RuleDump(priority=11, family=4, table=78, mark=16, mask=255, invert=True),
        RuleDump(priority=12, family=6, table=254, suppress=0),
        RuleDump(priority=13, family=4, action="goto", target=32766),
        RuleDump(priority=14, family=4, action="prohibit", more=True),
        RuleDump(priority=15, family=4, table=1000, mark=32, mask=0xFFFFFFFF),
    )
    for rule in wanted:
        assert rule in found.rules


def test_neighbours_and_fdb(wired: Home) -> None:
    found = run(
        wired,
        "ip link add vx type vxlan id 7 local 192.168.9.1 dev va dstport 8472 nolearning",
        "ip link add name br0 type bridge",
        "ip link set vb master br0",
        "ip link set vx up",
        "bridge fdb add 02:00:00:00:00:02 dev vx dst 192.168.9.2",
        "bridge fdb add 02:00:00:00:00:03 dev vb master static",
        "ip neigh add 10.9.0.0 lladdr 02:00:00:00:00:02 dev vx nud permanent",
        "ip neigh add fd00:9::2 lladdr 02:00:00:00:00:04 dev va nud stale",
    )
    vxlan = link(found, "vx")
    assert (vxlan.kind, vxlan.vxlan) == ("vxlan", VxlanDump(vni=7, port=8472, local="192.168.9.1", dev="va"))
    assert link(found, "vb").master == "br0"
    assert FdbDump(dev="vx", lladdr="02:00:00:00:00:02", dst="192.168.9.2") in found.fdb
    assert FdbDump(dev="vb", lladdr="02:00:00:00:00:03", master="br0", state="noarp") in found.fdb
    assert (
        NeighbourDump(dev="vx", address="10.9.0.0", lladdr="02:00:00:00:00:02", state="permanent") in found.neighbours
    )
    assert NeighbourDump(dev="va", address="fd00:9::2", lladdr="02:00:00:00:00:04", state="stale") in found.neighbours


def test_links(wired: Home) -> None:
    found = run(wired, "ip link set vb down", "ip link set va mtu 1400 alias some")
    va, vb, lo = link(found, "va"), link(found, "vb"), link(found, "lo")
    assert (va.up, va.carrier, va.mtu, va.mac, va.alias) == (True, False, 1400, MAC, "some")
    assert (vb.up, vb.peer) == (False, PeerDump(namespace="", name="va", ifindex=va.ifindex))
    assert (lo.kind, lo.up, lo.carrier) == ("loopback", True, True)


def test_forwarding_is_told_for_each_device(wired: Home) -> None:
    assert link(run(wired), "va").forwarding == ()
    v4 = run(wired, "sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv4.conf.vb.forwarding=0")
    assert (link(v4, "va").forwarding, link(v4, "vb").forwarding) == ((4,), ())
    v6 = run(wired, "sysctl -qw net.ipv6.conf.all.forwarding=1")
    assert (link(v6, "va").forwarding, link(v6, "vb").forwarding) == ((4, 6), (6,))


def test_veths_across_namespaces(netns: Home) -> None:
    one, two, stranger = netns.new(), netns.new(), netns.new()
    netns.run(*f"ip link add h1 type veth peer name eth0 netns {one.path}".split())
    netns.run(*f"ip link add h2 type veth peer name eth0 netns {two.path}".split())
    netns.run(*f"ip link add h3 type veth peer name eth0 netns {stranger.path}".split())
    one.run(*f"ip link add direct type veth peer name direct netns {two.path}".split())
    host, first, second = dump("node-1", {one.path: "c1", two.path: "c2"}).namespaces
    assert [(n.path, n.name) for n in (host, first, second)] == [("", ""), (one.path, "c1"), (two.path, "c2")]

    def other(found: NamespaceDump, name: str) -> tuple[str, str]:
        peer = link(found, name).peer
        assert peer is not None
        return peer.namespace, peer.name

    assert other(host, "h1") == (one.path, "eth0")
    assert other(host, "h2") == (two.path, "eth0")
    assert other(host, "h3") == ("?", "")
    assert other(first, "eth0") == ("", "h1")
    assert other(first, "direct") == (two.path, "direct")
    assert other(second, "direct") == (one.path, "direct")


def test_over_the_wire(wired: Home) -> None:
    """Defaults are left out, and come back."""
    found = dump("node-1", {})
    data = encode(found)
    assert decode(HostDump, data) == found
    assert b'"scope":"global"' not in data


def test_ports_of_a_bridge_and_switches_of_devices(wired: Home) -> None:
    found = run(
        wired,
        "ip link add br0 type bridge",
        "ip link set vb master br0 group 7",
        "bridge link set dev vb isolated on hairpin on flood off",
        "ip link set br0 up",
        "sysctl -qw net.ipv4.conf.va.rp_filter=1 net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.va.route_localnet=1",
    )
    port = link(found, "vb")
    assert port.group == 7
    assert port.port is not None
    assert (port.port.isolated, port.port.hairpin, port.port.flood, port.port.learning) == (True, True, False, True)
    assert port.port.state in ("forwarding", "learning", "listening")
    assert link(found, "br0").bridge == BridgeDump()
    conf = link(found, "va").conf
    assert (conf.rp_filter, conf.route_localnet, conf.accept_local) == (2, True, False)
    assert link(found, "lo").type == 772
    assert link(found, "va").port is None
