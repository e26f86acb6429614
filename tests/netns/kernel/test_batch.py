"""Many at once: failures traced to their objects, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from weft.hoststate import FdbEntry, Link, Neighbour, Object, Route, Veth, route
from weft.kernel.plumbing import netns as namespaces
from weft.reconcile.protocol import Create, Remove


def peers(count: int) -> tuple[list[Neighbour], list[FdbEntry], list[Route]]:
    """What a VXLAN network of so many other nodes asks for."""
    macs = [f"02:00:00:{i >> 16:02x}:{i >> 8 & 255:02x}:{i & 255:02x}" for i in range(count)]
    bases = [f"10.{1 + i // 256}.{i % 256}.0" for i in range(count)]
    return (
        [Neighbour(address=base, lladdr=mac, dev="weft.1") for base, mac in zip(bases, macs, strict=True)],
        [FdbEntry(lladdr=mac, dst=f"192.168.{i // 250}.{i % 250 + 1}", dev="weft.1") for i, mac in enumerate(macs)],
        [route(f"{base}/24", via=base, dev="weft.1", onlink=True) for base in bases],
    )


def test_failures_in_a_batch_are_traced_and_the_others_done(bench: Any, vtep: Link) -> None:
    bench.made(vtep)
    _, _, routes = peers(1000)
    taken = {0, 1, 499, 998, 999}
    for i in taken:
        bench.netns.run("ip", "route", "add", routes[i].prefix, "dev", "eth0")
    failures = bench.create(*routes)
    assert [failure.key for failure in failures] == [routes[i].key for i in sorted(taken)]
    assert bench.read().objects.keys() == {vtep.key} | {routes[i].key for i in range(1000) if i not in taken}


def test_every_message_of_a_large_batch_may_fail(bench: Any, vtep: Link) -> None:
    bench.made(vtep)
    neighbours, fdb, _ = peers(3000)
    assert bench.create(*neighbours, *fdb) == []
    failures = bench.create(*neighbours, *fdb)
    assert [failure.key for failure in failures] == [obj.key for obj in neighbours] + [obj.key for obj in fdb]


def test_all_at_once_and_away_again(bench: Any, vtep: Link) -> None:
    neighbours, fdb, routes = peers(500)
    objects: list[Object] = [vtep, *neighbours, *fdb, *routes]
    bench.made(*objects)
    assert bench.converged()
    assert bench.remove(*reversed(objects[1:])) == []
    assert bench.converged()
    assert bench.remove(*reversed(objects)) == []


def test_removing_with_the_device_gone_is_success(bench: Any, vtep: Link) -> None:
    neighbours, fdb, routes = peers(10)
    bench.made(vtep, *neighbours, *fdb, *routes)
    bench.netns.run("ip", "link", "del", "weft.1")
    assert bench.remove(*routes, *fdb, *neighbours, vtep) == []


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def lines(objects: Sequence[Object]) -> str:
    words = []
    for obj in objects:
        match obj:
            case Neighbour():
                words.append(f"neigh add {obj.address} lladdr {obj.lladdr} dev {obj.dev} nud permanent protocol 87")
            case FdbEntry():
                words.append(f"fdb add {obj.lladdr} dev {obj.dev} dst {obj.dst} self permanent")
            case Route():
                words.append(f"route add {obj.prefix} via {obj.via} dev {obj.dev} onlink proto 87")
    return "\n".join(words) + "\n"


@pytest.mark.serial
def test_ten_thousand_of_each(bench: Any, vtep: Link, capsys: pytest.CaptureFixture[str]) -> None:
    bench.made(vtep)
    kinds: list[tuple[str, Sequence[Object]]] = list(zip(("ip", "bridge", "ip"), peers(10_000), strict=True))
    report = []
    for tool, objects in kinds:
        theirs = seconds(lambda: bench.netns.run(tool, "-batch", "-", stdin=lines(objects)))  # noqa: B023
        assert bench.kernel.apply([Remove(obj) for obj in objects]) == []
        ours = seconds(lambda: bench.kernel.apply([Create(obj) for obj in objects]))  # noqa: B023
        report.append(f"{objects[0].kind:10} {ours:.3f} s, {tool} -batch {theirs:.3f} s: {ours / theirs:.2f}")
    bench.desired |= {obj.key: obj for _, objects in kinds for obj in objects}
    assert bench.converged()
    report.append(f"read       {seconds(bench.read):.3f} s")
    with capsys.disabled():
        print("\n" + "\n".join(report))  # noqa: T201


def test_a_namespace_that_has_gone(bench: Any, bridge: Link, pair: tuple[Link, Link], container: Any) -> None:
    inner_route = route("10.1.0.0/16", dev="eth0", ns=container.path)
    bench.made(bridge, *pair, inner_route)
    container.close()
    reading = bench.read("", inner_route.ns)
    assert reading.gone == {inner_route.ns}
    assert not [key for key in reading.objects if key[1] == inner_route.ns]
    assert bench.kernel.apply([Remove(inner_route), Remove(pair[1])]) == []
    failures = bench.kernel.apply([Create(inner_route)])
    assert "network namespace" in failures[0].reason  # the number of the closed file may be another one's by now


def test_more_namespaces_than_sockets_at_once(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.kernel.plumbing.spaces.MOST", 3)
    monkeypatch.setattr("weft.kernel.linux.MOST", 3)
    pairs: list[Object] = []
    for i in range(7):
        path = bench.netns.new().path
        pairs.append(Link(name=f"vh{i}", type=Veth("eth0", path)))
        pairs.append(Link(name="eth0", type=Veth(f"vh{i}", "", primary=False), ns=path))
        pairs.append(route("10.1.0.0/16", dev="eth0", ns=path))
    bench.made(*sorted(pairs, key=lambda obj: obj.kind))
    assert bench.converged(), bench.difference()
    assert bench.remove(*sorted(pairs, key=lambda obj: obj.kind, reverse=True)) == []
    assert bench.converged()


def test_no_socket_keeps_a_namespace_alive(bench: Any, bridge: Link, pair: tuple[Link, Link], container: Any) -> None:
    bench.made(bridge, *pair)
    assert bench.converged()
    watcher = bench.kernel.watch()
    container.close()
    try:
        deadline = time.monotonic() + 10
        while "vh1" in bench.netns.run("ip", "-br", "link"):
            assert time.monotonic() < deadline, "the container's veth outlives its namespace"
            namespaces.in_thread(lambda: None)
    finally:
        watcher.close()
