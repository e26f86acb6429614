"""Network policy beside what else there is: ICMP, the hosts themselves, published ports, floating addresses, moves."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from support.cluster import settings
from support.policy_cases import Document, Rules, block, labels, peer, policy, port
from support.policy_facts import Facts
from support.policy_lab import Pods, Truth
from support.policy_own import own
from support.probing import COMMAND, Probers
from support.reach import OUTSIDE, UNDERLAY, client, converged, make_network, ping, weft
from support.waiting import until
from weft.lab import Lab, reference
from weft.lab.inside import Inside
from weft.model import PublishedPort

HOSTS = ("node-1", "node-2", "node-4")
PLACES = {"x/a": "node-1", "x/b": "node-2", "y/a": "node-1", "y/b": "node-4"}
NETWORKS = ("routed", "vxlan")
ECHO = {"ICMP": 8, "ICMPv6": 128}
FLOATING = {4: "198.51.100.7", 6: "2001:db8:f::7"}
EACH = pytest.mark.parametrize("network", NETWORKS)
A = labels(pod="a")
ALL = os.environ.get("WEFT_MATRIX") == "all"


BY_IPTABLES = (
    "test_icmp_and_kubernetes_policies",
    "test_what_is_logged",
    "test_rules_see_the_client_of_a_published_port",
    "test_a_moved_endpoint_takes_its_policy_along",
)
"""Tried with these rules as well."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    renderers = ["nftables", "iptables"] if metafunc.definition.name in BY_IPTABLES or ALL else ["nftables"]
    metafunc.parametrize("truth", renderers, indirect=True, scope="module")


