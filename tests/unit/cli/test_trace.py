"""`weft trace` against agents of canned answers, as a lab has them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
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

Lab = dict[str, CannedAgent]


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """One for each host of the reference lab; WEFT_LAB names their directory, whose path has to be short."""
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wt-")))
        monkeypatch.setenv("WEFT_LAB", str(base))
        monkeypatch.delenv("WEFT_SOCKET", raising=False)
        running = {}
        for name, dump in d.reference("vxlan").items():
            path = base / "hosts" / name / "run-weft/weft.sock"
            path.parent.mkdir(parents=True)
            answers: dict[str, object] = {"kernel": dump, "endpoints": ENDPOINTS, "nodes": NODES, "services": ()}
            running[name] = stack.enter_context(canned_agent(path, answers))
        yield running


def test_delivered(weft, agents: Lab) -> None:
    ran = weft("trace", "c1", "c2")
    assert (ran.status, ran.err) == (0, "")
    assert ran.lines[0] == "node-1/c1 (40.15.43.2) to node-2/c2 (40.15.26.2)"
    assert "delivered to 40.15.26.2 on node-2/c2, TTL 62, MTU 1450" in ran.lines
    assert max(map(len, ran.lines)) <= 100
    assert "\x1b" not in ran.out


def test_ends_on_the_way(weft, agents: Lab) -> None:
    whole = d.reference("vxlan")
    broken = d.without(whole, "node-1", "", "fdb", lambda f: f.dst == "192.168.1.254")
    agents["node-1"].answers["kernel"] = broken["node-1"]
    ran = weft("trace", "c1", "c2")
    assert ran.status == 1
    assert any(line.startswith("ends here: weft.1 on node-1 has no FDB entry") for line in ran.lines)
    assert ran.err == ""


def test_outside(weft, agents: Lab) -> None:
    ran = weft("trace", "node-1/c1", "203.0.113.10")
    assert ran.status == 0
    assert ran.lines[-1].startswith("leaves the cluster through eth0 of node-1 to 203.0.113.10 by 192.168.1.1")


def test_json_and_yaml(weft, agents: Lab) -> None:
    shown = json.loads(weft("trace", "c1", "c2", "--family", "6", "-o", "json").out)
    assert list(shown) == ["origin", "target", "there", "back", "notes"]
    assert list(shown["there"]) == ["source", "target", "hops", "outcome", "mtu", "ttl", "flow"]
    assert list(shown["there"]["outcome"]) == ["ending", "place", "text", "advice", "host", "ns", "fault", "fix"]
    assert shown["there"]["hops"][0]["place"] == "node-1/c1"
    assert shown["there"]["outcome"]["ending"] == shown["back"]["outcome"]["ending"] == "delivered"
    assert yaml.safe_load(weft("trace", "c1", "c2", "--family", "6", "-o", "yaml").out) == shown


def test_a_named_agent_is_the_only_one_asked(weft, agents: Lab) -> None:
    ran = weft("--socket", agents["node-1"].socket, "trace", "c1", "c2")
    assert ran.status == 1
    assert "continues on node-2 (192.168.1.254), whose state is not at hand" in ran.lines
    assert "  what to do: on node-2: `weft trace node-2 40.15.26.2`" in ran.lines
    assert not agents["node-2"].asked


def test_silent_host(weft, agents: Lab) -> None:
    agents["node-3"].answers["kernel"] = Unavailable("its agent is being updated")
    ran = weft("trace", "c1", "c2")
    assert ran.status == 0
    assert ran.lines[-1] == "note: node-3 is not seen: its agent is being updated"


def test_unknown(weft, agents: Lab) -> None:
    ran = weft("trace", "c1", "c9")
    assert (ran.status, ran.out) == (4, "")
    assert ran.err.startswith("weft: c9 is no endpoint, node or address: `weft endpoint ls`")


def test_wrong_usage(weft, agents: Lab) -> None:
    ran = weft("trace", "c1", "c2", "--family", "5")
    assert ran.status == 2
    assert "5 is neither 4 nor 6" in ran.err


def test_no_lab_there(weft, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WEFT_LAB", str(tmp_path))
    monkeypatch.delenv("WEFT_SOCKET", raising=False)
    ran = weft("trace", "c1", "c2")
    assert ran.status == 1
    assert ran.err.startswith(f"weft: no agent's socket in the lab at {tmp_path}: is it up")
