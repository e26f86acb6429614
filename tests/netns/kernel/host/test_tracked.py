"""Connections of a namespace out of the real conntrack: listed, bounded, followed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from support.namespaces import Home, Namespace
from support.waiting import until
from weft.kernel.host import tracked

RULES = """
table inet t {
  chain f {
    type filter hook forward priority 0;
    ct state new accept
  }
  chain d {
    type nat hook prerouting priority dstnat;
    ip daddr 10.9.0.9 udp dport 53 dnat to 10.2.0.2:5353
  }
  chain s {
    type nat hook postrouting priority srcnat;
    ip saddr 10.1.0.2 udp dport 99 masquerade
  }
}
"""
CLIENT = frozenset({ip_address("10.1.0.2").packed})
SERVER = frozenset({ip_address("10.2.0.2").packed})


@pytest.fixture
def left(netns: Home) -> Iterator[Namespace]:
    """A client at 10.1.0.2; what it sends to 10.2.0.2 is routed, and tracked, here."""
    ends = [netns.new(), netns.new()]
    for number, ns in enumerate(ends, 1):
        netns.sh(f"ip link add v{number} up type veth peer name eth0 netns {ns.path}")
        netns.sh(f"ip address add 10.{number}.0.1/24 dev v{number}")
        ns.sh(f"ip address add 10.{number}.0.2/24 dev eth0")
        ns.sh("ip link set eth0 up")
        ns.sh(f"ip route add default via 10.{number}.0.1")
    netns.run("nft", "-f", "-", stdin=RULES)
    for setting in ("net.ipv4.ip_forward", "net.netfilter.nf_conntrack_acct", "net.netfilter.nf_conntrack_timestamp"):
        netns.sh(f"sysctl -qw {setting}=1")
    return ends[0]


def send(left: Namespace, port: int, octets: int = 100, to: str = "10.2.0.2", times: int = 1) -> None:
    with left.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(times):
            sock.sendto(bytes(octets), (to, port))


def test_the_largest_first_and_no_more_than_asked_for(netns: Home, left: Namespace) -> None:
    for port, times in ((7, 1), (8, 9), (9, 4)):
        send(left, port, times=times)
    found = tracked.listing("", CLIENT, 2)
    assert (found.total, found.accounting, found.timestamps) == (3, True, True)
    assert [(each.there.dport, each.there.packets, each.there.octets) for each in found.found] == [
        (8, 9, 9 * 128),
        (9, 4, 4 * 128),
    ]
    assert found.found[0].began > 1_600_000_000 and found.found[0].state == "UNREPLIED"
    assert [each.there.dport for each in tracked.listing("", SERVER, 9).found] == [8, 9, 7], "by who would answer"
    assert tracked.listing("", frozenset({bytes(4)}), 9).total == 0


def test_what_is_translated_has_two_sides(netns: Home, left: Namespace) -> None:
    send(left, 53, to="10.9.0.9")
    send(left, 99)
    served, masqueraded = sorted(tracked.listing("", CLIENT, 9).found, key=lambda each: each.there.dport or 0)
    assert (str(served.there.dst), served.there.dport) == ("10.9.0.9", 53)
    assert (str(served.back.src), served.back.sport) == ("10.2.0.2", 5353)
    called = frozenset({ip_address("10.9.0.9").packed})
    assert tracked.listing("", CLIENT, 9, called).found == [served], "by the address that it called"
    assert str(masqueraded.back.dst) == "10.2.0.1" and masqueraded.there.src == ip_address("10.1.0.2")


def test_without_counters_it_says_so(netns: Home, left: Namespace) -> None:
    netns.sh("sysctl -qw net.netfilter.nf_conntrack_acct=0")
    netns.sh("sysctl -qw net.netfilter.nf_conntrack_timestamp=0")
    send(left, 7)
    found = tracked.listing("", CLIENT, 9)
    assert (found.accounting, found.timestamps) == (False, False)
    assert (found.found[0].there.octets, found.found[0].began) == (None, 0.0)


def test_they_are_told_as_they_begin_and_end(netns: Home, left: Namespace) -> None:
    events = tracked.follow("")
    heard: list[tuple[bool, int | None, int | None]] = []

    def hear(number: int) -> bool:
        found, _ = events.read(CLIENT, 100)
        heard.extend((begins, each.there.dport, each.there.packets) for begins, each in found)
        return len(heard) >= number

    try:
        netns.sh("sysctl -qw net.netfilter.nf_conntrack_udp_timeout=1")
        send(left, 7, times=2)
        until(lambda: hear(1), 10, "the connection begins")
        until(lambda: hear(2) or not tracked.listing("", CLIENT, 1) or None, 20, "the connection ends")
    finally:
        events.close()
    assert [(begins, port) for begins, port, _ in heard] == [(True, 7), (False, 7)]
    assert heard[1][2] == 2, "with what it has counted"


def test_who_does_not_read_is_told_that_some_are_lost(netns: Home, left: Namespace) -> None:
    events = tracked.Events("", rcvbuf=2_000)
    try:
        for port in range(1000, 1100):
            send(left, port)
        seen, looked = 0, 1
        while looked:
            found, looked = events.read(CLIENT, 10)
            seen += len(found)
        assert 0 < seen < 100 and events.overruns == 1
    finally:
        events.close()
