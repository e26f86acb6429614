"""Rules that nft wrote, dumped by netlink, and run on packets."""

from __future__ import annotations

from typing import Any

import pytest

from support.filtered import seen
from support.namespaces import Home
from weft.filters.model import Seen, Verdict
from weft.filters.rules import Filters
from weft.kernel.host import filters

RULES = """
table inet t {
  set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/24, 10.1.0.5-10.1.0.9 } }
  set six { type ipv6_addr; elements = { fd00::5 } }
  map m { type ipv4_addr . inet_service : verdict; flags interval; elements = { 10.2.0.0/16 . 80-90 : drop } }
  map to { type inet_service : ipv4_addr . inet_service; elements = { 81 : 10.5.5.6 . 8081 } }
  chain a {
    tcp dport 22 return
    ip daddr 9.9.9.9 drop comment "a"
  }
  chain b { meta mark 7 goto c; }
  chain c { udp dport 53 accept comment "c"; }
  chain forwarded {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept comment "established"
    ip saddr @s accept comment "s"
    ip6 saddr @six accept comment "six"
    ip saddr . tcp dport vmap @m
    iifname "eth*" oifname { "eth1", "b" } jump a
    jump b
    tcp dport { 1000-2000, 3000 } accept comment "ports"
    meta mark and 0xff00 == 0x100 accept comment "mark"
    tcp dport 9 reject comment "reject"
    ip ttl < 10 accept comment "ttl"
    ip saddr & 0.0.0.255 == 0.0.0.77 accept comment "bits"
    icmp type echo-request accept comment "ping"
    ip protocol != { tcp, udp } accept comment "other"
    limit rate 1/second udp dport 99 accept comment "limit"
  }
  chain later { type filter hook forward priority 10; ip daddr 8.8.8.8 drop comment "later"; }
  chain translated {
    type nat hook prerouting priority dstnat;
    tcp dport 8080 dnat ip to 10.5.5.5:80
    dnat ip addr . port to tcp dport map @to
    ip daddr 10.9.0.0/24 dnat ip prefix to ip daddr map { 10.9.0.0/24 : 10.8.0.0/24 }
    tcp dport 82 redirect to :8082
  }
  chain masked { type nat hook postrouting priority srcnat; oifname "out" masquerade; }
  chain marked { type filter hook prerouting priority mangle; tcp dport 80 meta mark set mark or 0x40; }
  chain raw { type filter hook prerouting priority raw; udp dport 53 notrack; ct state invalid meta mark set 1; }
}
"""


@pytest.fixture
def judge(netns: Home) -> Any:
    netns.run("nft", "-f", "-", stdin=RULES)
    found = Filters(filters.dump())

    def run(hook: str, packet: Seen, **bounds: Any) -> Verdict:
        return found.run(hook, "ip" if packet.protocol == 0x0800 else "ip6", packet, **bounds)

    return run


FORWARD = [
    (seen("tcp 10.0.0.7 1.1.1.1 80"), "accept", "s"),
    (seen("tcp 10.1.0.9 1.1.1.1 80"), "accept", "s"),
    (seen("tcp 10.1.0.10 1.1.1.1 80"), "drop", ""),
    (seen("tcp 10.0.0.7 8.8.8.8 80"), "drop", "later"),
    (seen("tcp fd00::5 fd00::6 80"), "accept", "six"),
    (seen("tcp fd00::4 fd00::6 80"), "drop", ""),
    (seen("tcp 4.4.4.4 1.1.1.1 80", state="established"), "accept", "established"),
    (seen("tcp 10.2.9.9 1.1.1.1 1000"), "accept", "ports"),
    (seen("tcp 4.4.4.4 1.1.1.1 2000"), "accept", "ports"),
    (seen("tcp 4.4.4.4 1.1.1.1 2001"), "drop", ""),
    (seen("tcp 4.4.4.4 9.9.9.9 1000"), "drop", "a"),
    (seen("tcp 4.4.4.4 9.9.9.9 1000", iif="tun0"), "accept", "ports"),
    (seen("tcp 4.4.4.4 1.1.1.1 5", mark=0x1AA), "accept", "mark"),
    (seen("tcp 4.4.4.4 1.1.1.1 9"), "reject", "reject"),
    (seen("tcp 4.4.4.77 1.1.1.1 5"), "accept", "bits"),
    (seen("icmp 4.4.4.4 1.1.1.1"), "accept", "ping"),
    (seen("udp 4.4.4.4 1.1.1.1 53", mark=7), "accept", "c"),
    (seen("udp 4.4.4.4 1.1.1.1 53"), "drop", ""),
    (seen("udp 4.4.4.4 1.1.1.1 99"), "depends", ""),
]


def test_forwarded_packets(judge: Any) -> None:
    verdicts = [judge("forward", packet) for packet, _, _ in FORWARD]
    assert [(v.action, v.where.comment) for v in verdicts] == [(action, comment) for _, action, comment in FORWARD]
    [doubt] = verdicts[-1].doubts
    assert (doubt.action, doubt.where.comment) == ("accept", "limit")


