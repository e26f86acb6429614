"""What is told of policy is what packets meet: verdicts, counters and the log, with nftables, with iptables, and in an
overlay's own namespace."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import pytest

from support.cluster import Cluster, settings
from support.policies import network_policy, own_policy
from support.waiting import until
from weft.api import observed as o
from weft.api import types as t
from weft.base.net import parse_network
from weft.client.connection import ask
from weft.documents.text import documents
from weft.lab import Lab, reference
from weft.model import Network

HOSTS = ("node-1", "node-2")
SUBNETS = {"vxlan": ("10.61.0.0/16", "fd61::/48"), "overlay": ("10.62.0.0/16", "fd62::/48")}
WEB = network_policy(
    "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], "
    "ports: [{port: 80}]}]}",
    namespace="default",
)
AUDIT = own_policy("{selector: \"app == 'web'\", order: 1, ingress: [{action: Log}]}", "audit")
ALLOWS = "networkpolicy/default/web"
PLACES = (("node-1", "vxlan"), ("node-1", "overlay"), ("node-2", "vxlan"))
"""Where a container `web` is asked: with nftables, in an overlay's own namespace, with iptables."""
EACH = pytest.mark.parametrize(("host", "network"), PLACES, ids=lambda x: x)


@pytest.fixture(scope="module")
def hosts(lab_base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Containers of each network: web-HOST-NETWORK on each of the places, client-NETWORK on node-1."""
    topology = reference()
    topology = msgspec.structs.replace(topology, hosts=tuple(h for h in topology.hosts if h.name in HOSTS))
    means = {host: tmp_path_factory.mktemp(host) for host in HOSTS}
    starts = {
        host: settings(folder, policy="nftables" if host == "node-1" else "iptables") for host, folder in means.items()
    }
    with Lab.up(topology, name="observed", agents=False, command=lambda host, url: starts[host](host, url)) as lab:
        found = Cluster(lab)
        for host in HOSTS:
            found.start(host)
        found.settled(HOSTS)
        for driver, subnets in SUBNETS.items():
            network = Network(name=driver, driver=driver, subnets=tuple(map(parse_network, subnets)))
            found.client("node-1").create_network(network)
            attach(found, "node-1", f"client-{driver}", driver, "client")
        for host, network in PLACES:
            until(
                lambda host=host, network=network: network in {n.name for n in found.client(host).networks()},
                10,
                network,
            )  # type: ignore[misc]
            attach(found, host, f"web-{host}-{network}", network, "web")
        sources = tuple(
            t.PolicySource(place=d.place, document=d.value) for x in (WEB, AUDIT) for d in documents(x, "f") if d.value
        )
        found.client("node-1").apply_policies(t.ApplyPolicies(documents=sources))
        found.settled(HOSTS)
        yield found


def attach(hosts: Cluster, host: str, name: str, network: str, app: str) -> None:
    hosts.sh(host, f"ip netns add {name} && ip -n {name} link set lo up")
    hosts.client(host).attach(t.Attach(target=name, network=network, labels={"app": app}))


def knock(hosts: Cluster, host: str, network: str, port: int) -> bool:
    """Whether the client's packet reaches web: nobody listens there, so it is refused at once."""
    address = hosts.client(host).endpoint(f"web-{host}-{network}").addresses[0].ip
    script = f"timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/{port}' 2>&1; true"
    return "refused" in hosts.sh("node-1", f"ip netns exec client-{network} {script}")


def logged(hosts: Cluster, host: str, network: str) -> list[o.LogEntry]:
    return [e for e in hosts.client(host).policy_log().entries if e.target.name == f"web-{host}-{network}"]


@EACH
def test_verdicts_are_those_of_packets_and_are_in_force(hosts: Cluster, host: str, network: str) -> None:
    for port, passes in ((80, True), (81, False)):
        until(lambda port=port, passes=passes: knock(hosts, host, network, port) is passes, 10, f"port {port}")  # type: ignore[misc]
        told = hosts.client(host).explain(f"client-{network}", f"web-{host}-{network}", "tcp", str(port))
        ingress = told.sides[1]
        assert (told.allowed, ingress.enforced, ingress.faults) == (passes, True, ())
        assert re.fullmatch(r"rule \d+ of chain (WEFT-)?pi-[0-9a-f]{16}.*", ingress.rules)


@EACH
def test_packets_are_logged_with_names_and_outcome(hosts: Cluster, host: str, network: str) -> None:
    until(lambda: knock(hosts, host, network, 80), 10, "port 80 to be open")

    def told() -> bool:
        """The agent listens as soon as a rule logs, which may be after the first packet."""
        assert not knock(hosts, host, network, 81)
        return knock(hosts, host, network, 80) and {80, 81} <= {e.port for e in logged(hosts, host, network)}

    until(told, 10, "both packets to be told of")
    for entry in logged(hosts, host, network):
        assert (entry.source.name, entry.source.node) == (f"client-{network}", "node-1")
        assert (entry.policy, entry.rule, entry.direction) == ("policy//audit", 1, "ingress")
        assert (entry.protocol, entry.allowed) == ("tcp", entry.port == 80)


@EACH
def test_rules_count_what_they_fit(hosts: Cluster, host: str, network: str) -> None:
    until(lambda: knock(hosts, host, network, 80), 10, "port 80 to be open")
    before = counted(hosts, host)
    for port in (80, 80, 81):
        knock(hosts, host, network, port)
    after = counted(hosts, host)
    assert after[ALLOWS, "allow"] == before[ALLOWS, "allow"] + 2
    assert after["", "deny"] > before["", "deny"]
    answer = ask(str(hosts.lab.host(host).socket), 10, "GET", "/metrics", None).body.decode()
    found = re.search(
        r'^weft_policy_drops_total\{direction="ingress",policy="several",tier="default"\} (\S+)$', answer, re.M
    )
    assert found and float(found[1]) == after["", "deny"]


def counted(hosts: Cluster, host: str) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for rule in hosts.client(host).policy_counters().rules:
        found[rule.policy, rule.action] = found.get((rule.policy, rule.action), 0) + rule.packets
    return found


def test_the_command_asks_each_host_about_its_end(hosts: Cluster) -> None:
    status, said = hosts.weft("node-1", "policy", "explain", "client-vxlan", "web-node-2-vxlan", "--port", "81")
    assert status == 1
    assert said.startswith(f"denied: policy//audit, {ALLOWS} select web-node-2-vxlan for ingress, and no rule fits")
    assert "in force on node-1: no rule is asked" in said
    assert re.search(r"in force on node-2: rule \d+ of chain (WEFT-)?pi-", said)
    status, said = hosts.weft("node-1", "policy", "explain", "client-vxlan", "web-node-1-vxlan", "--port", "80")
    assert (status, said.partition("\n")[0]) == (0, f"allowed: rule 1 of {ALLOWS} (ingress)")


@pytest.mark.parametrize("host", HOSTS)
def test_what_a_host_has_lost_is_told(hosts: Cluster, host: str) -> None:
    """By an agent that is kept from putting it back."""
    flush = (
        "nft flush chain inet weft policies"
        if host == "node-1"
        else "iptables-nft -F WEFT-POLICY || iptables -F WEFT-POLICY"
    )
    lost: list[str] = []

    def told() -> bool:
        hosts.sh(host, f"{flush}; true")
        side = hosts.client(host).explain("client-vxlan", f"web-{host}-vxlan", "tcp", "80").sides[1]
        lost.extend(side.faults)
        return side.enforced is False

    until(told, 20, "an answer between two repairs")
    assert any("missing, or not as it should be" in fault for fault in lost)
