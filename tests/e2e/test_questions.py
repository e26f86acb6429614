"""Agents of separate hosts answer each other's questions through an etcd: what a trace needs, large answers, many at once, and
through whatever ends meanwhile. Nothing is left in the store."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import ip_address

import pytest

from support.cluster import NODES, Cluster, cluster
from support.waiting import until
from weft.api.dump import ALONE, HostDump
from weft.base.errors import NotFound, Unavailable, WeftError
from weft.lab.lab import WEFT
from weft.lab.process import Process

PRESENCE = 4.0
"""Seconds."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with cluster(tmp_path_factory.mktemp("questions"), presence_ttl=PRESENCE) as made:
        made.settled()
        made.network("vx")
        for node in (1, 2, 4):
            made.container(f"node-{node}", f"c{node}", "vx")
        made.settled()
        yield made


@pytest.fixture
def weft(reference: Cluster) -> Iterator[Cluster]:
    yield reference
    reference.mend()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(50) as found:
        yield found


def left(weft: Cluster) -> list[str]:
    """Keys of questions and answers in the store."""
    get = ["etcdctl", "get", "--prefix", "--keys-only", "/"]
    found = weft.lab.need_etcd().inside.run(["env", "ETCDCTL_API=3", *get], check=True, timeout=20).stdout.split()
    assert found, "etcd is empty"
    return [key for key in found if "questions" in key.split("/") or "answers" in key.split("/")]


def nothing_is_left(weft: Cluster, seconds: float = 20) -> None:
    until(lambda: not left(weft), seconds, lambda: f"the store to be rid of {left(weft)}")


def trace(weft: Cluster, host: str, *words: str) -> tuple[int, dict[str, object]]:
    done = weft.lab.host(host).run([*WEFT, "trace", *words, "-o", "json"], timeout=60)
    assert done.stderr == "", done.stderr
    return done.returncode, json.loads(done.stdout)


def asking(weft: Cluster, pool: ThreadPoolExecutor, patience: int) -> Future[HostDump]:
    """A question of node-1 to node-2, which lies in the store."""
    asked = pool.submit(weft.client("node-1", 60).at("node-2", patience).kernel, ALONE)
    until(lambda: any("questions" in key for key in left(weft)), 10, "the question to be in the store")
    return asked


def stop(process: Process | None) -> Process:
    """It keeps what it has, and answers nothing until SIGCONT."""
    assert process is not None and process.signal(signal.SIGSTOP)
    return process


@pytest.mark.parametrize(("origin", "target", "family"), [("c1", "c2", "4"), ("c4", "c1", "6")])
def test_a_trace_from_any_host(weft: Cluster, origin: str, target: str, family: str) -> None:
    found = {host: trace(weft, host, origin, target, "--family", family) for host in ("node-1", "node-3")}
    for status, said in found.values():
        assert status == 0 and said["notes"] == [], said
        for way in ("there", "back"):
            assert said[way]["outcome"]["ending"] == "delivered"  # type: ignore[index]
    assert found["node-1"] == found["node-3"]
    nothing_is_left(weft)


def test_what_cannot_be_asked(weft: Cluster) -> None:
    with pytest.raises(NotFound, match="no node node-9"):
        weft.client("node-1").at("node-9").status()
    with pytest.raises(NotFound, match=r"^node-2: no network red"):
        weft.client("node-1").at("node-2").plan("red")
    nothing_is_left(weft)


def test_a_large_answer(weft: Cluster) -> None:
    """Of more than one piece: routes to addresses of random numbers, which nothing compresses."""
    chance = random.Random(7)
    routes = {str(ip_address((0xFD << 120) + chance.getrandbits(64))) for _ in range(40_000)}
    batch = "\n".join(f"route add {address} dev lo table 77" for address in routes)
    weft.lab.host("node-2").run(["ip", "-6", "-batch", "-"], input=batch, check=True, timeout=120)
    try:
        dump = weft.client("node-1", 60).at("node-2", 50).kernel(ALONE)
    finally:
        weft.sh("node-2", "ip -6 route flush table 77")
    there = {r.prefix.partition("/")[0] for r in dump.namespaces[0].routes if r.table == 77}
    assert there == routes
    nothing_is_left(weft)


