"""`weft trace` in a whole lab says what packets really do, and names the entry that is missing when they do not arrive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.answering import serving
from support.reach import OUTSIDE, Container, converged, make_network, ping, run_everywhere, shown, weft
from support.waiting import until
from weft.lab import Lab

Networks = dict[str, list[Container]]


@pytest.fixture(scope="module")
def networks(lab: Lab) -> Networks:
    make_network(lab, "over", "vxlan", "10.1.0.0/16", "fd00:1::/48")
    make_network(lab, "flat", "host-gw", "10.2.0.0/16", "fd00:2::/48")
    make_network(lab, "carried", "udp", "10.3.0.0/16", "fd00:3::/48")
    return {name: run_everywhere(lab, name) for name in ("over", "flat", "carried")}


def trace(lab: Lab, host: str, *words: str) -> tuple[int, dict[str, Any]]:
    done = weft(lab, host, "trace", *words, "-o", "json")
    assert done.stderr == ""
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def steps(path: dict[str, Any], place: str) -> list[str]:
    return [hop["step"] for hop in path["hops"] if hop["place"] == place]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("name", "far", "mtu"), [("over", 3, 1450), ("over", 1, 1450), ("flat", 1, 1500), ("carried", 3, 1472)]
)
def test_delivered_there_and_back(lab: Lab, networks: Networks, name: str, far: int, mtu: int, family: int) -> None:
    mine, other = networks[name][0], networks[name][far]
    status, found = trace(lab, "node-1", mine.name, other.name, "--family", str(family))
    assert status == 0
    pong = ping(mine.inside, other.address(family))
    for way, target in (("there", other), ("back", mine)):
        path = found[way]
        assert path["outcome"]["ending"] == "delivered"
        assert path["outcome"]["place"] == f"{target.host}/{target.name}"
        assert path["target"] == target.address(family)
        assert (path["ttl"], path["mtu"]) == (pong.ttl, mtu)
        middle = [] if name == "flat" else ["encapsulate", "decapsulate"]
        assert [hop["step"] for hop in path["hops"] if hop["step"].endswith("capsulate")] == middle
    decisive = {hop["entry"] for hop in found["there"]["hops"]}
    base = other.subnet(family).partition("/")[0]
    if name == "over":
        assert any(entry.startswith(f"{other.subnet(family)} via {base} dev weft.1 onlink") for entry in decisive)
        assert any(entry.startswith(f"{base} dev weft.1 lladdr ") for entry in decisive)
        assert any("dev weft.1 dst 192.168." in entry and "self permanent" in entry for entry in decisive)
    elif name == "carried":
        assert any(entry.startswith(f"prefix {other.subnet(family)} 192.168.") for entry in decisive)
    else:
        assert any(entry.startswith(f"{other.subnet(family)} via ") and "dev eth0" in entry for entry in decisive)


def test_any_host_can_be_asked(lab: Lab, networks: Networks) -> None:
    one, four = networks["over"][0].name, networks["over"][3].name
    assert ping(networks["over"][0].inside, networks["over"][3].address(4)).ok  # so that the router is known
    (status, here), (_, there) = trace(lab, "node-1", one, four), trace(lab, "node-4", one, four)
    assert (status, here["there"]["outcome"]) == (0, there["there"]["outcome"])
    table = weft(lab, "node-2", "trace", one, four)
    assert table.returncode == 0
    assert f"delivered to {networks['over'][3].address(4)} on node-4/{four}, TTL 62, MTU 1450" in table.stdout


@pytest.mark.parametrize("family", [4, 6])
def test_the_way_out(lab: Lab, networks: Networks, family: int) -> None:
    status, found = trace(lab, "node-1", networks["over"][0].name, OUTSIDE[family])
    assert (status, found["there"]["outcome"]["ending"]) == (0, "left")


def test_out_of_reach_by_nature(lab: Lab, networks: Networks) -> None:
    """host-gw to the node behind the router."""
    near, far = networks["flat"][0], networks["flat"][3]
    status, found = trace(lab, "node-1", near.name, far.name)
    outcome = found["there"]["outcome"]
    assert (status, outcome["ending"], outcome["place"]) == (1, "unreachable", "node-1")
    assert "unreachable 10.2.0.0/16" in outcome["text"]


def test_a_missing_fdb_entry_is_named(lab: Lab, networks: Networks) -> None:
    """It is deleted as often as it comes back, until the agent leaves it alone for a while."""
    near, far = networks["over"][0], networks["over"][3]
    entries = shown(lab.host("node-1"), "bridge -j fdb show dev weft.1")
    mac = next(e["mac"] for e in entries if e["dst"] == "192.168.0.33")
    answers: list[tuple[int, dict[str, Any]]] = []

    def broken() -> bool:
        lab.host("node-1").run(f"bridge fdb del {mac} dev weft.1 dst 192.168.0.33 self".split())
        answers.append(trace(lab, "node-2", near.name, far.name))
        return answers[-1][0] != 0

    until(broken, 60, "a trace that fails")
    outcome = answers[-1][1]["there"]["outcome"]
    assert (outcome["ending"], outcome["place"]) == ("no-fdb", "node-1")
    assert mac in outcome["text"]
    assert outcome["advice"]
    converged(lab)
    assert trace(lab, "node-2", near.name, far.name)[0] == 0


def test_a_missing_underlay_route_is_named(lab: Lab, networks: Networks) -> None:
    """Not Weft's to mend: node-4's VTEP is behind the router."""
    near, far = networks["over"][0], networks["over"][3]
    node = lab.host("node-1")
    node.must("route", ["ip", "route", "del", "default"])
    try:
        status, found = trace(lab, "node-1", near.name, far.name)
        outcome = found["there"]["outcome"]
        assert (status, outcome["ending"], outcome["place"]) == (1, "no-route", "node-1")
        assert "192.168.0.33" in outcome["text"]
        assert steps(found["there"], "node-1")[-1] == "encapsulate"
        assert not ping(near.inside, far.address(4), wait=1).ok
    finally:
        node.must("route", ["ip", "route", "add", "default", "via", "192.168.1.1"])
    assert trace(lab, "node-1", near.name, far.name)[0] == 0


def test_what_is_unknown(lab: Lab, networks: Networks) -> None:
    done = weft(lab, "node-1", "trace", "nobody", networks["over"][0].name)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1)
    assert "nobody" in done.stderr


# -- rules, NAT, services ----------------------------------------------------------------------------------------------

SITE = """table inet site {
  chain fw {
    type filter hook forward priority 10; policy drop;
    ct state established,related accept
    tcp dport 22 accept
  }
}
"""


@contextmanager
def rules(lab: Lab, host: str, text: str) -> Iterator[None]:
    node = lab.host(host)
    node.must("nft", ["nft", "-f", "-"], input=text)
    try:
        yield
    finally:
        node.must("nft", ["nft", "delete", "table", "inet", "site"])


def test_somebody_else_s_rule_is_named_and_what_to_run_mends_it(lab: Lab, networks: Networks) -> None:
    mine, other = networks["over"][0], networks["over"][1]
    with rules(lab, "node-2", SITE):
        assert not ping(mine.inside, other.address(4), wait=1).ok
        status, found = trace(lab, "node-3", mine.name, other.name)
        outcome = found["there"]["outcome"]
        assert (status, outcome["ending"], outcome["fault"], outcome["host"]) == (
            1,
            "filtered",
            "forward-policy",
            "node-2",
        )
        assert "inet site fw" in outcome["text"]
        lab.host("node-2").must("the fix", ["sh", "-c", outcome["fix"]])
        assert ping(mine.inside, other.address(4)).ok
        assert trace(lab, "node-3", mine.name, other.name)[0] == 0


def test_a_filtered_tunnel_and_a_rule_that_nobody_can_judge(lab: Lab, networks: Networks) -> None:
    mine, other = networks["over"][0], networks["over"][1]
    chain = "table inet site {\n chain c {\n type filter hook %s priority 10\n %s\n }\n}\n"
    with rules(lab, "node-2", chain % ("input", "udp dport 8472 drop")):
        status, found = trace(lab, "node-1", mine.name, other.name)
        outcome = found["there"]["outcome"]
        assert (status, outcome["ending"], outcome["fault"]) == (1, "filtered", "underlay-filtered")
    with rules(lab, "node-2", chain % ("forward", 'meta hour "08:00"-"09:00" drop')):
        status, found = trace(lab, "node-1", mine.name, other.name)
        assert (status, found["there"]["outcome"]["ending"]) == (3, "depends")
        assert "the time of day" in found["there"]["outcome"]["text"]


def test_the_way_out_and_back_is_translated(lab: Lab, networks: Networks) -> None:
    mine = networks["over"][0]
    status, found = trace(lab, "node-1", mine.name, OUTSIDE[4], "--proto", "udp", "--port", "53")
    assert status == 0
    (out,) = [hop for hop in found["there"]["hops"] if hop["step"] == "nat"]
    assert (out["place"], out["hook"]) == ("node-1", "postrouting")
    assert out["result"].startswith("from 192.168.1.68:")
    assert "masquerade" in out["entry"]
    assert found["back"]["outcome"]["place"] == f"node-1/{mine.name}"
    assert found["back"]["target"] == "192.168.1.68"


def test_sizes_and_closed_ports(lab: Lab, networks: Networks) -> None:
    mine, other = networks["flat"][0], networks["flat"][1]
    assert trace(lab, "node-1", mine.name, other.name, "--size", "1500")[0] == 0
    status, found = trace(lab, "node-1", mine.name, other.name, "--size", "1501")
    assert (status, found["there"]["outcome"]["ending"]) == (1, "too-large")
    status, found = trace(lab, "node-1", mine.name, other.name, "--port", "81")
    assert (status, found["there"]["outcome"]["fault"]) == (1, "port-closed")
    with serving(other.inside, "other", "tcp/81"):
        assert trace(lab, "node-1", mine.name, other.name, "--port", "81")[0] == 0


def test_services_and_published_ports(lab: Lab, networks: Networks) -> None:
    mine, two, three = networks["over"][0], networks["over"][1], networks["over"][2]
    words = (
        f"service create web --network over --port 80:8080 --publish 8088:80 --member {two.name} --member {three.name}"
    )
    assert weft(lab, "node-1", *words.split()).returncode == 0
    with serving(two.inside, "two", "tcp/8080"), serving(three.inside, "three", "tcp/8080"):
        for member in (two, three):
            status, found = trace(lab, "node-1", mine.name, "over/web", "--member", member.name)
            assert (status, found["there"]["outcome"]["place"]) == (0, f"{member.host}/{member.name}")
            assert any(hop["step"] == "service" and "2 members" in hop["entry"] for hop in found["there"]["hops"])
            assert found["back"]["hops"][-1]["place"] == f"node-1/{mine.name}"
        for at in ("node-1", "node-2", "node-4"):
            status, found = trace(lab, "node-1", "node-3", at, "--port", "8088")
            assert status == 0, found["there"]["outcome"]
            assert found["there"]["outcome"]["place"] in (f"node-2/{two.name}", f"node-3/{three.name}")
    assert weft(lab, "node-1", "service", "rm", "web").returncode == 0


def test_a_policy_is_named(lab: Lab, networks: Networks) -> None:
    mine, other = networks["over"][0], networks["over"][1]
    document = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-9999, namespace: default}
spec:
  podSelector: {}
  ingress: [{ports: [{port: 9999}]}]
"""
    node = lab.host("node-1")
    node.must("apply", [*lab.weft, "policy", "apply", "-f", "-"], input=document)
    try:
        until(lambda: not ping(mine.inside, other.address(4), wait=1).ok, 30, "the policy")
        status, found = trace(lab, "node-1", mine.name, other.name)
        outcome = found["there"]["outcome"]
        assert (status, outcome["ending"], outcome["fault"]) == (1, "filtered", "policy-denies")
        denies = f"networkpolicy/default/only-9999 selects {other.name} for ingress, and no rule fits"
        assert outcome["text"].endswith(denies)
        assert f"weft policy explain node-1/{mine.name} node-2/{other.name}" in outcome["advice"]
        status, found = trace(lab, "node-1", mine.name, networks["flat"][1].name)
        assert found["there"]["outcome"]["fault"] in ("network-isolated", "policy-denies")
    finally:
        node.must("rm", [*lab.weft, "policy", "rm", "only-9999"])
