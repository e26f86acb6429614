"""`weft trace` against an agent of canned answers, its own and other hosts'."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support import dumps as d
from support import lab
from support.canned_agent import CannedAgent, canned_agent
from weft.api import types as t
from weft.base.errors import Unavailable

NETWORK = lab.network("vxlan", (4, 6))
NODES = tuple(
    t.NodeInfo(name=n.name, addresses=n.addresses, uplink="eth0", mtu=1500, alive=True) for n in lab.nodes().values()
)
ENDPOINTS = tuple(
    t.EndpointInfo(
        id=e.id,
        name=e.name,
        network="blue",
        node=e.node,
        container=e.container,
        namespace=e.namespace.path,
        interface=e.interface,
        host_interface=e.host_interface,
        mac=e.mac,
        addresses=e.addresses,
    )
    for e in (d.endpoint(NETWORK, name) for name in d.NODES)
)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CannedAgent]:
    """The local one of the reference lab's node-1, which asks those of the others."""
    dumps = {("kernel", name): dump for name, dump in d.reference("vxlan").items()}
    answers: dict[object, object] = {**dumps, "endpoints": ENDPOINTS, "nodes": NODES, "services": ()}
    with canned_agent(tmp_path / "weft.sock", answers) as running:
        monkeypatch.setenv("WEFT_SOCKET", running.socket)
        yield running


def test_delivered(weft, agent: CannedAgent) -> None:
    ran = weft("trace", "c1", "c2")
    assert (ran.status, ran.err) == (0, "")
    assert ran.lines[0] == "node-1/c1 (40.15.43.2) to node-2/c2 (40.15.26.2)"
    assert "delivered to 40.15.26.2 on node-2/c2, TTL 62, MTU 1450" in ran.lines
    assert max(map(len, ran.lines)) <= 100
    assert "\x1b" not in ran.out


def test_ends_on_the_way(weft, agent: CannedAgent) -> None:
    whole = d.reference("vxlan")
    broken = d.without(whole, "node-1", "", "fdb", lambda f: f.dst == "192.168.1.254")
    agent.answers["kernel", "node-1"] = broken["node-1"]
    ran = weft("trace", "c1", "c2")
    assert ran.status == 1
    assert any(line.startswith("ends here: weft.1 on node-1 has no FDB entry") for line in ran.lines)
    assert ran.err == ""


def test_outside(weft, agent: CannedAgent) -> None:
    ran = weft("trace", "node-1/c1", "203.0.113.10")
    assert ran.status == 0
    assert ran.lines[-1].startswith("leaves the cluster through eth0 of node-1 to 203.0.113.10 by 192.168.1.1")


def test_json_and_yaml(weft, agent: CannedAgent) -> None:
    shown = json.loads(weft("trace", "c1", "c2", "--family", "6", "-o", "json").out)
    assert list(shown) == ["origin", "target", "there", "back", "notes"]
    assert list(shown["there"]) == ["source", "target", "hops", "outcome", "mtu", "ttl", "flow", "start", "short"]
    assert list(shown["there"]["outcome"]) == [
        "ending",
        "place",
        "text",
        "advice",
        "host",
        "ns",
        "fault",
        "fix",
        "between",
    ]
    assert shown["there"]["hops"][0]["place"] == "node-1/c1"
    assert shown["there"]["outcome"]["ending"] == shown["back"]["outcome"]["ending"] == "delivered"
    assert yaml.safe_load(weft("trace", "c1", "c2", "--family", "6", "-o", "yaml").out) == shown


def test_silent_host(weft, agent: CannedAgent) -> None:
    why = "node-2 cannot be asked: no agent runs there, as far as the store knows; start it there, then ask again"
    agent.answers["kernel", "node-2"] = Unavailable(why)
    ran = weft("trace", "c1", "c2")
    assert ran.status == 3
    assert "continues on node-2 (192.168.1.254), whose state is not at hand" in ran.lines
    assert " ".join(ran.lines).endswith(f"note: node-2 is not seen: {why}")
    assert weft("trace", "c1", "c3").status == 0


def test_unknown(weft, agent: CannedAgent) -> None:
    ran = weft("trace", "c1", "nobody-has-it")
    assert (ran.status, ran.out) == (4, "")
    assert ran.err.startswith("weft: nobody-has-it is no endpoint, node, service or address: `weft endpoint ls`")


def test_wrong_usage(weft, agent: CannedAgent) -> None:
    ran = weft("trace", "c1", "c2", "--family", "5")
    assert ran.status == 2
    assert "5 is neither 4 nor 6" in ran.err
    for option in ("--port", "--sport"):
        ran = weft("trace", "c1", "c2", option, "0")
        assert (ran.status, ran.out) == (2, "") and "0 is outside 1 to 65535" in ran.err
    ran = weft("trace", "c1", "c2", "--proto", "icmp", "--sport", "99")
    assert (ran.status, ran.err) == (1, "weft: ICMP has no ports: leave out port 99, or choose tcp, udp or sctp\n")
