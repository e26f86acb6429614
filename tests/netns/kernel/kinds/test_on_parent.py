"""Devices on a parent: in a container's namespace, and handed over to an engine. (What needs modules is in tests/vm.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from support.namespaces import Namespace
from weft.base.names import digest
from weft.hoststate import Address, Link, Macvlan, Sysctl
from weft.kernel.host import parents
from weft.kernel.kinds import devices
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Create

if TYPE_CHECKING:
    from conftest import Bench

MAC = "02:42:0a:01:00:05"


def said(namespace: Namespace, lines: str) -> None:
    for line in lines.split("; "):
        namespace.sh(line)


@pytest.fixture
def parent(bench: Bench) -> str:
    said(bench.netns, "ip link add eth7 type veth peer name far7; ip link set eth7 up; ip link set far7 up")
    return "eth7"


def inside(container: Namespace, **changed: object) -> Link:
    link = Link(
        name="eth0", type=Macvlan("eth7", "bridge"), mtu=1400, mac=MAC, alias="weft:endpoint/n/a", ns=container.path
    )
    return msgspec.structs.replace(link, **changed)


def test_made_found_changed_and_removed(bench: Bench, parent: str, container: Namespace) -> None:
    """In the host there is an eth0 already, maybe: it is born where it is to be."""
    bench.netns.sh("ip link add eth0 type bridge")
    link = inside(container)
    bench.made(link)
    assert bench.converged(), bench.difference()
    shown = container.run("ip", "-d", "link", "show", "eth0")
    assert f"link/ether {MAC}" in shown and "macvlan mode bridge" in shown and "mtu 1400" in shown and "group" in shown
    assert "group default" in shown  # no longer the one it was born with
    assert bench.change(link, msgspec.structs.replace(link, mtu=1300)) == []
    assert "mtu 1300" in container.run("ip", "link", "show", "eth0")
    assert bench.remove(msgspec.structs.replace(link, mtu=1300)) == []
    assert "eth0" not in container.run("ip", "link")


def test_its_mode_and_its_parent_are_for_life(bench: Bench, parent: str, container: Namespace) -> None:
    link = inside(container)
    bench.made(link)
    container.run("ip", "link", "set", "eth0", "type", "macvlan", "mode", "private")
    assert not bench.converged()


def test_what_was_born_and_got_no_name_goes(bench: Bench, parent: str, container: Namespace) -> None:
    """Its maker was killed in between. Somebody else's eth0 stays."""
    link = inside(container)
    bench.made(link)
    name = devices.device(devices.BORN, digest("born", link.ns, link.name).hex()[:9])
    container.sh("ip link set eth0 down")
    container.run("ip", "link", "set", "eth0", "name", name, "alias", "")
    bench.made(link)
    assert {found["ifname"] for found in container.json("ip", "-j", "link")} == {"lo", "eth0"}
    container.run("ip", "link", "set", "eth0", "alias", "")
    [failure] = bench.create(link)
    assert "eth0 in" in failure.reason and "exists and is not Weft's" in failure.reason


def test_what_an_engine_has_taken_is_not_made_again(bench: Bench, parent: str, container: Namespace) -> None:
    link = inside(container, name="wft1", ns="", up=False, alias="weft:taken/n/a")
    bench.made(link)
    bench.netns.run("ip", "link", "set", "wft1", "name", "eth0", "netns", container.path)
    assert plan(bench.desired, bench.read(), {""}).ops == (Create(link),)
    bench.desired[link.key] = msgspec.structs.replace(link, taken=True)
    assert plan(bench.desired, bench.read("", container.path), {"", container.path}).ops == ()  # nor taken away there
    container.run("ip", "link", "set", "eth0", "name", "wft1", "netns", bench.netns.path)
    assert bench.converged(), bench.difference()
    assert bench.remove(link) == []
    assert "wft1" not in bench.netns.run("ip", "link")


@pytest.mark.parametrize(
    ("prepare", "name", "why"),
    [
        ("ip link", "eth8", "this host has no device eth8: name one of "),
        ("ip link", "lo", "lo is the loopback device"),
        ("ip link set eth7 down", "eth7", "eth7 is down: ip link set dev eth7 up"),
        ("ip link add br9 type bridge; ip link set eth7 master br9", "eth7", "eth7 is a port of br9, which takes all"),
        ("ip link set eth7 alias weft:vlan", "eth7", "eth7 is a device of Weft's own"),
        ("ip link", "eth7", ""),
    ],
)
def test_which_devices_are_no_parents(bench: Bench, parent: str, prepare: str, name: str, why: str) -> None:
    said(bench.netns, prepare)
    found = parents.unfit(name, "macvlan")
    assert found.startswith(why) and bool(found) == bool(why)


def test_a_port_of_a_bridge_is_explained(bench: Bench, parent: str, container: Namespace) -> None:
    said(bench.netns, "ip link add br9 type bridge; ip link set eth7 master br9")
    [failure] = bench.create(inside(container))
    assert "its parent eth7 is a port of a bridge" in failure.reason
    [failure] = bench.create(inside(container, type=Macvlan("eth9", "bridge")))
    assert "eth9" in failure.reason
    assert "eth0" not in container.run("ip", "link")


def test_a_second_one_beside_one_that_takes_the_parent_whole(bench: Bench, parent: str, container: Namespace) -> None:
    whole = Macvlan(parent, "passthru")
    bench.made(inside(container, type=whole, mtu=None))
    [failure] = bench.create(inside(container, name="eth1", type=whole, mtu=None, mac="02:42:0a:01:00:06"))
    assert "has another one, and one of the two takes it whole (mode passthru)" in failure.reason


def test_a_parent_whose_mtu_is_too_small_for_ipv6_is_told(bench: Bench, parent: str, container: Namespace) -> None:
    bench.netns.sh(f"ip link set {parent} mtu 1000")
    bench.made(inside(container, mtu=None))
    [failure] = bench.create(Address(address="fd00::5/64", dev="eth0", ns=container.path))
    assert failure.reason.endswith(
        "its device has no IPv6: it is switched off there, or the MTU is below 1280 (RFC 8200)"
    )
    [failure] = bench.create(Sysctl(name="net/ipv6/conf/eth0/disable_ipv6", value="0", ns=container.path))
    assert failure.reason.endswith("lacks it (one with an MTU below 1280 has no IPv6)")
