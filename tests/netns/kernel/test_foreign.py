"""What is not ours is told, never touched."""

from __future__ import annotations

from typing import Any

import pytest

from support.namespaces import Namespace
from weft.hoststate import Address, Bridge, Link, Neighbour, Veth, Vxlan, route
from weft.reconcile.protocol import Change, Create, Remove


@pytest.fixture
def foreign(bench: Any, uplink: str) -> str:
    """Somebody else's objects; returns how they look."""
    for command in (
        "link add br-x type bridge",
        "link set br-x up",
        "addr add 172.30.0.1/16 dev br-x",
        "route add 10.5.0.0/16 via 192.168.1.9",
        "route add 10.6.0.0/16 dev br-x proto bird",
        "neigh add 192.168.1.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
        "link add vxlan9 type vxlan id 9 dev eth0 dstport 4789",
        "link set vxlan9 up",
    ):
        bench.netns.run("ip", *command.split())
    bench.netns.sh("bridge fdb add 02:00:00:00:00:09 dev vxlan9 dst 192.168.1.9 self permanent")
    bench.netns.run("nft", "-f", "-", stdin="table inet other { chain c { tcp dport 22 accept; }; }\n")
    return looks(bench)


def looks(bench: Any) -> str:
    """Without what settles by itself (timers, link-local addresses)."""
    parts = (
        "ip link",
        "ip -4 addr",
        "ip -4 route show table all",
        "ip -6 route show default",
        "ip -4 neigh",
        "bridge fdb show",
    )
    return "\n".join(bench.netns.run(*part.split()) for part in (*parts, "nft list ruleset"))


def test_it_is_not_read(bench: Any, foreign: str) -> None:
    reading = bench.read()
    assert reading.objects == {}
    assert {("link", "", "br-x"), ("link", "", "vxlan9"), ("link", "", "eth0")} <= reading.foreign


def test_a_name_that_is_taken(bench: Any, foreign: str) -> None:
    (failure,) = bench.create(Link(name="br-x", type=Bridge()))
    assert failure.reason == "device br-x exists and is not Weft's: rename or remove it"
    assert looks(bench) == foreign


def test_a_vni_that_is_taken(bench: Any, foreign: str) -> None:
    """By the device that a flanneld left behind, for example. (The address is not asked for: the kernel does not either.)"""
    wanted = Link(name="weft.9", type=Vxlan(vni=9, port=4789, local="192.168.1.68", dev="eth0"), mtu=1450)
    (failure,) = bench.create(wanted)
    assert failure.reason == (
        "device vxlan9 has VNI 9 at port 4789, which only one device can have: remove it if nobody needs it "
        "(ip link del vxlan9)"
    )
    assert looks(bench) == foreign


def test_a_name_that_is_taken_in_the_container(bench: Any, container: Namespace) -> None:
    container.run("ip", "link", "add", "eth0", "type", "bridge")
    host = Link(name="vh1", type=Veth("eth0", container.path))
    inner = Link(name="eth0", type=Veth("vh1", "", primary=False), ns=container.path)
    failures = bench.create(host, inner)
    assert {failure.key for failure in failures} == {host.key, inner.key}
    clash = f"device eth0 in {container.path} exists and is not Weft's: rename or remove it"
    assert {failure.reason for failure in failures} == {clash}
    assert "vh1" not in bench.netns.run("ip", "link")


def test_no_link_of_theirs_is_changed_or_removed(bench: Any, foreign: str) -> None:
    link = Link(name="br-x", type=Bridge(), mtu=1300)
    (failure,) = bench.kernel.apply([Change(link, link)])
    assert "not Weft's" in failure.reason
    assert bench.kernel.apply([Remove(link)]) == []
    assert looks(bench) == foreign


TAKEN = [
    (route("10.5.0.0/16", via="192.168.1.7", dev="eth0"), "route 10.5.0.0/16"),
    (Neighbour(address="192.168.1.9", lladdr="02:00:00:00:00:01", dev="eth0"), "neighbour 192.168.1.9 on eth0"),
    (Address(address="172.30.0.1/16", dev="br-x"), "address 172.30.0.1/16 on br-x"),
]


@pytest.mark.parametrize(("obj", "name"), TAKEN, ids=[name for _, name in TAKEN])
def test_a_place_that_is_taken(bench: Any, foreign: str, obj: Any, name: str) -> None:
    (failure,) = bench.kernel.apply([Create(obj)])
    assert failure.key == obj.key
    assert failure.reason == (
        f"{name} exists and is not Weft's: another program or the administrator made it; remove it"
    )
    assert looks(bench) == foreign


def test_a_route_of_theirs_is_not_removed(bench: Any, foreign: str) -> None:
    assert bench.kernel.apply([Remove(route("10.5.0.0/16", via="192.168.1.9", dev="eth0"))]) == []
    assert looks(bench) == foreign


def test_a_device_with_our_mark_of_a_kind_we_do_not_make(bench: Any, uplink: str) -> None:
    bench.netns.sh("ip link add tap9 link eth0 type macvtap")
    bench.netns.sh("ip link set tap9 alias weft")
    reading = bench.read()
    assert reading.objects == {} and ("link", "", "tap9") in reading.foreign


def test_a_kernel_that_refuses_a_device_leaves_nothing(bench: Any, uplink: str) -> None:
    link = Link(name="weft-n", type=Bridge(), alias="weft:" + "x" * 300)
    (failure,) = bench.create(link)
    assert failure.key == link.key
    assert "weft-n" not in bench.netns.run("ip", "link")


def test_a_wanted_address_on_a_device_of_ours_needs_no_mark(bench: Any, bridge: Link) -> None:
    """Made by hand from a printed plan: iproute2 of Debian 12 cannot set the mark."""
    bench.made(bridge)
    for text in ("10.9.0.1/24", "10.9.0.7/24"):
        bench.netns.run("ip", "addr", "add", text, "dev", bridge.name)
    wanted = Address(address="10.9.0.1/24", dev=bridge.name)
    bench.desired[wanted.key] = wanted
    assert bench.converged(), bench.difference()  # and the other one is nobody's business
