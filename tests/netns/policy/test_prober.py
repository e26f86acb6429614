"""The probers by themselves, in namespaces with rules written by hand: what they see is what the rules say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from support.namespaces import Home
from support.probing import PATIENCE, WAIT, Probe, Probers, Table, differences, every
from support.routed_pods import ADDRESSES, NAMES, routed_pods
from support.waiting import note


@dataclass(frozen=True)
class Pods:
    home: Home
    probers: Probers

    def forward(self, *rules: str) -> None:
        """These are all that is in the way."""
        lines = ["add table inet t", "delete table inet t", "table inet t {", "chain c {"]
        lines += ["type filter hook forward priority 0;", "ct state established,related accept", *rules, "}", "}"]
        self.home.run("nft", "-f", "-", stdin="\n".join(lines))


@pytest.fixture
def pods(netns: Home) -> Iterator[Pods]:
    with routed_pods(netns) as probers:
        yield Pods(netns, probers)


def between(protocol: str = "", port: int = 0) -> Table:
    """All, or these, from one pod to another."""
    found = every(NAMES, NAMES)
    return frozenset(p for p in found if p.source != p.target and protocol in ("", p.protocol) and port in (0, p.port))


@pytest.mark.parametrize("family", [4, 6])
def test_every_rule_shows_in_the_table(pods: Pods, family: int) -> None:
    everything, addresses = every(NAMES, NAMES), ADDRESSES[family]
    pods.forward()
    assert pods.probers.ask(everything, addresses) == everything
    for protocol in ("TCP", "UDP", "SCTP"):
        pods.forward(f"{protocol.lower()} dport 81 drop")
        expected = everything - between(protocol, 81)
        assert differences(expected, pods.probers.look(expected, addresses)) == ""
    word, target = {4: "ip", 6: "ip6"}[family], addresses["b"]
    pods.forward(f"{word} daddr {target} drop")
    expected = everything - {p for p in between() if p.target == "b"}
    assert differences(expected, pods.probers.look(expected, addresses)) == ""


def test_what_arrives_is_seen_though_no_answer_does(pods: Pods) -> None:
    """A rule that drops answers alone leaves a way in."""
    pods.forward("ip saddr 10.9.1.2 drop")
    pods.home.run("nft", "insert rule inet t c ip saddr 10.9.1.2 drop")
    seen = pods.probers.ask(every(["a"], ["b"]), ADDRESSES[4])
    assert seen == {p for p in every(["a"], ["b"]) if p.protocol != "TCP"}


def test_one_that_is_slow_is_no_denied_one(pods: Pods) -> None:
    """Each first packet is lost: the next attempt answers, except for what is denied."""
    pods.forward("udp dport 80 limit rate 1/week burst 1 packets drop", "udp dport 81 drop")
    everything = every(["a"], ["b"])
    expected = everything - {Probe("a", "b", "UDP", 81)}
    assert pods.probers.ask(everything, ADDRESSES[4]) == expected - {Probe("a", "b", "UDP", 80)}
    pods.forward("udp dport 80 limit rate 1/week burst 1 packets drop", "udp dport 81 drop")
    assert pods.probers.look(expected, ADDRESSES[4], ["a"]) >= expected


def test_how_long_a_table_takes(pods: Pods) -> None:
    pods.forward("tcp dport 81 drop")
    start = time.monotonic()
    pods.probers.look(every(NAMES, NAMES) - between("TCP", 81), ADDRESSES[4])
    took = time.monotonic() - start
    note(f"a table of {len(every(NAMES, NAMES))} probes: {took:.2f} s")
    assert took < WAIT + PATIENCE, "nothing had to be asked again"
