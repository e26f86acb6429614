"""The agent under exactly what its systemd unit allows it, with every driver."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from support import unit
from support.cluster import PATIENCE, Cluster
from support.waiting import until
from weft.api import types as t
from weft.api.live import ProbeRequest, WatchRequest
from weft.datapaths.registry import DRIVERS
from weft.lab import Lab
from weft.lab.lab import WEFT
from weft.model import Bandwidth, Network
from weft.model.ports import parse as port

UNIT = Path(__file__).parents[2] / "packaging/systemd/weft-agent.service"
HOSTS = ("node-1", "node-2")
HERE = sorted(
    name for name, used in DRIVERS.items() if used.passed and not used.addresses.made_elsewhere and not used.targets
)
POLICY = {
    "apiVersion": "weft/v1",
    "kind": "Policy",
    "metadata": {"name": "ping", "namespace": ""},
    "spec": {"ingress": [{"action": "Allow", "protocol": "ICMP"}, {"action": "Allow", "protocol": "ICMPv6"}]},
}


@pytest.fixture(scope="module")
def confined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    settings = tmp_path_factory.mktemp("unit") / "weft.toml"
    settings.write_text('socket-group = "nogroup"\n')

    def command(host: str, url: str) -> list[str]:
        agent = [*WEFT, "agent", "run", "--config", str(settings), "--node", host, "--store", url, "--iface", "eth0"]
        return [sys.executable, unit.__file__, str(UNIT), "--", *agent]

    with Lab.up(name=f"unit-{os.getpid()}", command=command) as lab:
        yield Cluster(lab)


def test_every_driver_works_under_the_units_bounds(confined: Cluster) -> None:
    c = confined
    agent = c.lab.agent("node-1").process()
    assert agent
    status = Path(f"/proc/{agent.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    for number, driver in enumerate(HERE):
        subnets = ip_network(f"10.{80 + number}.0.0/16"), ip_network(f"fd{80 + number}::/48")
        c.client("node-1").create_network(Network(name=driver, driver=driver, subnets=subnets))
        for host in HOSTS:
            name = f"{driver}-{host[-1]}"
            c.sh(host, f"ip netns add {name}")
            until(lambda d=driver, h=host: d in [n.name for n in c.status(h).networks], PATIENCE, driver)  # type: ignore[misc]
            wish = t.Attach(
                target=name,
                network=driver,
                ports=(port(f"{8000 + number}:80"),),
                bandwidth=Bandwidth(ingress=100_000_000, egress=100_000_000),
            )
            c.client(host).attach(wish)
    c.client("node-1").apply_policies(t.ApplyPolicies(documents=(t.PolicySource(place="test", document=POLICY),)))
    c.settled(HOSTS)
    assert "nf_call_iptables 1" in c.sh("node-1", "ip -d link show type bridge")
    for driver in HERE:
        if driver == "bridge":  # of one host only
            continue
        for family in (4, 6):
            pair = c.pair(f"node-1/{driver}-1", f"node-2/{driver}-2", family)
            words = ["ping", "-c1", "-W1", pair.address]
            until(lambda p=pair, w=words: p.source.run(w).returncode == 0, PATIENCE, f"{driver}, IPv{family}")  # type: ignore[misc]


def test_its_speaker_is_started_again_and_ended_under_them(confined: Cluster) -> None:
    c = confined
    speaker = int(c.sh("node-1", "cat /run/weft/bird.pid"))
    c.sh("node-1", f"kill -9 {speaker}")
    until(lambda: (b := c.status("node-1").bgp) is not None and b.restarts == 1, PATIENCE, "BIRD is started again")
    for host in HOSTS:
        c.client(host).detach("routed-" + host[-1])
    c.client("node-1").remove_network("routed")
    until(lambda: not c.sh("node-1", "ls /run/weft | grep bird.pid || true"), PATIENCE, "BIRD has ended")
    c.settled(HOSTS)
    c.end("node-1", signal.SIGTERM)
    c.start("node-1")
    c.settled(HOSTS)


def test_a_packet_is_watched_under_the_units_bounds(confined: Cluster) -> None:
    """By tracepoints, and with the kernel's names of its functions."""
    c = confined
    c.sh("node-1", "ip netns add watched")
    until(lambda: "bridge" in [n.name for n in c.status("node-1").networks], PATIENCE, "bridge")
    found = c.client("node-1").attach(t.Attach(target="watched", network="bridge"))
    asked = WatchRequest(token="5e0d7a1c00ff1122", protocol="udp", namespaces=(found.namespace,))
    begun = c.client("node-1").start_watch(asked)
    try:
        gateway = next(str(ip) for ip in found.gateways if ip.version == 4)
        request = ProbeRequest(
            token=asked.token, namespace=found.namespace, target=gateway, protocol="udp", port=9, seconds=5
        )
        sent = c.client("node-1").send_probe(request)
    finally:
        seen = c.client("node-1").end_watch(begun.id)
    assert (sent.answer, seen.means, seen.unseen) == ("refused", ("tracepoints", "nftables"), ())
    assert [p.function for p in seen.packets if p.reason == "NO_SOCKET"] == ["__udp4_lib_rcv"]
