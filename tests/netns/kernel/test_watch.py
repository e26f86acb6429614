"""Kernel events, as the agent gets them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.ear import Ear
from support.namespaces import Namespace
from weft.hoststate import Address, FdbEntry, Key, Link, Neighbour, NftChain, Object, route
from weft.hoststate.firewall import INET
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import ACCEPT
from weft.kernel.kinds import nft_wire
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing.nfnl import Nftables
from weft.kernel.watch import LinuxWatcher
from weft.reconcile.protocol import Disturbed, Event, Gone, Remove, Seen, UplinkChanged

MAC = "02:00:00:00:00:02"
NEIGHBOUR = Neighbour(address="10.1.2.0", lladdr=MAC, dev="weft.1")
FDB = FdbEntry(lladdr=MAC, dst="192.168.1.254", dev="weft.1")
ROUTE = route("10.1.2.0/24", via="10.1.2.0", dev="weft.1", onlink=True)
FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""linux/proc_ns.h: PROC_PID_INIT_INO"""
ADDRESS = Address(address="10.1.1.0/32", dev="weft.1")


def gone(key: Key) -> Callable[[Event], bool]:
    return lambda event: event == Gone(key)


def seen(obj: Object) -> Callable[[Event], bool]:
    return lambda event: event == Seen(obj)


def disturbed(ns: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Disturbed) and event.ns == ns


@pytest.fixture
def ear(bench: Any, vtep: Link) -> Iterator[Ear]:
    """Listening, in a namespace where a VXLAN device with the three entries of a peer stands and all is quiet."""
    bench.made(vtep, ADDRESS, NEIGHBOUR, FDB, ROUTE)
    ear = Ear(bench.kernel.watch())
    ear.settle()
    yield ear
    ear.watcher.close()


BY_HAND: list[tuple[str, Object]] = [
    ("ip route del 10.1.2.0/24", ROUTE),
    ("ip neigh del 10.1.2.0 dev weft.1", NEIGHBOUR),
    ("ip addr del 10.1.1.0/32 dev weft.1", ADDRESS),
    (f"bridge fdb del {MAC} dev weft.1 dst 192.168.1.254 self", FDB),
]


@pytest.mark.parametrize(("command", "obj"), BY_HAND, ids=[obj.key[0] for _, obj in BY_HAND])
def test_deleted_by_hand_and_made_again(bench: Any, ear: Ear, command: str, obj: Object) -> None:
    bench.netns.run(*command.split())
    ear.until(gone(obj.key))
    assert bench.create(obj) == []
    assert ear.until(seen(obj)) == [Seen(obj)]


def test_changed_by_hand(bench: Any, ear: Ear) -> None:
    bench.netns.sh("ip neigh change 10.1.2.0 lladdr 02:00:00:00:00:99 dev weft.1 nud permanent")
    ear.until(seen(Neighbour(address="10.1.2.0", lladdr="02:00:00:00:00:99", dev="weft.1")))
    bench.netns.sh("ip neigh change 10.1.2.0 dev weft.1 nud stale")
    ear.until(gone(NEIGHBOUR.key))
    bench.netns.sh("ip route replace 10.1.2.0/24 dev weft.1")
    ear.until(disturbed(""))


def test_the_device_deleted(bench: Any, ear: Ear, vtep: Link) -> None:
    bench.netns.run("ip", "link", "del", "weft.1")
    heard = ear.until(gone(vtep.key))
    heard += ear.settle()
    assert any(map(disturbed(""), heard))  # the v4 route went silently


def test_the_device_down_and_up(bench: Any, ear: Ear, vtep: Link) -> None:
    bench.netns.run("ip", "link", "set", "weft.1", "down")
    heard = ear.until(disturbed(""))
    assert any(isinstance(event, Seen) and event.obj == bench.read().objects[vtep.key] for event in heard)
    bench.netns.run("ip", "link", "set", "weft.1", "up")
    ear.until(seen(vtep))


def test_the_uplink_down_and_up(bench: Any, ear: Ear) -> None:
    bench.made(route("10.9.0.0/16", via="192.168.1.254", dev="eth0"))
    ear.settle()
    for state in ("down", "up"):
        bench.netns.run("ip", "link", "set", "eth0", state)
        heard = ear.until(disturbed("")) + ear.settle()
        assert UplinkChanged("device eth0 changed") in heard


