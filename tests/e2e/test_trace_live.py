"""`weft trace --live` in a lab: every host on the way tells what it saw of the packet, and who stopped it."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from support.reach import NODES, Container, client, make_network, run, run_everywhere, weft
from support.waiting import until
from weft.api.live import WatchRequest
from weft.lab import Lab

DROP = """
table inet person {
    chain forward { type filter hook forward priority 10; ip daddr %s drop; }
}
"""
CLOSED = """
table inet person {
    chain input { type filter hook input priority 10; udp dport 8472 drop; }
}
"""


@pytest.fixture(scope="module")
def containers(lab: Lab) -> list[Container]:
    make_network(lab, "over", "vxlan", "10.1.0.0/16", "fd00:1::/48")
    return run_everywhere(lab, "over", NODES[:2])


def live(lab: Lab, *words: str) -> tuple[int, dict[str, Any]]:
    done = weft(lab, "node-1", "trace", *words, "--live", "-o", "json")
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)["live"]


def rules(lab: Lab, host: str) -> str:
    return lab.host(host).run(["nft", "list", "tables"], check=True).stdout


@pytest.mark.parametrize("family", ["4", "6"])
def test_it_arrives_and_every_host_saw_it(lab: Lab, containers: list[Container], family: str) -> None:
    before = [rules(lab, host) for host in ("node-1", "node-2")]
    status, found = live(lab, containers[0].name, containers[1].name, "--family", family)
    assert (status, found["end"], found["agrees"], found["unseen"]) == (0, "answered", True, [])
    way = [(s["place"], s["device"]) for s in found["sights"] if s["what"] == "probe" and s["point"] != "drop"]
    mine, other = (f"{c.host}/{c.name}" for c in containers[:2])
    assert way[0] == (mine, "eth0")
    assert way[-1] == (other, "eth0")
    assert {("node-1", "weft.1"), ("node-1", "eth0"), ("node-2", "eth0"), ("node-2", "weft.1")} <= set(way)
    (inside,) = {s["tunnel"] for s in found["sights"] if s["what"] == "probe" and s["tunnel"]}
    assert inside.startswith("UDP ") and inside.endswith(":8472")
    assert [rules(lab, host) for host in ("node-1", "node-2")] == before


@pytest.mark.parametrize(("chain", "text"), [("forward", DROP), ("input", CLOSED)], ids=["packet", "tunnel"])
def test_somebodys_rule_on_the_far_host(lab: Lab, containers: list[Container], chain: str, text: str) -> None:
    """The rule is named also where it drops the tunnel's packet."""
    other = containers[1]
    host = lab.host(other.host)
    host.run(["nft", "-f", "-"], input=text.replace("%s", other.address(4)), check=True)
    try:
        status, found = live(lab, containers[0].name, other.name)
    finally:
        host.run(["nft", "delete", "table", "inet", "person"], check=True)
    assert (status, found["end"], found["place"], found["reason"]) == (1, "dropped", other.host, "NETFILTER_DROP")
    assert (found["rule"]["table"], found["rule"]["chain"], found["rule"]["verdict"]) == ("person", chain, "drop")


def test_a_policy_and_a_closed_port(lab: Lab, containers: list[Container]) -> None:
    other = containers[1]
    status, found = live(lab, containers[0].name, other.name, "--port", "80")
    assert (status, found["end"], found["agrees"], found["faults"]) == (1, "refused", True, ["port-closed"])
    assert found["reason"] == "NO_SOCKET"
    apply = lab.host("node-1").run([*lab.weft, "policy", "apply", "-f", "-"], input=POLICY, timeout=60)
    assert apply.returncode == 0, apply.stderr
    try:
        asked: list[dict[str, Any]] = []

        def dropped() -> bool:
            asked.append(live(lab, containers[0].name, other.name, "--port", "80")[1])
            return bool(asked[-1]["end"] == "dropped")

        until(dropped, 30, "the policy")
        found = asked[-1]
        assert (found["place"], found["rule"]["table"], found["faults"]) == (other.host, "weft", ["policy-denies"])
    finally:
        weft(lab, "node-1", "policy", "rm", "nobody")


POLICY = """
apiVersion: weft/v1
kind: Policy
metadata: {name: nobody}
spec: {ingress: []}
"""


def test_a_killed_agent_leaves_nothing_and_the_host_looks_itself(lab: Lab, containers: list[Container]) -> None:
    near = run(lab, "node-1", "near", "over")
    before = rules(lab, "node-1")
    client(lab, "node-1").start_watch(WatchRequest(token="5e0d7a1c00ff1122", seconds=30))
    assert "weft-trace-5e0d7a1c00ff1122" in rules(lab, "node-1")
    agent = lab.agent("node-1").process()
    assert agent is not None
    os.kill(agent.pid, signal.SIGKILL)
    until(lambda: rules(lab, "node-1") == before, 20, lambda: rules(lab, "node-1"))
    status, found = live(lab, containers[0].name, near.name)
    assert (status, found["end"], found["unseen"]) == (0, "answered", [])
    assert {s["place"] for s in found["sights"]} == {f"node-1/{containers[0].name}", "node-1", "node-1/near"}
    assert rules(lab, "node-1") == before
