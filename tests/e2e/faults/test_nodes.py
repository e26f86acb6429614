"""Nodes that die, are removed, come back; nodes that only seem dead."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from support.cluster import NODES, Cluster, cluster, populate
from support.snapshot import difference, snapshot
from support.traffic import Traffic
from support.waiting import note, until

TTL = 3.0


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("nodes"), presence_ttl=TTL) as made:
        populate(made)
        yield made


@pytest.fixture
def weft(reference: Cluster) -> Cluster:
    reference.mend()
    return reference


def entries(weft: Cluster, host: str, node: str, subnets: dict[str, tuple[str, ...]]) -> list[str]:
    """What the kernel of `host` has for the way to `node`, which held these subnets."""
    address = {"node-1": "192.168.1.68", "node-2": "192.168.1.254", "node-3": "192.168.1.245", "node-4": "192.168.0.33"}
    words = {prefix.partition("/")[0] for held in subnets.values() for prefix in held} | {f"dst {address[node]} "}
    lines = weft.sh(host, "ip route; ip -6 route; ip neigh show nud permanent; bridge fdb show dev weft.1").splitlines()
    return [line for line in lines if any(f"{word}/" in line or f"{word} " in f"{line} " for word in words)]


def test_a_dead_nodes_routes_are_withdrawn_and_return(weft: Cluster, traffic: Callable[..., Traffic]) -> None:
    held = dict(weft.subnets("node-3"))
    macs = weft.sh("node-3", "cat /sys/class/net/weft.1/address /sys/class/net/weft-vx/address")
    before = {host: snapshot(weft.lab.host(host)) for host in NODES}
    with traffic(weft) as running:
        weft.off("node-3")
        others = ("node-1", "node-2", "node-4")
        assert all(entries(weft, host, "node-3", held) for host in others)
        gone = until(
            lambda: not any(entries(weft, host, "node-3", held) for host in others),
            3 * TTL + 5,
            lambda: f"routes to be withdrawn: {entries(weft, 'node-1', 'node-3', held)}",
        )
        assert gone > 0.5 * TTL
        node = weft.client("node-1").node("node-3")
        assert not node.alive and node.withdrawn
        assert "left 3 probes of 192.168.1.245 and fd00:192:168:1::245 in a row unanswered" in node.evidence
        assert "its routes are withdrawn" in " ".join(weft.weft("node-1", "node", "show", "node-3")[1].split())
        assert dict(weft.subnets("node-3")) == held, "its subnets stay its own"
        weft.unblock("node-3")
        weft.start("node-3")
        weft.settled()
        back = until(lambda: all(snapshot(weft.lab.host(h)) == before[h] for h in NODES), 10, "all of before")
        assert weft.sh("node-3", "cat /sys/class/net/weft.1/address /sys/class/net/weft-vx/address") == macs
        assert dict(weft.subnets("node-3")) == held
        running.flows()
        assert running.lost() == 0, running.losses()
    note(f"dead node (TTL {TTL:g} s): withdrawn after {gone:.1f} s; back {back:.2f} s after its agent was ready")


@pytest.mark.parametrize("how", ["without the store", "without its agent"])
def test_a_silent_node_that_its_peers_reach_keeps_its_traffic(
    weft: Cluster, traffic: Callable[..., Traffic], how: str
) -> None:
    """Its presence ends; its packets go on, and its peers say why they believe in it."""
    before = {host: snapshot(weft.lab.host(host)) for host in NODES}
    with traffic(weft, ("node-1/vx1", "node-4/vx4", 4), ("node-4/vx4", "node-1/vx1", 6)) as running:
        if how == "without the store":
            weft.block("node-4")
        else:
            weft.end("node-4")

        def evidence() -> str:
            return weft.client("node-1").node("node-4").evidence

        until(lambda: "but 192.168.0.33 answers: its routes are kept" in evidence(), 3 * TTL + 10, evidence)
        assert [p.withdrawn for p in weft.status("node-2").peers] == [False] * 3
        for host in ("node-1", "node-2", "node-3"):
            assert difference(before[host], snapshot(weft.lab.host(host))) == "", host
        running.flows()
        weft.unblock("node-4")
        weft.lab.agent("node-4").start()
        until(lambda: evidence() == "", 20, "it to be heard of again")
        weft.settled()
        running.flows()
        assert running.lost() == 0, running.losses()


def test_nobody_dies_of_a_store_that_stood_still(weft: Cluster, traffic: Callable[..., Traffic]) -> None:
    """etcd is stopped for longer than a presence lasts, and continued: all presences end at once."""
    etcd = weft.lab.need_etcd().process()
    assert etcd is not None
    writes = {host: weft.metric(host, "weft_kernel_writes_total") for host in NODES}
    with traffic(weft) as running:
        etcd.signal(signal.SIGSTOP)
        try:
            running.flows()
            stopped = time.monotonic()
            until(lambda: time.monotonic() > stopped + 2 * TTL, 3 * TTL, "the end of this time")
        finally:
            etcd.signal(signal.SIGCONT)
        until(lambda: all(p.alive for host in NODES for p in weft.status(host).peers), 20, "all to be heard of again")
        weft.settled()
        running.flows()
        assert running.lost() == 0, running.losses()
    assert {host: weft.metric(host, "weft_kernel_writes_total") for host in NODES} == writes


def test_removing_a_node(weft: Cluster, traffic: Callable[..., Traffic]) -> None:
    held = dict(weft.subnets("node-3"))
    status, said = weft.weft("node-1", "node", "rm", "node-3")
    assert status != 0
    assert said.strip() == (
        "weft: node-3's agent is running: stop it and `weft agent purge` there, or use --force if the host is gone for good"
    )
    with traffic(weft) as running:
        weft.end("node-3", signal.SIGTERM)
        until(lambda: not weft.client("node-1").node("node-3").alive, 3 * TTL + 5, "node-3 to count as dead")
        status, said = weft.weft("node-1", "node", "rm", "node-3")
        assert status == 0, said
        others = ("node-1", "node-2", "node-4")
        gone = until(lambda: not any(entries(weft, h, "node-3", held) for h in others), 5, "its routes to be gone")
        assert "node-3" not in {node.name for node in weft.client("node-2").nodes()}
        for network, subnets in held.items():
            leases = weft.client("node-2").network(network).leases
            assert not {str(s) for lease in leases for s in lease.subnets} & set(subnets)
        weft.start("node-3")
        weft.settled()
        weft.everywhere("vx")
        again = dict(weft.subnets("node-3"))
        assert set(again) == set(held)
        weft.container("node-3", "vx3", "vx")
        pair = weft.pair("node-1/vx1", "node-3/vx3")
        until(
            lambda: pair.source.run(["ping", "-c1", "-W1", pair.address]).returncode == 0, 10, "the new node to answer"
        )
        running.flows()
        assert running.lost() == 0, running.losses()
    note(f"node rm: routes gone on all {gone * 1000:.0f} ms after it returned")


def test_force_removes_a_living_node_which_registers_again(weft: Cluster) -> None:
    status, said = weft.weft("node-1", "node", "rm", "node-4", "--force")
    assert status == 0, said
    until(
        lambda: "node-4" in {node.name for node in weft.client("node-1").nodes() if node.alive},
        3 * TTL + 10,
        "node-4 to register again",
    )
    weft.everywhere("vx")


def test_routes_stay_if_they_are_not_to_be_withdrawn(tmp_path_factory: pytest.TempPathFactory) -> None:
    with cluster(tmp_path_factory.mktemp("stay"), presence_ttl=2.0, withdraw=False) as weft:
        weft.network("vx")
        held = dict(weft.subnets("node-3"))
        before = snapshot(weft.lab.host("node-1"))
        weft.off("node-3")
        until(lambda: not weft.client("node-1").node("node-3").alive, 15, "node-3 to fall silent")
        until(lambda: "withdraw is off" in weft.client("node-1").node("node-3").evidence, 5, "that to be said")
        weft.settled(["node-1"])
        assert difference(before, snapshot(weft.lab.host("node-1"))) == ""
        assert entries(weft, "node-1", "node-3", held)
        assert dict(weft.subnets("node-3")) == held
