"""Without the store the data plane stays as it is, and is kept so; what changed meanwhile arrives when it is back."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from support.cluster import NODES, Cluster, cluster, populate
from support.snapshot import difference, snapshot
from support.traffic import Traffic
from support.waiting import note, until


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("store")) as made:
        populate(made)
        yield made


@pytest.fixture
def weft(reference: Cluster) -> Cluster:
    reference.mend()
    return reference


def lost(weft: Cluster, host: str) -> bool:
    return weft.status(host).store.state == "lost"


@pytest.mark.parametrize("seconds", [10, pytest.param(30, marks=pytest.mark.slow)])
def test_etcd_away(weft: Cluster, traffic: Callable[..., Traffic], seconds: float) -> None:
    etcd = weft.lab.need_etcd()
    before = {host: snapshot(weft.lab.host(host)) for host in NODES}
    writes = {host: weft.metric(host, "weft_kernel_writes_total") for host in NODES}
    with traffic(weft) as running:
        etcd.end(signal.SIGTERM)
        gone = time.monotonic()
        told = until(lambda: all(lost(weft, host) for host in NODES), 10, "status to say that the store is lost")
        for host in NODES:
            status = weft.status(host)
            assert status.state == "degraded"
            assert "192.168.1.1:2379" in status.store.reason
            assert "\n" not in status.store.reason
        _attaching_fails(weft)
        healed = _is_kept(weft)
        until(lambda: time.monotonic() > gone + seconds, seconds + 1, "the outage's end")
        etcd.start()
        etcd.wait_ready()
        back = until(lambda: not any(lost(weft, host) for host in NODES), 15, "the store to be back")
        weft.settled()
        running.flows()
        assert running.lost() == 0, running.losses()
        for host in NODES:
            assert difference(before[host], snapshot(weft.lab.host(host))) == "", host
            assert weft.metric(host, "weft_kernel_writes_total") == writes[host] + (host == "node-3")
    note(
        f"etcd away for {seconds} s: {running.retransmitted} segments resent, 0 of "
        f"{sum(x.sent for x in running.losses())} pings lost; told after {told:.1f} s, caught up {back:.1f} s after its "
        f"return; a route deleted meanwhile back after {healed * 1000:.0f} ms"
    )


def _attaching_fails(weft: Cluster) -> None:
    weft.sh("node-2", "ip netns add late")
    start = time.monotonic()
    status, said = weft.weft("node-2", "attach", "late", "--network", "vx")
    took = time.monotonic() - start
    weft.sh("node-2", "ip netns del late")
    assert status != 0
    assert len(said.strip().splitlines()) == 1, said
    assert said.startswith("weft: "), said
    assert "192.168.1.1:2379" in said, said
    assert took < 15, f"it took {took:.1f} s to refuse"
    note(f"attach without store, after {took:.1f} s: {said.strip()}")


def _is_kept(weft: Cluster) -> float:
    """What is deleted by hand comes back with or without store. On node-3, through which nothing runs."""
    before = snapshot(weft.lab.host("node-3"))
    weft.sh("node-3", "ip route del $(ip -4 route show proto 87 dev weft.1 | head -1) dev weft.1")
    return until(lambda: snapshot(weft.lab.host("node-3")) == before, 4, "a route to be back")


def test_changes_elsewhere_arrive(weft: Cluster, traffic: Callable[..., Traffic]) -> None:
    """node-1 alone cannot reach the store, without being told so: its packets vanish."""
    with traffic(weft) as running:
        weft.block("node-1")
        blocked = time.monotonic()
        weft.network("dr", NODES[1:])
        address = weft.container("node-2", "new", "vx").addresses[0].ip
        weft.container("node-2", "dr2", "dr")
        assert "dr" not in {n.name for n in weft.status("node-1").networks}
        until(lambda: lost(weft, "node-1"), 20, "node-1 to notice that nothing answers")
        told = time.monotonic() - blocked
        reason = weft.status("node-1").store.reason
        assert weft.inside("node-1/vx1").run(["ping", "-c1", "-W2", str(address)]).returncode == 0
        weft.unblock("node-1")
        back = until(lambda: "dr" in {n.name for n in weft.status("node-1").networks}, 20, "node-1 to catch up")
        weft.everywhere("dr")
        weft.container("node-1", "dr1", "dr")
        pair = weft.pair("node-1/dr1", "node-2/dr2")
        assert pair.source.run(["ping", "-c1", "-W2", pair.address]).returncode == 0
        running.flows()
        assert running.lost() == 0, running.losses()
    note(f"store blocked: noticed after {told:.1f} s ({reason}), changes there {back:.1f} s after the end")


def test_etcd_restarts_at_once(weft: Cluster, traffic: Callable[..., Traffic]) -> None:
    etcd = weft.lab.need_etcd()
    with traffic(weft, ("node-1/vx1", "node-2/vx2", 4)) as running:
        etcd.end(signal.SIGKILL)
        etcd.start()
        etcd.wait_ready()
        weft.settled()
        weft.container("node-4", "after", "hg")
        running.flows()
        assert running.lost() == 0
