"""Everybody watches before the packet is sent, and nobody afterwards, whatever goes wrong meanwhile."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from weft.api.live import Probed, ProbeRequest, Watched, WatchRequest
from weft.base.errors import Denied, Unavailable, Unsupported, WeftError
from weft.live import prove as module
from weft.live.prove import prove
from weft.trace.path import SCTP, TCP, Flow, Hop, Outcome, Path, Trace


class Host:
    """An agent that notes what it is asked, with all others of its kind in one list."""

    def __init__(self, name: str, asked: list[str], refuses: dict[str, WeftError]) -> None:
        self.name, self.asked, self.refuses = name, asked, refuses
        self.requests: list[WatchRequest | ProbeRequest] = []

    def _ask(self, what: str) -> None:
        self.asked.append(f"{self.name} {what}")
        if f"{self.name} {what}" in self.refuses:
            raise self.refuses[f"{self.name} {what}"]

    def start_watch(self, request: WatchRequest) -> Watched:
        self.requests.append(request)
        self._ask("start")
        return Watched(id=self.name)

    def watched(self, id: str) -> Watched:
        self._ask("watched")
        return Watched(id=id)

    def end_watch(self, id: str) -> Watched:
        assert id == self.name
        self._ask("end")
        return Watched(id=id)

    def send_probe(self, request: ProbeRequest) -> Probed:
        self.requests.append(request)
        self._ask("send")
        return Probed(source=request.source, sport=7, answer="reply", text="an answer")


class Cluster:
    def __init__(self, **refuses: WeftError) -> None:
        self.asked: list[str] = []
        self._refuses = {words.replace("_", " ").replace("node ", "node-"): error for words, error in refuses.items()}
        self.hosts: dict[str, Host] = {}

    def at(self, name: str) -> Host:
        return self.hosts.setdefault(name, Host(name, self.asked, self._refuses))


FLOW = Flow(protocol=TCP, sport=40_000, dport=80)


def traced(flow: Flow = FLOW) -> Trace:
    hops = (
        Hop(place="node-1/c1", step="route", entry="", host="node-1", ns="/run/netns/c1"),
        Hop(place="node-1", step="forward", entry="", host="node-1"),
        Hop(place="node-2/weft-blue", step="bridge", entry="", host="node-2", ns="/run/netns/weft-blue"),
        Hop(place="node-2/c2", step="deliver", entry="", host="node-2", ns="/run/netns/c2"),
    )
    outcome = Outcome(ending="delivered", place="node-2/c2", text="there", host="node-2")
    there = Path(
        source=ip_address("10.0.0.1"),
        target=ip_address("10.0.0.2"),
        hops=hops,
        outcome=outcome,
        mtu=1500,
        ttl=64,
        flow=flow,
    )
    return Trace(origin="node-1/c1", target="node-2/c2", there=there)


def test_all_watch_before_it_is_sent() -> None:
    cluster = Cluster()
    found = prove(traced(), cluster.at)
    assert (found.end, found.agrees) == ("answered", True)
    assert sorted(cluster.asked[:2]) == ["node-1 start", "node-2 start"]
    assert cluster.asked[2] == "node-1 send"
    assert sorted(cluster.asked[-2:]) == ["node-1 end", "node-2 end"]
    one, sent = cluster.hosts["node-1"].requests
    (two,) = cluster.hosts["node-2"].requests
    assert isinstance(one, WatchRequest)
    assert isinstance(two, WatchRequest)
    assert isinstance(sent, ProbeRequest)
    assert (one.namespaces, two.namespaces) == (("/run/netns/c1",), ("/run/netns/weft-blue", "/run/netns/c2"))
    assert one.token == two.token == sent.token
    assert (sent.namespace, sent.source, sent.target) == ("/run/netns/c1", "10.0.0.1", "10.0.0.2")
    assert (sent.protocol, sent.port, sent.size) == ("tcp", 80, 64)


def test_two_packets_have_two_marks() -> None:
    tokens = set()
    for _ in range(2):
        cluster = Cluster()
        prove(traced(), cluster.at)
        tokens.add(cluster.hosts["node-2"].requests[0].token)
    assert len(tokens) == 2


def test_a_host_that_cannot_watch_is_told() -> None:
    found = prove(traced(), Cluster(node_2_start=Unavailable("node-2: it is away")).at)
    assert found.end == "answered"
    assert found.unseen == ("node-2 does not watch: node-2: it is away",)


def test_a_packet_that_cannot_be_sent_leaves_nobody_watching() -> None:
    cluster = Cluster(node_1_send=Denied("no"))
    with pytest.raises(Denied):
        prove(traced(), cluster.at)
    assert sorted(cluster.asked[-2:]) == ["node-1 end", "node-2 end"]


def test_a_host_that_fails_at_the_end_keeps_no_other_from_ending() -> None:
    cluster = Cluster(node_1_end=Unavailable("gone"))
    found = prove(traced(), cluster.at)
    assert "node-2 end" in cluster.asked
    assert found.unseen == ("node-1 does not watch: gone",)


def test_other_protocols_are_not_sent() -> None:
    cluster = Cluster()
    with pytest.raises(Unsupported, match="132"):
        prove(traced(Flow(protocol=SCTP)), cluster.at)
    assert cluster.asked == []


def test_it_is_asked_again_until_something_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.2)
    monkeypatch.setattr(module, "_AGAIN", 0.01)
    monkeypatch.setattr(
        Host, "send_probe", lambda *_: Probed(source="10.0.0.1", sport=7, answer="nothing", text="no answer")
    )
    cluster = Cluster()
    found = prove(traced(), cluster.at)
    assert found.end == "unseen"
    assert cluster.asked.count("node-2 watched") > 1
