"""What else decides about packets in a namespace: who listens, programs and queues at devices, sysctls, full tables."""

from __future__ import annotations

import socket

from support.namespaces import Home
from weft.api.dump import NamespaceDump
from weft.kernel.host.dump import dump
from weft.kernel.kinds import sysctl


def here() -> NamespaceDump:
    return dump("me", {}).namespaces[0]


def test_who_listens_where(netns: Home) -> None:
    netns.sh("ip link set lo up")
    with (
        socket.create_server(("127.0.0.1", 8001), backlog=7),
        socket.create_server(("::", 8002), family=socket.AF_INET6, dualstack_ipv6=True),
        socket.create_server(("::", 8003), family=socket.AF_INET6),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind(("0.0.0.0", 8004))
        found = here().sockets
    assert found is not None
    assert {(s.protocol, s.port, s.address) for s in found} == {
        (socket.IPPROTO_TCP, 8001, "127.0.0.1"),
        (socket.IPPROTO_TCP, 8002, ""),
        (socket.IPPROTO_TCP, 8003, "::"),
        (socket.IPPROTO_UDP, 8004, "0.0.0.0"),
    }
    assert {s.port: (s.waiting, s.room) for s in found if s.protocol == socket.IPPROTO_TCP}[8001] == (0, 7)


def test_how_full_a_queue_of_connections_is(netns: Home) -> None:
    netns.sh("ip link set lo up")
    with socket.create_server(("127.0.0.1", 8001), backlog=2), socket.create_connection(("127.0.0.1", 8001)):
        found = here().sockets
    assert found is not None
    assert [(s.waiting, s.room) for s in found] == [(1, 2)]


def test_programs_and_queues_that_drop(netns: Home) -> None:
    for line in ("ip link add one type veth peer name two", "ip link set one up", "ip link set two up"):
        netns.sh(line)
    netns.sh("tc qdisc add dev one clsact")
    netns.sh("tc filter add dev one ingress protocol all u32 match u32 0 0 action mirred egress redirect dev lo")
    netns.sh("tc qdisc add dev two root blackhole")
    programs = {link.name: [(p.at, p.name, p.judged) for p in link.programs] for link in here().links}
    assert programs == {"lo": [], "one": [("ingress", "u32", "")], "two": [("queue", "blackhole", "drop")]}


def test_how_weft_itself_limits_a_container_is_nothing_to_speak_of(netns: Home) -> None:
    for line in ("ip link add one type veth peer name two", "ip link set one up", "ip link set two up"):
        netns.sh(line)
    netns.sh("ip link add limit type ifb")
    netns.sh("tc qdisc add dev one ingress")
    netns.sh("tc filter add dev one ingress protocol all u32 match u32 0 0 action mirred egress redirect dev limit")
    netns.sh("tc qdisc add dev one root tbf rate 8mbit burst 32k limit 64k")
    assert [p.judged for link in here().links for p in link.programs] == ["accept"]


def test_sysctls_and_counters(netns: Home) -> None:
    sysctl.put("net/ipv4/icmp_echo_ignore_all", "1")
    sysctl.put("net/ipv4/conf/all/arp_ignore", "1")
    found = here()
    assert found.sysctls["net.ipv4.icmp_echo_ignore_all"] == "1"
    assert found.sysctls["net.ipv4.conf.all.arp_ignore"] == "1"
    assert found.counters["conntrack.drop"] == found.counters["Tcp.InCsumErrors"] == 0


def test_an_address_that_somebody_else_has_already(netns: Home) -> None:
    for line in ("ip link add one type veth peer name two", "ip link set one up", "ip link set two up"):
        netns.sh(line)
    netns.sh("ip address add fd00::1/64 dev one")
    found = {a.address: a.flags for a in here().addresses}
    assert found["fd00::1/64"] == ("tentative",)