def test_addresses_and_default_routes_of_the_host(bench: Any, ear: Ear) -> None:
    bench.netns.sh("ip addr add 192.168.1.99/24 dev eth0")
    ear.until(lambda event: event == UplinkChanged("address 192.168.1.99/24 on eth0"))
    bench.netns.sh("ip route del default")
    ear.until(lambda event: event == UplinkChanged("default route by eth0 gone"))
    bench.netns.sh("ip route add 10.77.0.0/16 dev eth0")
    assert ear.settle() == []


def test_our_own_work_causes_no_alarm(bench: Any, ear: Ear, bridge: Link, pair: tuple[Link, Link]) -> None:
    bench.made(bridge, *pair)
    heard = ear.settle()
    assert {event.obj for event in heard if isinstance(event, Seen)} >= {bridge, pair[0]}
    assert [event for event in heard if not isinstance(event, Seen)] == []


def test_events_in_a_container(
    bench: Any, ear: Ear, bridge: Link, pair: tuple[Link, Link], container: Namespace
) -> None:
    """Where others have a say, what is gone asks for a reading, and is not put back unread."""
    inner: list[Object] = [
        Address(address="10.1.1.2/24", dev="eth0", ns=container.path),
        route("0.0.0.0/0", via="10.1.1.1", dev="eth0", ns=container.path),
    ]
    bench.made(bridge, *pair, *inner)
    ear.settle()
    container.run("ip", "route", "del", "default")
    ear.until(disturbed(container.path))
    container.run("ip", "addr", "flush", "dev", "eth0")
    ear.until(disturbed(container.path))
    container.run("ip", "link", "set", "eth0", "mtu", "1300")
    ear.until(disturbed(container.path))
    container.run("ip", "link", "del", "eth0")
    heard = ear.until(gone(pair[1].key))
    assert any(map(gone(pair[0].key), heard + ear.settle()))


def test_a_restarted_agent_hears_containers_after_its_first_reading(
    bench: Any, bridge: Link, pair: tuple[Link, Link], container: Namespace
) -> None:
    address = Address(address="10.1.1.2/24", dev="eth0", ns=container.path)
    bench.made(bridge, *pair, address)
    again = LinuxKernel(bench.desired, bench.run)
    watcher = again.watch()
    try:
        again.read(bench.desired, {"", container.path})
        container.run("ip", "addr", "flush", "dev", "eth0")
        Ear(watcher).until(disturbed(container.path))
    finally:
        watcher.close()
        again.close()


def test_rules_changed_by_others_and_by_us(bench: Any, ear: Ear) -> None:
    bench.netns.run("nft", "add", "table", "inet", "other")
    bench.made(NftChain(name="c", rules=(rule(ACCEPT),)))
    if Path("/proc/self/ns/pid").stat().st_ino == FIRST_PID_NAMESPACE:
        assert ear.settle() == []
    else:
        ear.settle()
    bench.netns.run("nft", "flush", "ruleset")
    ear.until(disturbed(""))


def test_flowtables_are_emptied_after_what_others_change_and_not_after_what_we_do(bench: Any) -> None:
    to_empty: list[str] = []
    with Path("/proc/thread-self/ns/net").open() as ns, Nftables() as ours:
        watcher = LinuxWatcher(bench.desired, {}, (ours.port,), ns.fileno(), bench.kernel.kinds, empty=to_empty.extend)
        with closing(watcher):
            ear = Ear(watcher)
            assert ours.transaction([nft_wire.new_table(INET)], None) == []
            ear.settle()
            assert to_empty == []
            bench.netns.run("nft", "add", "table", "inet", "theirs")
            ear.settle()
            assert to_empty == [""]


def test_lost_events_are_told(bench: Any, vtep: Link) -> None:
    bench.made(vtep)
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    watcher = LinuxWatcher(bench.desired, {}, (), fd, bench.kernel.kinds, rcvbuf=4096)
    os.close(fd)
    try:
        routes = [route(f"10.{i}.{j}.0/24", dev="weft.1") for i in range(4) for j in range(250)]
        bench.made(*routes)
        Ear(watcher).until(disturbed(""))
    finally:
        watcher.close()


def test_a_burst_is_heard_completely(bench: Any, ear: Ear) -> None:
    routes = [route(f"10.{i}.{j}.0/24", dev="weft.1") for i in range(10, 26) for j in range(250)]
    bench.made(*routes)
    assert {event.obj for event in ear.settle() if isinstance(event, Seen)} == set(routes)
    assert bench.kernel.apply([Remove(obj) for obj in routes]) == []
    assert {event.key for event in ear.settle() if isinstance(event, Gone)} == {obj.key for obj in routes}
