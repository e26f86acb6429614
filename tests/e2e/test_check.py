"""`weft check` and `weft flows` in a cluster of three hosts with a network of each kind: healthy, with a link filtered, with a
policy, ended half-way."""

from __future__ import annotations

import json
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from support.policies import own_policy
from support.reach import Container, PeerServer, attached, client, make_network, seen_as, weft
from support.waiting import until
from weft.lab import Lab, flat

HOSTS = ("node-1", "node-2", "node-3")
DRIVERS = ("vxlan", "routed", "overlay", "host-gw", "bridge", "mesh", "udp")
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec: {podSelector: {}, policyTypes: [Ingress]}
"""
FILTER = """
table inet someone {
  chain in {
    type filter hook input priority 0; policy accept;
    ip saddr 192.168.1.11 udp dport 8472 drop
  }
}
"""


@pytest.fixture(scope="module")
def three(lab_base: str) -> Iterator[Lab]:
    with Lab.up(flat(3), name="check", store="etcd") as lab:
        for number, driver in enumerate(DRIVERS, 1):
            make_network(lab, f"n-{driver}", driver, f"10.8{number}.0.0/16", f"fd00:8{number}::/48", hosts=HOSTS)
        yield lab


def check(lab: Lab, *words: str, host: str = "node-1") -> tuple[int, dict[str, Any]]:
    done = weft(lab, host, "check", *words, "-o", "json")
    assert done.stderr == "", done.stderr
    return done.returncode, json.loads(done.stdout)


def left(lab: Lab) -> list[str]:
    """Probes, as the store and the hosts have them."""
    named = [e.name for e in client(lab, "node-1").endpoints() if e.name.startswith("check-")]
    spaces = [lab.host(host).run(["ip", "netns"]).stdout for host in HOSTS]
    return [*named, *(name for text in spaces for name in re.findall(r"weftcheck-\S+", text))]


def test_a_healthy_cluster_is_well_in_every_network_and_nothing_is_left(three: Lab) -> None:
    status, found = check(three, "--keep-going", "--outside", "203.0.113.10", "--timeout", "5")
    assert found["problems"] == [] and status == 0 and found["ok"]
    by_name = {each["network"]: each for each in found["networks"]}
    assert set(by_name) == {f"n-{driver}" for driver in DRIVERS}
    for name, each in by_name.items():
        assert each["nodes"] == list(HOSTS) and not each["sampled"]
        pairs = {(cell["source"], cell["target"]) for cell in each["cells"]}
        across = {(one, other) for one in HOSTS for other in HOSTS if one != other or each["local"]}
        assert pairs >= (across if not each["local"] else {(host, host) for host in HOSTS}), name
        assert all(cell["ms"] is not None for cell in each["cells"])
    assert [name for name, each in by_name.items() if each["local"]] == ["n-bridge"]
    assert by_name["n-vxlan"]["tests"] >= 6 * 2 * 4, "of each pair, both families, all four kinds"
    assert left(three) == []


def test_a_filtered_link_is_named_with_who_filters_it(three: Lab) -> None:
    host = three.host("node-2")
    host.must("filter", ["nft", "-f", "-"], input=FILTER)
    try:
        status, found = check(three, "--network", "n-vxlan", "--timeout", "1")
    finally:
        host.must("unfilter", ["nft", "delete", "table", "inet", "someone"])
    assert status == 1
    broken = {frozenset((problem["source"], problem["target"])) for problem in found["problems"]}
    assert broken == {frozenset(("node-1", "node-2"))}
    first = found["problems"][0]
    assert first["what"] == "small" and first["error"] == "no answer within 1 s"
    assert "udp dport 8472 drop" in first["said"] and first["host"] == "node-2"
    assert left(three) == []


def test_where_large_packets_are_lost_between_hosts_it_is_said_how_large_they_may_be(three: Lab) -> None:
    """The other end of node-2's cable, of which no host knows: it takes 1400 octets, without the tunnel's 50, and allows 4
    more (is_skb_forwardable() makes room for a VLAN tag)."""
    wires = ["nsenter", f"--net=/proc/{three.host('node-2').init.pid}/ns/net"]
    change = [*wires, "ip", "link", "set", "to-node-2", "mtu"]
    subprocess.run([*change, "1400"], check=True)
    try:
        status, found = check(three, "--network", "n-vxlan", "--nodes", "node-1,node-2", "--timeout", "1")
    finally:
        subprocess.run([*change, "1500"], check=True)
    assert status == 1 and {problem["what"] for problem in found["problems"]} == {"large"}
    assert ("node-2", "node-1") in {(problem["source"], problem["target"]) for problem in found["problems"]}
    assert {problem["fits"] for problem in found["problems"]} <= {1350, 1354}
    assert "packets of up to 135" in found["problems"][0]["advice"]


def test_what_policy_denies_is_said_and_is_no_problem(three: Lab) -> None:
    node = three.host("node-1")
    node.must("apply", ["weft", "policy", "apply", "-f", "-"], input=POLICY)
    try:
        status, found = check(three, "--network", "n-routed", "--timeout", "1")
    finally:
        node.must("remove", ["weft", "policy", "rm", "closed"])
    assert (status, found["problems"]) == (0, [])
    assert {(each["source"], each["target"]) for each in found["denied"]} >= {
        ("node-1", "node-2"),
        ("node-3", "node-1"),
    }
    assert "closed selects" in found["denied"][0]["reason"]


def test_two_checks_at_once(three: Lab) -> None:
    other = three.host("node-2").popen([*three.weft, "check", "--network", "n-overlay", "--timeout", "5", "-o", "json"])
    status, found = check(three, "--network", "n-overlay", "--timeout", "5")
    said, complaints = other.communicate(timeout=60)
    assert (status, found["ok"]) == (0, True)
    assert (other.returncode, complaints) == (0, "") and json.loads(said)["ok"]
    assert json.loads(said)["run"] != found["run"]
    assert left(three) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_half_way_it_removes_its_probes(three: Lab, number: signal.Signals) -> None:
    running = three.host("node-1").popen([*three.weft, "check"])
    until(lambda: left(three), 30, "probes are there")
    running.send_signal(number)
    running.communicate(timeout=60)
    assert running.returncode != 0
    assert left(three) == []


def test_killed_it_leaves_nothing_once_its_time_is_over(three: Lab) -> None:
    """An agent that starts anew removes them at once; and the others when nobody has asked for a while (their own test)."""
    running = three.host("node-1").popen([*three.weft, "check", "--nodes", "node-1"])
    until(lambda: left(three), 30, "probes are there")
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=60)
    three.agent("node-1").end(signal.SIGKILL)
    three.agent("node-1").start()
    three.agent("node-1").wait_ready()
    until(lambda: not left(three) or None, 30, "the probes are gone")


def test_what_cannot_be_tested_is_one_line(three: Lab) -> None:
    make_network(three, "bare", "none", hosts=HOSTS)
    try:
        status, found = check(three, "--network", "bare")
        assert (status, found["problems"]) == (1, [])
        told = {each["reason"] for each in found["networks"][0]["unplaced"]}
        assert told == {"driver none gives containers no addresses"}
    finally:
        client(three, "node-1").remove_network("bare")


# -- flows -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(three: Lab) -> tuple[Container, Container]:
    return attached(three, "node-1", "one", "n-vxlan"), attached(three, "node-2", "two", "n-vxlan")


def test_connections_are_shown_with_names_on_both_hosts_and_followed(
    three: Lab, pair: tuple[Container, Container]
) -> None:
    one, two = pair
    follower = three.host("node-1").popen([*three.weft, "flows", "-f", "--endpoint", "one", "-o", "json"])
    assert follower.stdout is not None
    try:
        with PeerServer(two.inside):

            def told() -> bool:
                """It may not follow yet."""
                assert seen_as(one.inside, two.address(4)) == one.address(4)
                return bool(select.select([follower.stdout], [], [], 0.1)[0])

            until(told, 30, "a connection is told of")
            line = follower.stdout.readline()
    finally:
        follower.terminate()
        follower.communicate(timeout=30)
    event = json.loads(line)
    assert (event["event"], event["source"]["name"], event["target"]["name"]) == ("new", "one", "two")
    done = weft(three, "node-1", "flows", "--all", "--endpoint", "one", "-o", "json")
    pages = {page["node"]: page for page in json.loads(done.stdout)}
    assert set(pages) == set(HOSTS)
    assert not pages["node-3"]["flows"]
    for node in ("node-1", "node-2"):
        found = [flow for flow in pages[node]["flows"] if flow["target"]["port"] == PeerServer.PORT]
        assert found, pages[node]
        assert (found[0]["source"]["node"], found[0]["target"]["node"]) == ("node-1", "node-2")


def test_what_policy_refuses_is_told_as_it_happens(three: Lab, pair: tuple[Container, Container]) -> None:
    one, two = pair
    node = three.host("node-2")
    shut = own_policy("{selector: all(), ingress: [{action: Log}, {action: Deny}]}", "shut")
    node.must("apply", ["weft", "policy", "apply", "-f", "-"], input=shut)
    follower = node.popen([*three.weft, "flows", "-f", "--dropped", "--endpoint", "two", "-o", "json"])
    assert follower.stdout is not None
    told: dict[str, dict[str, Any]] = {}
    try:

        def all_told() -> bool:
            one.inside.run(["ping", "-c1", "-W1", two.address(4)])
            while select.select([follower.stdout], [], [], 0.1)[0]:
                found = json.loads(follower.stdout.readline())
                told[found["event"]] = found
            return {"denied", "dropped"} <= told.keys()

        until(all_told, 40, lambda: f"it is told: {sorted(told)}")
    finally:
        follower.terminate()
        follower.communicate(timeout=30)
        node.must("remove", ["weft", "policy", "rm", "shut"])
    denied, dropped = told["denied"], told["dropped"]
    assert (denied["source"]["name"], denied["target"]["name"], denied["policy"]) == ("one", "two", "policy//shut")
    assert (dropped["reason"], dropped["what"], dropped["direction"]) == ("policy", "policy//shut rule 2", "ingress")