def test_doctor_and_support_of_all_hosts(weft: Cluster) -> None:
    """With a token in a rule's comment, and a password in the settings."""
    status, said = weft.weft("node-3", "doctor", "--all", "-o", "json")
    assert status == 0 and {f["host"] for f in json.loads(said)} == set(NODES)
    rule = 'add table inet theirs { comment \\"token=planted-token\\"; }'
    settings = "store = 'etcds://weft:planted-word@h1:2379/weft'"
    weft.sh("node-3", f'nft "{rule}" && echo "{settings}" > /run/weft/other.toml')
    try:
        status, said = weft.weft(
            "node-3", "support", "--all", "-o", "/run/weft/s.tar.gz", "--config", "/run/weft/other.toml"
        )
        assert status == 0, said
        octets = weft.sh("node-3", "stat -c %a /run/weft/s.tar.gz; zcat /run/weft/s.tar.gz | tr -d '\\0'")
        again = weft.weft("node-3", "support", "-o", "/run/weft/s.tar.gz")
    finally:
        weft.sh("node-3", "nft delete table inet theirs; rm -f /run/weft/s.tar.gz /run/weft/other.toml")
    assert octets.startswith("600\n") and "planted-word" not in octets and "planted-token" not in octets
    assert "table inet theirs" in octets and "etcds://(removed)@h1:2379/weft" in octets
    assert all(f"nodes/{node}/kernel.json" in octets for node in NODES)
    assert again[0] == 1 and "exists and is left as it is" in again[1]
    nothing_is_left(weft)


def test_fifty_at_once(weft: Cluster, pool: ThreadPoolExecutor) -> None:
    node, client = "node-2", weft.client("node-1", 60)
    dumps = list(pool.map(lambda _: client.at(node, 50).kernel(ALONE), range(50)))
    assert {dump.node for dump in dumps} == {node}
    nothing_is_left(weft)


def test_a_dead_host_is_one_end_of_the_way(weft: Cluster) -> None:
    weft.end("node-2")
    until(lambda: not weft.client("node-1").node("node-2").alive, 30, "node-2 to be missed")
    status, found = trace(weft, "node-3", "c1", "c2")
    assert status == 3  # it is not known
    [note] = found["notes"]  # type: ignore[misc]
    assert note.startswith("node-2 is not seen: node-2 cannot be asked: no agent runs there")
    assert "continues on node-2" in found["there"]["outcome"]["text"]  # type: ignore[index]
    assert trace(weft, "node-3", "c1", "c4")[0] == 0
    nothing_is_left(weft)


def test_an_agent_that_is_killed_while_it_is_asked(weft: Cluster, pool: ThreadPoolExecutor) -> None:
    stop(weft.lab.agent("node-2").process())
    asked = asking(weft, pool, 55)
    weft.end("node-2")
    with pytest.raises(Unavailable, match="node-2 cannot be asked: no agent runs there"):
        asked.result(50)
    nothing_is_left(weft)


def test_an_asker_that_is_killed(weft: Cluster, pool: ThreadPoolExecutor) -> None:
    """The question's lease ends by itself, and the one that was asked writes nothing after that."""
    stopped = stop(weft.lab.agent("node-2").process())
    asked = asking(weft, pool, 1)
    weft.end("node-1")
    with pytest.raises(WeftError):
        asked.result(50)
    nothing_is_left(weft, 30)
    stopped.signal(signal.SIGCONT)
    weft.settled(("node-2", "node-3", "node-4"))
    assert left(weft) == []


def test_etcd_pauses(weft: Cluster, pool: ThreadPoolExecutor) -> None:
    etcd = stop(weft.lab.need_etcd().process())
    try:
        with pytest.raises(Unavailable):
            weft.client("node-1").at("node-2", 1).status()
        patient = pool.submit(weft.client("node-1", 60).at("node-2", 50).status)
        threading.Event().wait(1)  # the question is on its way meanwhile, or waits for the store
    finally:
        etcd.signal(signal.SIGCONT)
    try:
        assert patient.result(60).node == "node-2"
    except Unavailable as error:  # the store was known to be away already when it was asked
        assert "etcd" in str(error)
    weft.settled(NODES)
    assert weft.client("node-1").at("node-2").status().node == "node-2"
    nothing_is_left(weft)
