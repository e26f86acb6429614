"""`weft trace --live` in a lab: every host on the way tells what it saw of the packet, and who stopped it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.reach import NODES, Container, make_network, run_everywhere, weft
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