@pytest.fixture(scope="module")
def truth(request: pytest.FixtureRequest, lab_base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    """Port 8000 of node-1 leads to port 80 of x/a in network vxlan, which answers there as in any pod."""
    topology = reference()
    topology = msgspec.structs.replace(topology, hosts=tuple(h for h in topology.hosts if h.name in HOSTS))
    probers = {network: Probers() for network in NETWORKS}
    try:
        command = settings(tmp_path_factory.mktemp(request.param), policy=request.param)
        with Lab.up(topology, name="policy", command=command) as lab:
            converged(lab, HOSTS)
            found = Truth(lab, HOSTS, {}, Facts(pods={pod: {"pod": pod[-1]} for pod in PLACES}))
            for number, network in enumerate(NETWORKS):
                subnets = f"10.{50 + number}.0.0/16", f"fd00:{50 + number}::/48"
                options = {"encap": "vxlan-cross-subnet"} if network == "routed" else {}
                make_network(lab, network, network, *subnets, hosts=HOSTS, **options)
                found.pods[network] = Pods(lab, network, dict(PLACES), probers[network])
                if network == "vxlan":
                    found.pods[network].published = {"x/a": (PublishedPort(host_port=8000, container_port=80),)}
                found.pods[network].start(found.facts.pods)
            found.begin()
            yield found
    finally:
        for each in probers.values():
            each.close()


def answers(source: Inside, address: str, number: int = 80) -> bool:
    """A prober there, by TCP."""
    script = f"exec 3<>/dev/tcp/{address}/{number} && head -c1 <&3"
    return source.run(["timeout", "1", "bash", "-c", script], timeout=20).stdout == "!"


def pings(truth: Truth, network: str, source: str, target: str) -> list[bool]:
    """By family."""
    pods = truth.pods[network]
    return [ping(pods.inside(source), pods.addresses[family][target], wait=1).ok for family in (4, 6)]


def reached(source: Inside, addresses: Mapping[int, str], number: int = 80) -> list[bool]:
    """By family."""
    return [answers(source, addresses[family], number) for family in (4, 6)]


def inbound(*rules: Document) -> Document:
    """A policy of our own, of x/a."""
    return own("one", selector="pod == 'a'", namespaceSelector="ns == 'x'", types=["Ingress"], ingress=list(rules))


def blocks(addresses: Mapping[int, str], length: int, *holes: int) -> Rules:
    return [block(address, length, *holes) for address in addresses.values()]


BOTH, NEITHER = [True, True], [False, False]

# ------------------------------------------------------------------------------------------------------------ ICMP


@EACH
def test_icmp(truth: Truth, network: str) -> None:
    """By type, from some; and neighbours find each other, whatever policy says."""
    pods, from_y = truth.pods[network], {"namespaceSelector": "ns == 'y'"}
    to_a = {family: known["x/a"] for family, known in pods.addresses.items()}

    def each(action: str, **said: Any) -> list[Document]:
        return [{"action": action, "protocol": protocol, **said} for protocol in ECHO]

    for pod in ("x/a", "y/a"):
        pods.inside(pod).run(["ip", "neigh", "flush", "all"])
    of_type = [{"action": "Allow", "protocol": p, "icmp": {"type": t}, "source": from_y} for p, t in ECHO.items()]
    truth.enforce(inbound(*of_type))
    assert [pings(truth, network, pod, "x/a") for pod in ("y/a", "y/b", "x/b")] == [BOTH, BOTH, NEITHER]
    assert reached(pods.inside("y/a"), to_a) == NEITHER
    truth.enforce(inbound(*({"action": "Allow", "protocol": p, "notICMP": {"type": t}} for p, t in ECHO.items())))
    assert pings(truth, network, "y/b", "x/a") == NEITHER
    truth.enforce(inbound(*each("Deny"), {"action": "Allow"}))
    assert pings(truth, network, "x/b", "x/a") == NEITHER
    assert pings(truth, network, "x/a", "x/b") == BOTH, "an answer is always let in"
    assert reached(pods.inside("y/b"), to_a) == BOTH


def test_icmp_and_kubernetes_policies(truth: Truth) -> None:
    """A rule with ports lets none through, one without them all."""
    truth.enforce(policy("some", "x", A, ingress=[{"ports": [port(80), port(81, "UDP")]}]))
    assert pings(truth, "vxlan", "y/b", "x/a") == NEITHER
    truth.enforce(policy("some", "x", A, ingress=[{"from": [peer(namespaces=labels(ns="y"))]}]))
    assert pings(truth, "vxlan", "y/b", "x/a") == BOTH
    assert pings(truth, "vxlan", "x/b", "x/a") == NEITHER


# ------------------------------------------------------------------------------------------------- hosts, and outside


@EACH
def test_the_own_host_is_always_let_in_and_others_are_as_anybody(truth: Truth, network: str) -> None:
    pods = truth.pods[network]
    to_a = {family: known["x/a"] for family, known in pods.addresses.items()}

    def reaching() -> dict[str, list[bool]]:
        return {host: reached(truth.lab.host(host), to_a) for host in HOSTS}

    alone = {"node-1": BOTH, "node-2": NEITHER, "node-4": NEITHER}
    truth.enforce(policy("closed", "x", A, ingress=[], egress=[]))
    assert reaching() == alone
    asked = [ping(pods.inside("x/a"), UNDERLAY["node-1"][family], wait=1).ok for family in (4, 6)]
    assert asked == BOTH, "and it lets its containers ask"
    if network == "routed":
        truth.enforce(inbound({"action": "Allow", "source": {"nodes": "rack == 'none'"}}))
        assert reaching() == alone
        truth.enforce(inbound({"action": "Allow", "source": {"nodes": "all()"}}))
        assert reaching() == dict.fromkeys(HOSTS, BOTH)
    else:
        leases = client(truth.lab, "node-1").network(network).leases
        firsts = [str(ip_network(s.network_address)) for held in leases if held.node == "node-2" for s in held.subnets]
        truth.enforce(inbound({"action": "Allow", "source": {"nets": firsts}}))
        assert reaching() == alone | {"node-2": BOTH}
    truth.enforce(inbound({"action": "Allow", "source": {"notSelector": "all()"}}))
    assert reaching() == dict.fromkeys(HOSTS, BOTH), "no host is an endpoint"


def test_rules_see_the_client_of_a_published_port(truth: Truth) -> None:
    """The address that it has, and the port of the container."""
    outside, public = truth.lab.host("outside"), UNDERLAY["node-1"]

    def allow(peers: Rules, number: int) -> None:
        truth.enforce(policy("one", "x", A, ingress=[{"from": peers, "ports": [port(number)]}]))

    allow(blocks(OUTSIDE, 32), 80)
    assert reached(outside, public, 8000) == BOTH
    assert reached(truth.lab.host("node-2"), public, 8000) == NEITHER
    allow(blocks(OUTSIDE, 24, 32), 80)
    assert reached(outside, public, 8000) == NEITHER
    allow(blocks(OUTSIDE, 32), 8000)
    assert reached(outside, public, 8000) == NEITHER, "which is the host's number"
    allow([peer(namespaces={})], 80)
    assert reached(outside, public, 8000) == NEITHER, "no address outside is a pod's"


@EACH
def test_the_way_out(truth: Truth, network: str) -> None:
    """By address; what answers is let in."""
    pods, outside = truth.pods[network], truth.lab.host("outside")
    with outside.popen(COMMAND, stdin=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None and "ready" in server.stdout.readline()
            truth.enforce(policy("one", "x", A, ingress=[], egress=[{"to": blocks(OUTSIDE, 24), "ports": [port(80)]}]))
            assert reached(pods.inside("x/a"), OUTSIDE) == BOTH
            assert reached(pods.inside("x/a"), OUTSIDE, 81) == NEITHER
            truth.enforce(policy("one", "x", A, egress=[{"to": blocks(OUTSIDE, 24, 32)}]))
            assert reached(pods.inside("x/a"), OUTSIDE) == NEITHER
            truth.enforce(policy("one", "x", A, egress=[{"to": [peer(namespaces={})]}]))
            assert reached(pods.inside("x/a"), OUTSIDE) == NEITHER
            assert reached(pods.inside("x/b"), OUTSIDE) == BOTH
        finally:
            server.kill()


def test_what_is_logged(truth: Truth) -> None:
    """Who to whom, by which rule, and what became of it; and nothing of what the rule does not fit."""
    pods = truth.pods["vxlan"]
    address = pods.addresses[4]["x/a"]
    said = {"protocol": "TCP", "source": {"namespaceSelector": "all()"}, "destination": {"ports": [81]}}
    truth.enforce(
        inbound({"action": "Log", **said}, {"action": "Allow", "protocol": "TCP", "destination": {"ports": [80]}})
    )
    assert answers(pods.inside("y/b"), address, 80)
    assert not answers(pods.inside("y/b"), address, 81)
    truth.enforce(inbound({"action": "Log", **said}, {"action": "Allow"}))
    assert answers(pods.inside("x/b"), address, 81)

    def entries() -> list[dict[str, Any]]:
        shown = weft(truth.lab, "node-1", "policy", "log", "-o", "json").stdout
        return [entry for entry in map(json.loads, shown.splitlines()) if entry["target"]["address"] == address]

    until(lambda: len({entry["source"]["name"] for entry in entries()}) == 2, 10, lambda: str(entries()))
    found = {(e["source"]["name"], e["port"], e["policy"], e["rule"], e["direction"], e["allowed"]) for e in entries()}
    denied = (pods.container("y/b"), 81, "policy//one", 1, "ingress", False)
    assert found == {denied, (pods.container("x/b"), 81, "policy//one", 1, "ingress", True)}


# ------------------------------------------------------------------------------------------- floating, and moved away


def test_a_floating_address(truth: Truth) -> None:
    """It was translated before rules are asked: they see the container's own address, and who called from here."""
    pods = truth.pods["routed"]
    done = weft(truth.lab, "node-1", "endpoint", "float", pods.container("x/a"), *FLOATING.values())
    assert done.returncode == 0, done.stderr
    near, from_ns = pods.inside("y/a"), {ns: [peer(namespaces=labels(ns=ns))] for ns in ("x", "y", "z")}
    truth.enforce(policy("one", "x", A, ingress=[{"from": from_ns["y"]}]))
    assert reached(near, FLOATING) == BOTH
    truth.enforce(policy("one", "x", A, ingress=[{"from": from_ns["z"]}]))
    assert reached(near, FLOATING) == NEITHER
    truth.enforce(policy("one", "y", A, egress=[{"to": from_ns["x"]}]))
    assert reached(near, FLOATING) == BOTH, "to x/a, by whatever address"
    truth.enforce(policy("one", "y", A, egress=[{"to": blocks(FLOATING, 32)}]))
    assert reached(near, FLOATING) == NEITHER
    done = weft(truth.lab, "node-1", "endpoint", "unfloat", pods.container("x/a"), *FLOATING.values())
    assert done.returncode == 0, done.stderr


def test_a_moved_endpoint_takes_its_policy_along(truth: Truth) -> None:
    """Both as the one that rules protect, and as one that they let in."""
    pods = truth.pods["routed"]
    truth.enforce(
        policy("one", "x", A, ingress=[{"from": [peer(labels(pod="b"), {})]}], egress=[{"ports": [port(80)]}])
    )

    def wrong() -> str:
        return "".join(picture for family in (4, 6) for picture in truth.compare(family, ["routed"]).values())

    for pod, host in (("x/a", "node-2"), ("y/b", "node-1"), ("x/a", "node-4")):
        pods.move(pod, host)
        until(lambda: not wrong(), 10, wrong)
