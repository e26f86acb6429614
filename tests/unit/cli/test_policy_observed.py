"""`weft policy log` and `weft policy counters` against an agent of canned answers."""

from __future__ import annotations

import json

import msgspec
import pytest

from support.canned import LOG
from support.canned_agent import Asked, CannedAgent
from weft.api import observed as o
from weft.api import types as t
from weft.base.errors import Unavailable

LINES = [
    "denied   node-4/client (40.15.65.7:40000) → node-1/web (40.15.43.2:80)  tcp  rule 1 of policy//audit (ingress)",
    "allowed  node-1/web (fd00:40:15:2b::2) → 2001:db8::1  icmpv6 type 128 code 0  rule 3 of policy//audit (egress)",
]


def test_each_packet_is_a_line(weft, agent: CannedAgent) -> None:
    ran = weft("policy", "log")
    assert [line.partition("  ")[2] for line in ran.lines] == LINES
    assert agent.asked == [Asked("policy_log", {}, b"")]


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_as_json_each_is_one_line(weft, agent: CannedAgent, output: str) -> None:
    lines = weft("policy", "log", "-o", output).lines
    assert [json.loads(line)["number"] for line in lines] == [7, 8]
    assert json.loads(lines[0])["source"]["address"] == "40.15.65.7"


def test_following_asks_for_what_comes_after(weft, agent: CannedAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [LOG, o.LogPage(last=8), msgspec.structs.replace(LOG, entries=LOG.entries[1:], last=9)]
    asked: list[tuple[str, str]] = []

    def policy_log(self: object, after: str = "", wait: str = "") -> o.LogPage:
        asked.append((after, wait))
        if not pages:
            raise Unavailable("the agent is stopping")
        return pages.pop(0)

    monkeypatch.setattr("weft.client.Client.policy_log", policy_log)
    ran = weft("policy", "log", "-f")
    assert ran.status == 1 and "the agent is stopping" in ran.err
    assert len(ran.lines) == 3
    assert asked == [("", ""), ("8", "20"), ("8", "20"), ("9", "20")]


def test_what_is_lost_is_told(weft, agent: CannedAgent) -> None:
    agent.answers["policy_log"] = o.LogPage(missed=1, lost=3, problem="another program listens to group 22342 of NFLOG")
    assert weft("policy", "log").err.splitlines() == [
        "weft: 1 packet came meanwhile, more than are kept",
        "weft: 3 packets came too fast to be told of",
        "weft: another program listens to group 22342 of NFLOG",
    ]


def test_it_ends_when_nobody_reads(weft, agent: CannedAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.cli.policy_log.say", lambda *_: False)
    assert weft("policy", "log", "-f").status == 0
    assert len(agent.asked) == 1


class TestCounters:
    def test_of_one_policy(self, weft, agent: CannedAgent) -> None:
        assert weft("policy", "counters", "web").lines == [
            "DIRECTION  RULE              ACTION  PACKETS  BYTES",
            "ingress    of no connection  deny    2        80",
            "ingress    1                 allow   4711     282660",
            "ingress    else              deny    0        0",
        ]
        assert agent.asked == [Asked("policy_counters", {"ref": "web"}, b"")]

    def test_of_none(self, weft, agent: CannedAgent) -> None:
        agent.answers["policy_counters"] = o.PolicyCounters(node="node-1")
        assert weft("policy", "counters").lines == ["on node-1 it concerns no container"]

    def test_show_tells_them_with_the_document(self, weft, agent: CannedAgent) -> None:
        agent.answers["policy"] = t.PolicyDocument(id="networkpolicy/shop/web", document={"kind": "NetworkPolicy"})
        ran = weft("policy", "show", "web")
        assert ran.lines[:3] == ["networkpolicy/shop/web", "", "kind: NetworkPolicy"]
        assert ran.lines[-2].split() == ["ingress", "1", "allow", "4711", "282660"]
        assert [asked.operation for asked in agent.asked] == ["policy", "policy_counters"]
        assert json.loads(weft("policy", "show", "web", "-o", "json").out) == {"kind": "NetworkPolicy"}
