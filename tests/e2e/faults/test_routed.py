"""Routed networks: whatever ends or is removed, no packet between running containers is lost, by BGP or by the tunnel."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from support.bgp import established, sessions
from support.cluster import NODES, Cluster, cluster
from support.reach import client
from support.snapshot import Snapshot, difference, snapshot
from support.traffic import Ping
from support.waiting import note, until
from weft.api import types as t
from weft.base.errors import Unavailable
from weft.lab.process import seen_from_outside
from weft.model import Network

TTL = 3.0
PATHS = (
    ("node-1/prod1", "node-2/prod2", 4),
    ("node-2/prod2", "node-1/prod1", 6),
    ("node-1/prod1", "node-4/prod4", 4),
    ("node-4/prod4", "node-1/prod1", 6),
)
"""On one segment, and through the tunnel."""
PROD = Network(
    name="prod",
    driver="routed",
    subnets=(ip_network("197.19.0.0/16"), ip_network("fd80:24e2:f998:72d6::/64")),
    options={"encap": "vxlan-cross-subnet"},
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("routed"), presence_ttl=TTL) as made:
        made.settled()
        client(made.lab, "node-1").create_network(PROD)
        client(made.lab, "node-1").set_bgp(t.SetBgp(hold_time=9))
        for number in (1, 2, 4):
            made.container(f"node-{number}", f"prod{number}", "prod")
        established(made.lab, NODES, 6)
        yield made


@pytest.fixture
def weft(reference: Cluster) -> Cluster:
    reference.mend()
    established(reference.lab, NODES, 6)
    return reference


class Flows:
    """A ping of 100 Hz along each of the paths."""

    def __init__(self, weft: Cluster, folder: Path) -> None:
        self._flows = [Ping(weft.pair(*path), folder / f"ping-{n}") for n, path in enumerate(PATHS)]

    def __enter__(self) -> Flows:
        self.run_on()
        return self

    def __exit__(self, *_: object) -> None:
        for flow in self._flows:
            flow.end()

    def run_on(self) -> None:
        numbers = [flow.latest() for flow in self._flows]
        until(lambda: all(f.answered_after(n) for f, n in zip(self._flows, numbers, strict=True)), 10, "answers")

    def nothing_lost(self, what: str) -> None:
        self.run_on()
        losses = [flow.loss() for flow in self._flows]
        note(f"{what}: {sum(x.lost for x in losses)} of {sum(x.sent for x in losses)} pings lost")
        assert not any(x.lost for x in losses), losses


def bird_of(weft: Cluster, host: str) -> int:
    """Its pid inside of the lab; 0 while it starts."""
    return int((weft.lab.host(host).own / "run-weft/bird.pid").read_text() or 0)


def kill_bird(weft: Cluster, host: str) -> None:
    seen_from_outside(weft.lab.init)[bird_of(weft, host)].signal(signal.SIGKILL)


def state(weft: Cluster) -> dict[str, Snapshot]:
    return {host: snapshot(weft.lab.host(host)) for host in NODES}


def recovering(weft: Cluster) -> list[str]:
    """Who has not yet told all, or not yet heard all, after a restart: another one in that time is one too many (RFC 4724,
    4.2: after consecutive restarts stale routes go)."""
    ask = "birdc -s /run/weft/bird.ctl show {} | grep -iE 'graceful restart.*(progress|active)' || true"
    return [
        f"{h}: {said}" for h in NODES for what in ("status", "protocols all") if (said := weft.sh(h, ask.format(what)))
    ]


def as_before(weft: Cluster, before: dict[str, Snapshot], host: str) -> float:
    """Waits until every kernel is as it was and all sessions of this host are up; the seconds it took."""

    def up() -> bool:
        found = weft.status(host).bgp
        held = sessions(weft.lab, host).values()
        return found is not None and not found.reason and {s.state for s in held} == {"Established"}

    took = until(up, 45, lambda: f"sessions: {sessions(weft.lab, host)}")
    took += until(lambda: not recovering(weft), 45, lambda: f"an end of graceful restart: {recovering(weft)}")
    return took + until(
        lambda: state(weft) == before,
        45,
        lambda: "\n".join(f"{h}: {difference(before[h], now)}" for h, now in state(weft).items()),
    )


@pytest.mark.parametrize("what", ["bird", "bird of the peer", "bird behind the router", "agent", "both", "restart"])
def test_nothing_is_lost_when_it_is_killed(weft: Cluster, tmp_path: Path, what: str) -> None:
    host = {"bird of the peer": "node-2", "bird behind the router": "node-4"}.get(what, "node-1")
    before, old = state(weft), bird_of(weft, host)
    with Flows(weft, tmp_path) as flows:
        if what in ("agent", "both"):
            weft.end(host)
        if what == "restart":
            weft.end(host, signal.SIGTERM)
        if what != "agent":
            kill_bird(weft, host)
        if weft.lab.agent(host).process() is None:
            weft.start(host)
        if what == "agent":
            assert bird_of(weft, host) == old, "the one that runs is taken over"
        else:
            until(lambda: bird_of(weft, host) not in (old, 0), 10, "another BIRD")
        took = as_before(weft, before, host)
        flows.nothing_lost(f"{what}, all as before after {took:.1f} s")


@pytest.mark.parametrize("lost", ["bird.ctl", "bird.pid"])
def test_nothing_is_lost_with_a_file_of_bird_and_there_is_never_a_second_one(
    weft: Cluster, tmp_path: Path, lost: str
) -> None:
    """Without its control socket nothing can be told to it: another one takes over. Without its pid file it is found."""
    before, old = state(weft), bird_of(weft, "node-1")
    with Flows(weft, tmp_path) as flows:
        (weft.lab.host("node-1").own / "run-weft" / lost).unlink()
        if lost == "bird.pid":
            weft.end("node-1", signal.SIGTERM)
            weft.start("node-1")
        else:
            with contextlib.suppress(Unavailable):  # who asks does not have to wait for the agent's own look
                sessions(weft.lab, "node-1")
        until(lambda: bird_of_or_none(weft, "node-1") not in (None, old if lost == "bird.ctl" else None), 20, "BIRD")
        took = as_before(weft, before, "node-1")
        flows.nothing_lost(f"without {lost}, all as before after {took:.1f} s")
    running = [p for p in weft.sh("node-1", "pgrep -x bird --ns $$ --nslist net || true").split() if p]
    assert running == [str(bird_of(weft, "node-1"))]
    assert (bird_of(weft, "node-1") == old) is (lost == "bird.pid")


def bird_of_or_none(weft: Cluster, host: str) -> int | None:
    try:
        return bird_of(weft, host) or None
    except FileNotFoundError:
        return None


def test_routes_of_bird_that_are_flushed_are_back_at_once(weft: Cluster, tmp_path: Path) -> None:
    """As systemd-networkd does when it starts again."""
    before = state(weft)
    weft.sh("node-1", "ip route flush proto bird; ip -6 route flush proto bird")
    took = until(lambda: state(weft) == before, 10, "BIRD's routes")
    note(f"BIRD's routes are back after {took:.1f} s")


def test_a_node_is_removed_and_comes_back(weft: Cluster, tmp_path: Path) -> None:
    weft.container("node-3", "prod3", "prod")
    (lone,) = weft.client("node-1").endpoints(node="node-3")
    held = {host: weft.subnets(host)["prod"] for host in NODES}
    others = [host for host in NODES if host != "node-3"]

    def ways(host: str) -> list[str]:
        lines = weft.sh(host, "ip route; ip -6 route").splitlines()
        return [line for line in lines if any(line.startswith(f"{block} ") for block in held["node-3"])]

    until(lambda: all(len(ways(host)) == 2 for host in others), 10, "ways to node-3's blocks")
    with Flows(weft, tmp_path) as flows:
        weft.end("node-3", signal.SIGTERM)
        until(lambda: not weft.client("node-1").node("node-3").alive, 3 * TTL + 5, "node-3 to count as dead")
        status, said = weft.weft("node-1", "node", "rm", "node-3")
        assert status == 0, said
        assert lone.id not in {e.id for e in weft.client("node-1").endpoints()}, "what was on it went with it"
        gone = until(lambda: not any(map(ways, others)), 5, lambda: f"no ways: {[ways(h) for h in others]}")
        assert {host: weft.subnets(host)["prod"] for host in others} == {host: held[host] for host in others}
        weft.start("node-3")
        weft.settled()
        established(weft.lab, NODES, 6, 60)
        # Its container runs, and nobody has taken the addresses meanwhile: the node brings it along.
        (back,) = weft.client("node-1").endpoints(node="node-3")
        assert back.addresses == lone.addresses
        pair = weft.pair("node-1/prod1", "node-3/prod3")
        until(lambda: pair.source.run(["ping", "-c1", "-W1", pair.address]).returncode == 0, 20, "an answer from there")
        flows.nothing_lost(f"node removed, ways to it gone after {gone:.2f} s")
    weft.client("node-3").detach("prod3")
    weft.sh("node-3", "ip netns del prod3")
    assert client(weft.lab, "node-1").check_ipam(t.CheckIpam()).faults == ()


def test_the_store_is_away(weft: Cluster, tmp_path: Path) -> None:
    etcd, before = weft.lab.need_etcd(), state(weft)
    with Flows(weft, tmp_path) as flows:
        etcd.end(signal.SIGTERM)
        gone = time.monotonic()
        until(lambda: all(weft.status(h).store.state == "lost" for h in NODES), 10, "the store to be missed")
        old = bird_of(weft, "node-2")
        kill_bird(weft, "node-2")
        until(lambda: bird_of(weft, "node-2") not in (old, 0), 10, "another BIRD, store or not")
        until(lambda: time.monotonic() > gone + 10, 11, "ten seconds")
        etcd.start()
        etcd.wait_ready()
        weft.settled()
        took = as_before(weft, before, "node-2")
        flows.nothing_lost(f"store away for 10 s and a BIRD killed meanwhile, all as before {took:.1f} s after")
