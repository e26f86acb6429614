"""Containers that come while the agent dies, and containers that go without a word."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_interface
from typing import Any

import pytest

from support.cluster import Cluster, cluster
from support.waiting import note, until
from weft.api import types as t
from weft.base.errors import NotFound, WeftError
from weft.model import Network

COUNT = 50


@pytest.fixture(scope="module", params=["etcd", "sqlite"])
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("attach"), store=request.param) as made:
        made.settled()
        made.network("vx")
        made.container("node-1", "first", "vx")  # alone: it is the first reply of its type to be decoded
        made.client("node-1").detach("first")
        made.sh("node-1", "ip netns del first")
        yield made


@pytest.fixture
def weft(reference: Cluster) -> Cluster:
    reference.mend()
    return reference


def veths(weft: Cluster) -> set[str]:
    links: list[dict[str, Any]] = json.loads(weft.sh("node-1", "ip -j -d link"))
    return {x["ifname"] for x in links if x and x.get("linkinfo", {}).get("info_kind") == "veth"} - {"eth0"}


def stands(weft: Cluster, endpoint: t.EndpointInfo) -> str:
    """What is wrong with an endpoint in the kernel; "" if nothing is."""
    shown: list[dict[str, Any]] = json.loads(weft.sh("node-1", f"ip -n {endpoint.container} -j addr show eth0"))
    if not shown:
        return f"{endpoint.name}: no eth0"
    found = {ip_interface(f"{a['local']}/{a['prefixlen']}") for a in shown[0]["addr_info"] if a["scope"] == "global"}
    if found != set(endpoint.addresses):
        return f"{endpoint.name}: {found} instead of {endpoint.addresses}"
    return "" if shown[0]["address"] == endpoint.mac else f"{endpoint.name}: MAC {shown[0]['address']}"


def check(weft: Cluster) -> list[t.EndpointInfo]:
    """Store and kernel tell the same; all that is attached on node-1."""
    endpoints = list(weft.client("node-1").endpoints(node="node-1"))
    assert [wrong for e in endpoints if (wrong := stands(weft, e))] == []
    assert veths(weft) == {e.host_interface for e in endpoints}
    addresses = [a.ip for e in endpoints for a in e.addresses]
    assert len(addresses) == len(set(addresses)) == 2 * len(endpoints)
    return endpoints


def test_killed_in_the_middle_of_many_attaches(weft: Cluster) -> None:
    names = [f"c{number}" for number in range(COUNT)]
    weft.sh("node-1", f"for n in {' '.join(names)}; do ip netns add $n; done")

    def attach(name: str) -> t.EndpointInfo | None:
        try:
            return weft.client("node-1").attach(t.Attach(target=name, network="vx"))
        except WeftError:
            return None

    answered = [attach(names[0])]
    with ThreadPoolExecutor(COUNT) as pool:
        running = [pool.submit(attach, name) for name in names[1:]]
        until(lambda: len(weft.client("node-2").endpoints(node="node-1")) > 1, 20, "some more to be in the store")
        weft.end("node-1")
        answered += [future.result() for future in running]
    weft.start("node-1")
    first = {e.name: e for e in answered if e is not None}
    assert 0 < len(first) < COUNT, "the agent was killed too late"
    weft.settled(["node-1"])
    after = {e.name: e for e in check(weft)}
    assert {name: after[name].addresses for name in first} == {name: e.addresses for name, e in first.items()}
    with ThreadPoolExecutor(10) as pool:
        again = {name: e for name, e in zip(names, pool.map(attach, names), strict=True) if e is not None}
    assert set(again) == set(names)
    assert {name: again[name].addresses for name in after} == {name: e.addresses for name, e in after.items()}
    assert len(check(weft)) == COUNT
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda name: weft.client("node-1").detach(name), names))
    assert check(weft) == []
    weft.sh("node-1", f"for n in {' '.join(names)}; do ip netns del $n; done")
    note(f"killed amid {COUNT} attaches: {len(first)} were answered, {len(after)} stood afterwards")


def test_killed_in_the_middle_of_many_detaches(weft: Cluster) -> None:
    names = [f"d{number}" for number in range(20)]
    weft.sh("node-1", f"for n in {' '.join(names)}; do ip netns add $n; done")
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda name: weft.client("node-1").attach(t.Attach(target=name, network="vx")), names))
    enough = threading.Semaphore(0)

    def detach(name: str) -> bool:
        try:
            return bool(weft.client("node-1").detach(name).what)
        except WeftError:
            return False
        finally:
            enough.release()

    with ThreadPoolExecutor(20) as pool:
        running = [pool.submit(detach, name) for name in names]
        assert enough.acquire(timeout=20)
        weft.end("node-1")
        gone = {name for name, future in zip(names, running, strict=True) if future.result()}
    weft.start("node-1")
    weft.settled(["node-1"])
    standing = {e.name for e in check(weft)}
    assert not standing & gone
    for name in names:
        if name in standing:
            weft.client("node-1").detach(name)
        else:
            with pytest.raises(NotFound):
                weft.client("node-1").detach(name)
    assert check(weft) == []
    weft.sh("node-1", f"for n in {' '.join(names)}; do ip netns del $n; done")


def test_gone_without_a_word(weft: Cluster) -> None:
    before = veths(weft)
    endpoint = weft.container("node-1", "brief", "vx")
    assert endpoint.host_interface in veths(weft)
    weft.sh("node-1", "ip netns del brief")
    took = until(lambda: weft.client("node-1").endpoints(node="node-1") == (), 5, "its endpoint to be cleaned up")
    assert veths(weft) == before
    weft.settled(["node-1"])
    weft.sh("node-1", "ip netns add other")
    wished = tuple(a.ip for a in endpoint.addresses)
    again = weft.client("node-1").attach(t.Attach(target="other", network="vx", addresses=wished))
    assert again.addresses == endpoint.addresses, "its addresses are free"
    check(weft)
    weft.client("node-1").detach("other")
    weft.sh("node-1", "ip netns del other")
    note(f"container gone: cleaned up after {took * 1000:.0f} ms")


def test_gone_while_the_agent_is_not_there(weft: Cluster) -> None:
    weft.container("node-1", "brief", "vx")
    weft.end("node-1")
    weft.sh("node-1", "ip netns del brief; ip netns add brief")
    weft.start("node-1")
    weft.settled(["node-1"])
    until(lambda: weft.client("node-1").endpoints(node="node-1") == (), 5, "its endpoint to be cleaned up")
    assert "eth0" not in weft.sh("node-1", "ip -n brief -o link"), "another container got the first one's interface"
    weft.sh("node-1", "ip netns del brief")
    check(weft)


def test_another_container_at_the_same_path(weft: Cluster) -> None:
    """The path is there all the time, so to speak; the namespace behind it is another."""
    first = weft.container("node-1", "again", "vx")
    weft.sh("node-1", "ip netns del again; ip netns add again")
    second = weft.client("node-1").attach(t.Attach(target="again", network="vx"))
    assert second.id != first.id
    until(lambda: [e.id for e in weft.client("node-1").endpoints(node="node-1")] == [second.id], 5, "the first to go")
    weft.settled(["node-1"])
    assert [e.id for e in check(weft)] == [second.id]
    weft.sh("node-1", "ip netns del again; ip netns add again")
    until(lambda: weft.client("node-1").endpoints(node="node-1") == (), 5, "the second to go")
    assert "eth0" not in weft.sh("node-1", "ip -n again -o link")
    weft.sh("node-1", "ip netns del again")


def test_all_containers_gone_at_once(weft: Cluster) -> None:
    names = [f"e{number}" for number in range(20)]
    weft.sh("node-1", f"for n in {' '.join(names)}; do ip netns add $n; done")
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda name: weft.client("node-1").attach(t.Attach(target=name, network="vx")), names))
    weft.sh("node-1", f"for n in {' '.join(names)}; do ip netns del $n; done")
    took = until(lambda: weft.client("node-1").endpoints(node="node-1") == (), 10, "their endpoints to be cleaned up")
    until(lambda: not veths(weft), 10, "their devices, which follow the store")
    assert check(weft) == []
    note(f"{len(names)} containers gone: cleaned up after {took:.2f} s")


def test_network_removed_by_force_while_the_agent_is_away(weft: Cluster) -> None:
    weft.client("node-1").create_network(
        Network(name="short", driver="bridge", subnets=(ip_interface("10.50.0.0/16").network,))
    )
    weft.container("node-1", "in-short", "short")
    weft.end("node-1")
    weft.client("node-2").remove_network("short", force=True)
    weft.start("node-1")
    until(lambda: veths(weft) == set(), 5, "its containers' interfaces to go")
    weft.settled(["node-1"])
    assert check(weft) == []
    assert "weft-short" not in weft.sh("node-1", "ip -o link")
    weft.sh("node-1", "ip netns del in-short")
