"""An address given again, to a container with another MAC address: whoever spoke with the former one learns of it at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from support.namespaces import Home, Namespace
from support.waiting import until
from weft.hoststate import Address, Bridge, Link, Neighbour, Object, Veth, Vxlan
from weft.kernel import announce
from weft.reconcile.protocol import Change, Create

BRIDGE = Link(name="weft-n", type=Bridge(), mac="02:11:22:33:44:55", alias="weft:network/n")
FIRST, SECOND = "02:00:00:00:00:02", "02:00:00:00:00:22"


def member(number: int, ns: Namespace, mac: str, *addresses: str) -> list[Object]:
    """A container on the bridge."""
    host = Link(name=f"vh{number}", type=Veth("eth0", ns.path), master="weft-n", alias="weft:endpoint/n/a")
    inner = Link(name="eth0", type=Veth(host.name, "", primary=False), mac=mac, alias=host.alias, ns=ns.path)
    return [host, inner, *(Address(address=a, dev="eth0", ns=ns.path) for a in addresses)]


def entry(ns: Namespace, address: str) -> str:
    """The MAC address that this namespace has for another's address."""
    found = json.loads(ns.sh(f"ip -j neigh show to {address}") or "[]")
    return found[0].get("lladdr", "") if found else ""


@pytest.fixture
def peer(bench: Any, netns: Home) -> Iterator[Namespace]:
    """A container that remembers another at 10.1.1.2 and fd00::2, which is gone."""
    ours, former = netns.new(), netns.new()
    bench.made(BRIDGE, *member(1, ours, "02:00:00:00:00:01", "10.1.1.1/24", "fd00::1/64"))
    gone = member(2, former, FIRST, "10.1.1.2/24", "fd00::2/64")
    bench.made(*gone)
    for address in ("10.1.1.2", "fd00::2"):
        until(
            lambda a=address: "1 received" in ours.run("ping", "-c1", "-W1", a, check=False), 5, f"{address} to answer"
        )
        assert entry(ours, address) == FIRST
    bench.remove(gone[0])
    for obj in gone:
        bench.desired.pop(obj.key, None)
    yield ours


def test_a_container_tells_the_others_on_its_bridge(bench: Any, netns: Home, peer: Namespace) -> None:
    bench.made(*member(3, netns.new(), SECOND, "10.1.1.2/24", "fd00::2/64"))
    for address in ("10.1.1.2", "fd00::2"):
        until(lambda a=address: entry(peer, a) == SECOND, 2, f"{address} to have the new one")
        assert "1 received" in peer.run("ping", "-c1", "-W1", address)


def test_a_container_on_another_host_is_told_of(bench: Any, netns: Home, peer: Namespace, uplink: str) -> None:
    """By an entry of the bridge's VXLAN device that comes, and by one that changes."""
    vtep = Link(name="vx", type=Vxlan(7, 4789, "192.168.1.68", uplink), master="weft-n", alias="weft:network/n")
    entries = [Neighbour(address=a, lladdr=SECOND, dev="vx") for a in ("10.1.1.2", "fd00::2")]
    bench.made(vtep)
    bench.made(*entries)
    for address in ("10.1.1.2", "fd00::2"):
        until(lambda a=address: entry(peer, a) == SECOND, 2, f"{address} to have the new one")
    third = Neighbour(address="10.1.1.2", lladdr=FIRST, dev="vx")
    assert bench.change(entries[0], third) == []
    until(lambda: entry(peer, "10.1.1.2") == FIRST, 2, "the changed one")


def test_nobody_is_told_where_nobody_can_remember() -> None:
    """On a new bridge, and on a link without one."""
    pair = Link(name="vh1", type=Veth("eth0", "/c"), master="weft-n")
    inner = Link(name="eth0", type=Veth("vh1", "", primary=False), mac=FIRST, ns="/c")
    address = Address(address="10.1.1.2/24", dev="eth0", ns="/c")
    desired = {o.key: o for o in (BRIDGE, pair, inner, address)}
    assert list(announce.news([Create(BRIDGE), Create(address)], desired)) == []
    told = announce.News("/c", "eth0", ip_address("10.1.1.2"), FIRST)
    assert list(announce.news([Create(address)], desired)) == [told]
    assert list(announce.news([Change(address, address)], desired)) == [told]
    alone = Link(name="vh1", type=Veth("eth0", "/c"))
    assert list(announce.news([Create(address)], desired | {alone.key: alone})) == []