def test_an_element_of_a_verdict_map_decides(judge: Any) -> None:
    verdict = judge("forward", seen("tcp 10.2.9.9 1.1.1.1 90"))
    assert (verdict.action, verdict.where.handle > 0) == ("drop", True)


TRANSLATED = [
    ("prerouting", "tcp 4.4.4.4 1.1.1.1 8080", "dnat", "10.5.5.5", 80),
    ("prerouting", "tcp 4.4.4.4 1.1.1.1 81", "dnat", "10.5.5.6", 8081),
    ("prerouting", "udp 4.4.4.4 10.9.0.33 81", "dnat", "10.8.0.33", None),
    ("prerouting", "tcp 4.4.4.4 1.1.1.1 82", "redirect", "None", 8082),
    ("postrouting", "tcp 4.4.4.4 1.1.1.1 82", "masquerade", "None", None),
]


@pytest.mark.parametrize(("hook", "packet", "kind", "address", "port"), TRANSLATED)
def test_translations(judge: Any, hook: str, packet: str, kind: str, address: str, port: int | None) -> None:
    found = judge(hook, seen(packet, oif="out"), nat=True).translation
    assert (found.kind, str(found.address), found.port) == (kind, address, port)


def test_what_rules_change_is_told(judge: Any) -> None:
    verdict = judge("prerouting", seen("tcp 4.4.4.4 1.1.1.1 80"), above=-199)
    assert verdict.seen.mark == 0x40
    assert judge("prerouting", seen("udp 4.4.4.4 1.1.1.1 53"), below=-200).notrack
    assert judge("prerouting", seen("udp 4.4.4.4 1.1.1.1 54"), below=-200).seen.mark == 1


def test_a_dormant_table_is_asked_for_nothing(netns: Home, judge: Any) -> None:
    netns.run("nft", "add table inet t { flags dormant; }")
    assert Filters(filters.dump()).run("forward", "ip", seen("tcp 10.1.0.10 1.1.1.1 80")).where is None


# -- what is told of a rule --------------------------------------------------------------------------------------------


def test_the_remedy_lets_this_flow_through_and_no_other(netns: Home, judge: Any) -> None:
    stopped = [seen("tcp 10.1.0.10 1.1.1.1 80"), seen("tcp fd00::4 fd00::6 80"), seen("icmpv6 fd00::4 fd00::6")]
    stopped += [seen("tcp 4.4.4.4 9.9.9.9 1000"), seen("tcp 10.2.9.9 1.1.1.1 90")]
    for packet in stopped:
        verdict = judge("forward", packet)
        assert verdict.action == "drop"
        netns.run("sh", "-c", verdict.where.remedy)
    family = {0x0800: "ip", 0x86DD: "ip6"}
    now = Filters(filters.dump())
    assert [now.run("forward", family[packet.protocol], packet).action for packet in stopped] == ["accept"] * 5
    assert now.run("forward", "ip", seen("tcp 10.1.0.10 1.1.1.1 81")).action == "drop"
    answer = seen("tcp 1.1.1.1 10.1.0.10 40000")
    assert now.run("forward", "ip", answer).action == "drop"  # it comes from another port


def test_tables_of_iptables_are_spoken_of_as_iptables(netns: Home) -> None:
    netns.sh("iptables-nft -N DOCKER-USER")
    netns.sh("iptables-nft -A FORWARD -j DOCKER-USER")
    netns.sh("iptables-nft -P FORWARD DROP")
    packet = seen("tcp 10.0.0.1 10.0.0.2 80")
    where = Filters(filters.dump()).run("forward", "ip", packet).where
    assert where is not None
    assert (where.program, where.chain, where.owner, where.text) == ("iptables", "FORWARD", "docker", "-P FORWARD DROP")
    assert where.show == "iptables-nft -t filter -S FORWARD"
    assert where.remedy.startswith("iptables-nft -I DOCKER-USER -s 10.0.0.1 -d 10.0.0.2 -p tcp --dport 80 ")
    netns.run("sh", "-c", where.remedy)
    assert Filters(filters.dump()).run("forward", "ip", packet).action == "accept"


def test_a_doubtful_jump_makes_what_it_leads_to_doubtful(netns: Home) -> None:
    rules = """table ip t {
      chain sub { tcp dport 80 return; drop; }
      chain f { type filter hook forward priority 0; limit rate 1/second jump sub; tcp dport 81 drop; }
      chain g { type filter hook forward priority 1; cpu 0 goto sub; ip daddr 9.9.9.9 drop; }
    }"""
    netns.run("nft", "-f", "-", stdin=rules)
    judge = Filters(filters.dump())
    verdict = judge.run("forward", "ip", seen("tcp 1.1.1.1 2.2.2.2 82"))
    assert verdict.action == "depends"
    assert [(doubt.action, doubt.where.chain) for doubt in verdict.doubts] == [("drop", "sub"), ("drop", "sub")]
    assert judge.run("forward", "ip", seen("tcp 1.1.1.1 2.2.2.2 80")).action == "accept"
    assert judge.run("forward", "ip", seen("tcp 1.1.1.1 2.2.2.2 81")).action == "drop"
    assert judge.run("forward", "ip", seen("tcp 1.1.1.1 9.9.9.9 80")).action == "depends"
