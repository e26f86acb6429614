"""Agents of this version and of the one before in one cluster: every driver does what it does otherwise, and hosts go from
one version to the other and back while packets pass."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path

import pytest

from support import previous
from support.cluster import NODES, PATIENCE, Cluster
from support.conformance import CHECKS, HERE, Case, Check, Line, build, clear
from support.policy_own import own
from support.reach import client
from support.traffic import Ping, Traffic
from support.waiting import until
from weft import __version__
from weft.api import services as s
from weft.api import types as t
from weft.lab import Lab
from weft.model import Network
from weft.model.ports import parse as port
from weft.services.model import parse_port

FORMER = {"node-2", "node-3"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return previous.source(tmp_path_factory.mktemp("previous"))


@pytest.fixture(scope="module")
def lab(lab_base: str, source: Path) -> Iterator[Lab]:
    """The reference lab, with agents of the version before on two of its nodes."""
    with Lab.up(name="mixed", command=previous.beside(source, FORMER)) as lab:
        yield lab


@pytest.fixture(scope="module", params=HERE, ids=lambda line: line.driver)
def case(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Case]:
    line: Line = request.param
    try:
        yield build(lab, line)
    finally:
        clear(lab)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(case: Case, check: Check) -> None:
    check(case)


def test_there_are_two_versions(lab: Lab, source: Path) -> None:
    for host in ("node-1", "node-2"):
        agent = lab.agent(host).process()
        assert agent
        environment = Path(f"/proc/{agent.pid}/environ").read_bytes()
        assert (f"PYTHONPATH={source}".encode() in environment) == (host in FORMER)
    assert client(lab, "node-1").status().version == __version__


# ---------------------------------------------------------------------------------------------------------- upgrading

PATHS = {
    "bridge": "node-1",
    "vxlan": "node-2",
    "host-gw": "node-2",
    "overlay": "node-2",
    "routed": "node-4",
    "mesh": "node-2",
}
"""Driver, and where its other container is, beside that on node-1."""


@pytest.fixture(scope="module")
def grown(lab_base: str, source: Path) -> Iterator[tuple[Cluster, set[str]]]:
    """A cluster on etcd that the version before has made, with containers, policy, a service and a published port."""
    former = set(NODES)
    with Lab.up(name="grown", store="etcd", command=previous.beside(source, former)) as lab:
        c = Cluster(lab)
        for number, (driver, host) in enumerate(PATHS.items()):
            options: dict[str, str | int | bool] = {"encap": "vxlan-cross-subnet"} if driver == "routed" else {}
            subnets = ip_network(f"10.{60 + number}.0.0/16"), ip_network(f"fd{60 + number}::/48")
            c.client("node-1").create_network(Network(name=driver, driver=driver, subnets=subnets, options=options))
            for at, name in (("node-1", f"{driver}-a"), (host, f"{driver}-b")):
                c.sh(at, f"ip netns add {name} && ip -n {name} link set lo up")
                until(lambda d=driver, h=at: d in [n.name for n in c.status(h).networks], PATIENCE, driver)  # type: ignore[misc]
                published = (port(f"{8100 + number}:80"),) if name.endswith("-a") else ()
                c.client(at).attach(t.Attach(target=name, network=driver, labels={"app": driver}, ports=published))
        rule = own("ping", ingress=[{"action": "Allow", "protocol": p} for p in ("ICMP", "ICMPv6", "TCP")])
        documents = (t.PolicySource(place="test", document=rule),)
        c.client("node-1").apply_policies(t.ApplyPolicies(documents=documents))
        front = s.CreateService(name="front", network="vxlan", ports=(parse_port("80"),), select="app=vxlan")
        c.client("node-1").create_service(front)
        c.settled(NODES)
        yield c, former


def _roll(c: Cluster, former: set[str], *, back: bool) -> None:
    """Each host's agent ends, and one of the other version begins; all stand before the next."""
    for host in NODES:
        c.end(host, signal.SIGTERM)
        (former.add if back else former.discard)(host)
        c.start(host)
        c.settled(NODES)


def test_hosts_go_to_this_version_and_back_while_packets_pass(grown: tuple[Cluster, set[str]], tmp_path: Path) -> None:
    c, former = grown
    pairs = [
        c.pair(f"node-1/{driver}-a", f"{host}/{driver}-b", family)
        for driver, host in PATHS.items()
        for family in ((4, 6) if driver in ("vxlan", "routed") else (4,))
    ]
    with ExitStack() as undo:
        pings = list[Ping]()
        for number, pair in enumerate(pairs):
            pings.append(Ping(pair, tmp_path / f"beside-{number}"))
            undo.callback(pings[-1].end)
        with Traffic(tmp_path, [p for p in pairs if "vxlan-a" in str(p)][:1]) as traffic:
            before = {host: _devices(c, host) for host in NODES}
            _roll(c, former, back=False)
            assert {c.status(host).version for host in NODES} == {__version__}
            assert {host: _devices(c, host) for host in NODES} == before
            assert [c.client(host).plan().commands for host in NODES] == [()] * len(NODES)
            _roll(c, former, back=True)
            assert {host: _devices(c, host) for host in NODES} == before
            traffic.flows()
            assert traffic.lost() == 0
        for ping in pings:
            number = ping.latest()
            until(lambda p=ping, n=number: p.answered_after(n), PATIENCE, str(ping.pair))  # type: ignore[misc]
    assert {str(p.pair): p.loss().lost for p in pings} == {str(p.pair): 0 for p in pings}


def _devices(c: Cluster, host: str) -> list[str]:
    """A device that was made anew has another ifindex."""
    return sorted(line.split(":")[0] + line.split(":")[1] for line in c.sh(host, "ip -o link").splitlines())
