"""`weft flows` against an agent of canned answers."""

from __future__ import annotations

import json
from ipaddress import ip_address

import msgspec
import pytest

from support.canned import FLOWS, LOG
from support.canned_agent import Asked, CannedAgent
from weft.api import flows as f
from weft.base.errors import Unavailable
from weft.cli.flows_shown import end, listed
from weft.cli.table import Page


def test_names_stand_for_addresses_and_what_is_translated_is_told(weft, agent: CannedAgent) -> None:
    lines = list(listed(Page(1000, colour=False), (FLOWS,)))
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "tcp ESTABLISHED node-1/web:40000 service blue/shop:80 → node-4/shop-1:8080 12 p, 1.4 KiB 10 p, 3.0 MiB 1 min 4 d",
        "udp CUT OFF node-1/web:40000 [2001:db8::35]:53 as node-1:1024 - - - 20 s",
        "2 of 7 connections: --limit shows more",
        "packets and octets are not counted: sysctl -w net.netfilter.nf_conntrack_acct=1 counts those of connections to come",
    ]
    assert "service" in weft("flows", "--endpoint", "web", "--limit", "2").out
    assert agent.asked == [Asked("flows", {"endpoint": "web", "limit": "2"}, b"")]


def test_what_was_dropped_is_a_table_of_its_own(weft, agent: CannedAgent) -> None:
    ran = weft("flows", "--dropped")
    assert ran.lines[-1].split() == ["spoofing", "claims", "-", "-", "3", "252"]
    assert agent.asked == [Asked("flows", {"dropped": "true", "limit": "100"}, b"")]


def test_as_json_it_is_one_page_a_node(weft, agent: CannedAgent) -> None:
    (page,) = json.loads(weft("flows", "-o", "json").out)
    assert (page["node"], page["total"], page["accounting"]) == ("node-1", 7, False)
    assert page["flows"][0]["member"]["name"] == "shop-1"


def event(name: str, **more: object) -> f.Flow:
    return msgspec.structs.replace(FLOWS.flows[0], event=name, time=1_700_000_000.5, **more)


def test_following_tells_events_refusals_and_what_counters_rose_by(
    weft, agent: CannedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = f.FlowPage(node="node-1", last="4.8", overruns=3, dropped=FLOWS.dropped)
    more = (f.Dropped(reason="spoofing", what="claims", packets=5, octets=420),)
    again = (f.Dropped(reason="spoofing", what="claims", packets=1, octets=84),)
    pages = [
        first,
        f.FlowPage(node="node-1", last="6.9", overruns=3, flows=(event("new"), event("end")), dropped=more),
        f.FlowPage(node="node-1", last="6.9", overruns=4, missed=2, logged=LOG.entries[:1], dropped=again),
    ]
    asked: list[tuple[str, str]] = []

    def flows(self: object, *, after: str = "", wait: str = "", **_: object) -> f.FlowPage:
        asked.append((after, wait))
        if not pages:
            raise Unavailable("the agent is stopping")
        return pages.pop(0)

    monkeypatch.setattr("weft.client.Client.flows", flows)
    told = list(pages)
    ran = weft("flows", "-f", "--dropped", "-o", "json")
    assert ran.status == 1 and "the agent is stopping" in ran.err
    assert asked == [("now", ""), ("4.8", "2"), ("6.9", "2"), ("6.9", "2")]
    lines = [json.loads(line) for line in ran.lines]
    assert [line["event"] for line in lines] == ["new", "end", "dropped", "denied", "dropped"]
    assert [line["packets"] for line in lines if line["event"] == "dropped"] == [2, 1]  # made anew: it began at 0
    assert lines[3]["policy"] == "policy//audit"
    assert "2 events came meanwhile, more than are kept" in ran.err
    assert ran.err.count("some are left out") == 1

    pages[:] = told
    lines = weft("flows", "-f").lines
    assert "new      node-1/web:40000 → service blue/shop:80  (→ node-4/shop-1:8080)  tcp" in lines[0]
    assert lines[1].endswith("tcp  sent 12 p, 1.4 KiB, answered 10 p, 3.0 MiB  after 1 min")
    assert "dropped  2 packets by spoofing: claims" in lines[2]
    assert "denied   node-4/client:40000 → node-1/web:80  tcp  rule 1 of policy//audit (ingress)" in lines[3]


def test_it_ends_when_nobody_reads(weft, agent: CannedAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.cli.flows.say", lambda *_: False)
    assert weft("flows", "-f").status == 0
    assert len(agent.asked) == 1


def test_what_could_not_be_looked_at_is_said(weft, agent: CannedAgent) -> None:
    agent.answers["flows"] = msgspec.structs.replace(FLOWS, problems=("no nfnetlink",), flows=(), total=0)
    assert "node-1: no nfnetlink" in weft("flows").err


def test_a_node_or_all_and_not_both(weft, agent: CannedAgent) -> None:
    assert weft("flows", "--node", "node-4", "--all").status == 2
    assert weft("flows", "--limit", "0").status == 2
    assert agent.asked == []


def test_an_external_address_is_told_with_whose_it_is() -> None:
    there = f.FlowEnd(address=ip_address("203.0.113.7"), port=443, kind="floating", name="web", node="node-1")
    assert end(there) == "203.0.113.7 of node-1/web:443"
