"""Without the store the data plane stays as it is, and is kept so; what changed meanwhile arrives when it is back."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

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


def etcdctl(weft: Cluster, script: str) -> None:
    weft.lab.host("router").run(["bash", "-c", f"export ETCDCTL_API=3; {script}"], check=True, timeout=60)


def test_an_emptied_etcd_takes_nothing_down_and_is_restored(weft: Cluster, traffic: Callable[..., Traffic]) -> None:
    """Its data directory is lost. Nobody believes it, until one host is told to write all back."""
    etcd = weft.lab.need_etcd()
    before = {host: snapshot(weft.lab.host(host)) for host in NODES}
    names = {e.name for e in weft.client("node-1").endpoints()}
    with traffic(weft) as running:
        etcd.end(signal.SIGTERM)
        etcdctl(weft, f"rm -r {data(weft)}")
        etcd.start()
        etcd.wait_ready()
        until(lambda: all(weft.status(h).store.state == "refused" for h in NODES), 20, "all to refuse it")
        status, said = weft.weft("node-2", "status")
        assert status == 1 and "it has lost its data" in said, said
        assert weft.weft("node-2", "attach", "hg2", "--network", "vx")[0] == 1
        running.flows()
        for host in NODES:
            assert difference(before[host], snapshot(weft.lab.host(host))) == "", host
        status, said = weft.weft("node-3", "store", "restore")
        assert status == 0, said
        weft.settled()
        until(lambda: {e.name for e in weft.client("node-1").endpoints()} == names, 20, "all endpoints to be back")
        until(lambda: not any(weft.status(h).store.kept for h in NODES), 20, "nothing to be missing")
        assert weft.weft("node-1", "ipam", "check")[0] == 0
        weft.container("node-3", "after-all", "vx")
        running.flows()
        assert running.lost() == 0, running.losses()
    for host in ("node-1", "node-2", "node-4"):
        assert difference(before[host], snapshot(weft.lab.host(host))) == "", host


def test_an_etcd_restored_from_a_backup_costs_nothing_that_runs(
    weft: Cluster, traffic: Callable[..., Traffic], tmp_path: Path
) -> None:
    """node-1 is cut off meanwhile, and others write on: revisions alone tell it nothing."""
    etcd = weft.lab.need_etcd()
    etcdctl(weft, f"etcdctl snapshot save {tmp_path}/backup")
    new = weft.container("node-1", "newer", "vx").addresses[0].ip
    with traffic(weft) as running:
        before = snapshot(weft.lab.host("node-1"))
        weft.block("node-1")
        etcd.end(signal.SIGTERM)
        etcdctl(
            weft,
            f"rm -r {data(weft)}; etcdctl snapshot restore {tmp_path}/backup --name default --data-dir {data(weft)}"
            " --initial-cluster default=http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380",
        )
        etcd.start()
        etcd.wait_ready()
        weft.settled(NODES[1:])
        for number in range(8):
            weft.container("node-2", f"more{number}", "hg")
        weft.unblock("node-1")
        until(lambda: not lost(weft, "node-1"), 20, "node-1 to reach the store again")
        weft.settled()
        until(
            lambda: "newer" in {e.name for e in weft.client("node-2").endpoints()},
            20,
            "its endpoint to be written back",
        )
        assert weft.inside("node-2/vx2").run(["ping", "-c1", "-W2", str(new)]).returncode == 0
        running.flows()
        assert running.lost() == 0, running.losses()
    assert difference(before, snapshot(weft.lab.host("node-1"))) == ""
    assert "put back to an earlier state" in weft.lab.agent("node-1").log.read_text()
    assert weft.weft("node-1", "ipam", "check")[0] == 0


def data(weft: Cluster) -> str:
    """etcd's data directory."""
    return next(word.partition("=")[2] for word in weft.lab.need_etcd().argv if word.startswith("--data-dir="))
