"""What others decide inside a container after us: it is read, told from damage, and left."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from support.ear import Ear
from support.namespaces import Namespace
from support.waiting import until
from weft.hoststate import Address, Link, Object, Route, Sysctl, route
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Disturbed, Op


@pytest.fixture
def attached(bench: Any, bridge: Link, pair: tuple[Link, Link], container: Namespace) -> list[Object]:
    """A container's interface that an engine has, with addresses of both families and a default route."""
    host, inner = pair
    ns = container.path
    container.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
    on = Sysctl(name="net/ipv6/conf/eth0/disable_ipv6", value="0", lasting=False, initial=True, ns=ns)
    made: list[Object] = [
        bridge,
        host,
        on,
        msgspec.structs.replace(inner, lent=True),
        Address(address="10.1.2.2/24", dev="eth0", ns=ns),
        Address(address="fd00:1::2/64", dev="eth0", ns=ns),
        route("0.0.0.0/0", via="10.1.2.1", dev="eth0", ns=ns),
        route("::/0", via="fd00:1::1", dev="eth0", ns=ns),
    ]
    bench.made(*made)
    return made


def to_be_done(bench: Any) -> tuple[Op, ...]:
    namespaces = frozenset(key[1] for key in bench.desired) | {""}
    found = bench.kernel.read(bench.desired, namespaces)
    there = found.objects | {key: bench.desired[key] for key in found.waived}
    return plan(bench.desired, msgspec.structs.replace(found, objects=there), namespaces).ops


def test_a_container_without_ipv6_gets_it_on_our_device(
    bench: Any, attached: list[Object], container: Namespace
) -> None:
    assert to_be_done(bench) == ()
    assert "fd00:1::2/64" in container.run("ip", "-6", "address", "show", "dev", "eth0")


def test_ipv6_switched_off_afterwards_stays_off(bench: Any, attached: list[Object], container: Namespace) -> None:
    container.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    assert to_be_done(bench) == ()
    waived = {why for why in bench.read().waived.values() if why}
    assert waived == {"IPv6 is switched off on eth0 (sysctl net.ipv6.conf.eth0.disable_ipv6)"}
    container.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
    assert {op.obj.kind for op in to_be_done(bench)} == {"address", "route"}  # type: ignore[union-attr] # all are made


def test_a_route_that_was_moved_is_where_somebody_wants_it(
    bench: Any, attached: list[Object], container: Namespace
) -> None:
    ear = Ear(bench.kernel.watch())
    assert to_be_done(bench) == ()
    ear.settle()
    for family, via, proto in (("-4", "10.1.2.1", "87"), ("-6", "fd00:1::1", "87"), ("-4", "10.1.2.1", "static")):
        container.run(
            "ip", family, "route", "add", "default", "via", via, "dev", "eth0", "table", "100", "proto", proto
        )
        assert to_be_done(bench) == ()
        container.run("ip", family, "route", "del", "default", "table", "main")
        assert to_be_done(bench) == (), "neither the copy is removed, nor the route put back"
        ear.until(lambda event: isinstance(event, Disturbed) and event.ns == container.path and "gone" in event.reason)
        container.run("ip", family, "route", "flush", "table", "100")
        assert [op.obj for op in to_be_done(bench)] == [  # type: ignore[union-attr] # it is made
            o for o in attached if isinstance(o, Route) and (":" in o.prefix) == (family == "-6")
        ]
        assert bench.kernel.apply(to_be_done(bench)) == []
    ear.watcher.close()


def test_another_mac_address_mtu_and_master_stay(bench: Any, attached: list[Object], container: Namespace) -> None:
    container.run("ip", "link", "set", "eth0", "address", "c2:b0:57:49:47:f1", "mtu", "1300")
    container.run("ip", "link", "add", "their0", "type", "bridge")
    container.run("ip", "link", "set", "eth0", "master", "their0")
    until(
        lambda: to_be_done(bench) == (), 5, lambda: str(to_be_done(bench))
    )  # the kernel moves its own routes a little later
    inner = attached[3]
    assert isinstance(inner, Link)
    assert bench.change(inner, msgspec.structs.replace(inner, mtu=1400, alias="weft:endpoint/n/b")) == []
    found = bench.read().objects[inner.key]
    assert (found.mac, found.mtu, found.master) == ("c2:b0:57:49:47:f1", 1400, "their0"), (
        "what we change ourselves, only"
    )


def test_what_is_nobody_s_decision_is_damage(bench: Any, attached: list[Object], container: Namespace) -> None:
    container.run("ip", "address", "flush", "dev", "eth0")
    container.run("ip", "link", "set", "eth0", "down")
    kinds = sorted({(op.new if hasattr(op, "new") else op.obj).kind for op in to_be_done(bench)})
    assert kinds == ["address", "link", "route"]


def test_copies_of_the_host_s_routes_are_not_ours(bench: Any, uplink: str) -> None:
    bench.netns.run("ip", "route", "add", "10.9.0.0/24", "via", "192.168.1.1", "table", "100", "proto", "87")
    assert bench.read().objects == {}
