"""Router advertisements: the host keeps what its routers told it, and takes none from a container."""

from __future__ import annotations

from typing import Any

import pytest

from support import lab
from support.advertise import advertise
from support.namespaces import Home, Namespace
from support.waiting import until
from weft.datapaths.driver import gather
from weft.datapaths.registry import driver
from weft.hoststate import Link, Sysctl, Veth
from weft.reconcile.reconciler import Reconciler

FORWARDING = "net.ipv6.conf.all.forwarding"


def defaults(ns: Namespace) -> list[str]:
    return [route["dev"] for route in ns.json("ip", "-j", "-6", "route", "show", "default", "proto", "ra")]


@pytest.fixture
def host(netns: Home) -> Home:
    """With the kernel's defaults."""
    for name, value in (("all.accept_ra", 1), ("default.accept_ra", 1), ("all.forwarding", 0)):
        netns.sh(f"sysctl -qw net.ipv6.conf.{name}={value}")
    return netns


@pytest.fixture
def routers(host: Home) -> Namespace:
    """The other ends of the host's two uplinks, up0 and up1."""
    outside = host.new()
    for name in ("up0", "up1"):
        host.run("ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", outside.path)
        host.sh(f"sysctl -qw net.ipv6.conf.{name}.accept_dad=0")
        outside.sh(f"ip link set {name} up")
        host.sh(f"ip link set {name} up")
    host.sh("ip address add 192.168.1.68/24 dev up0")
    host.sh("ip route add default via 192.168.1.1")
    until(lambda: heard(host, outside), 5, "two default routes")
    return outside


def heard(host: Namespace, routers: Namespace) -> bool:
    """The kernel takes note of a carrier up to a second later, and until then of no advertisement."""
    for number, name in enumerate(("up0", "up1")):
        advertise(routers, name, f"fe80::{number + 1}")
    return sorted(defaults(host)) == ["up0", "up1"]


def test_the_first_network_with_ipv6_leaves_the_host_its_default_routes(
    bench: Any, host: Home, routers: Namespace
) -> None:
    """Also where two interfaces have one. IPv6 forwarding takes away the routes of devices whose accept_ra is 1."""
    facts = bench.kernel.facts()
    assert facts.advertised == {"up0", "up1"}
    network = lab.network("bridge", (6,))
    contribution = gather(driver("bridge").network(lab.site(network, lab.node("node-1"), advertised=facts.advertised)))
    bench.desired |= {obj.key: obj for obj in contribution.objects}
    reconciler = Reconciler(bench.kernel, bench.desired, lambda: 0.0)
    reconciler.complete = True
    assert reconciler.resync().failures == ()
    assert host.sh(f"sysctl -n {FORWARDING}").strip() == "1"
    assert sorted(defaults(host)) == ["up0", "up1"]

    host.sh("ip -6 route del default dev up1 proto ra")  # its router was silent for too long
    assert bench.kernel.facts().advertised == {"up0", "up1"}
    until(lambda: heard(host, routers), 5, "it to be heard again")

    bench.desired.clear()
    assert reconciler.resync().failures == ()
    assert host.sh(f"sysctl -n {FORWARDING} net.ipv6.conf.up0.accept_ra net.ipv6.conf.up1.accept_ra").split() == [
        *"011"
    ]
    assert sorted(defaults(host)) == ["up0", "up1"]


@pytest.mark.parametrize("name", ["bridge", "routed"])
def test_a_containers_advertisement_is_not_the_hosts_default_route(
    bench: Any, host: Home, container: Namespace, name: str
) -> None:
    """By a bridge, and by a device of its own; in a network of IPv4 only, so that the host forwards no IPv6."""
    network = lab.network(name)
    objects = [*gather(driver(name).network(lab.site(network, lab.node("node-1")))).objects]
    bridge = "weft-blue" if name == "bridge" else ""
    pair = Link(name="vh1", type=Veth("eth0", container.path), master=bridge)
    inner = Link(name="eth0", type=Veth("vh1", "", primary=False), ns=container.path)
    objects += gather(iter([pair, inner])).objects
    bench.desired |= {obj.key: obj for obj in objects}
    reconciler = Reconciler(bench.kernel, bench.desired, lambda: 0.0)
    reconciler.complete = True
    assert reconciler.resync().failures == ()

    dev = bridge or "vh1"
    advertise(container, "eth0")
    host.sh(f"sysctl -qw net.ipv6.conf.{dev}.accept_ra=1")
    assert defaults(host) == []
    advertise(container, "eth0", "fe80::bad:2")
    until(lambda: defaults(host) == [dev], 5, "what would happen without it")


def test_a_device_is_up_only_with_its_sysctls_set(bench: Any, host: Home, container: Namespace) -> None:
    """Else what comes in at first would meet the kernel's defaults."""
    watcher = bench.kernel.watch()
    link, sysctl = gather(iter([Link(name="vh1", type=Veth("eth0", container.path))])).objects
    assert isinstance(sysctl, Sysctl)
    monitor: list[bool] = []
    plain = bench.kernel._sysctls.apply

    def apply(op: Any) -> Any:
        monitor.append("UP" in host.json("ip", "-j", "link", "show", "vh1")[0]["flags"])
        return plain(op)

    bench.kernel._sysctls.apply = apply
    bench.made(sysctl, link)
    watcher.close()
    assert monitor == [False]
    assert "UP" in host.json("ip", "-j", "link", "show", "vh1")[0]["flags"]
