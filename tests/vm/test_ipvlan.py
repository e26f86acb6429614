"""Drivers `ipvlan` and `macvlan` where they need kernel modules: ipvlan's devices, and VLAN devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from support import lab
from support.namespaces import Home, Namespace
from support.routed import Host, Router, listening, ping
from weft.cluster import footprint
from weft.datapaths.driver import gather
from weft.datapaths.registry import DRIVERS
from weft.hoststate.union import Source
from weft.kernel.host import facts, parents
from weft.reconcile.protocol import Change
from weft.reconcile.reconciler import Report

HERE = ("192.168.1.0/24", "fd01:a::/64")
"""The segment's own prefixes."""
BEHIND = ("10.5.0.0/16", "fd05::/64")


@contextmanager
def two(home: Home, run: Path, driver: str, subnets: tuple[str, ...], **options: str | int) -> Iterator[list[Host]]:
    """Hosts of one segment, with a container each, which has the 10th or the 11th address."""
    net = lab.network(driver, subnets=tuple(map(ip_network, subnets)), options=options)
    router = Router(home)
    found = [Host(home, router, name, net, run / name) for name in ("node-1", "node-2")]
    try:
        for number, host in enumerate(found, 1):
            host.attach(f"c{number}", 9 + number)
        for one, other in (found, found[::-1]):
            (endpoint,) = other.endpoints.values()
            answer = DRIVERS[driver].location(one.site, other.node, footprint.location(endpoint))
            one.want(Source("location", endpoint.name), gather(answer))
            one.converge()
        for host in found:
            assert host.converge().ops == ()
        yield found
    finally:
        for host in found:
            host.close()


def container(host: Host) -> Namespace:
    (found,) = host.containers.values()
    return found


def devices(host: Host) -> set[str]:
    """In its container; without the one that the module ipip puts into each new namespace, once it is loaded."""
    return {link["ifname"] for link in container(host).json("ip", "-j", "link")} - {"tunl0"}


def addresses(host: Host) -> list[str]:
    (endpoint,) = host.endpoints.values()
    return [str(address.ip) for address in endpoint.addresses]


def meet(one: Host, other: Host) -> bool:
    return all(ping(container(one), address) for address in addresses(other))


def info(host: Host) -> dict[str, object]:
    (link,) = container(host).json("ip", "-j", "-d", "link", "show", "eth0")
    return {"mode": link["linkinfo"]["info_data"].get("mode"), "kind": link["linkinfo"]["info_kind"], **link}


def test_the_modules_are_found_and_vlans_is_not_loaded_for_a_look() -> None:
    before = Path("/sys/module/8021q").exists()
    assert {"macvlan", "ipvlan", "vlan"} <= facts.features()
    assert Path("/sys/module/8021q").exists() == before


def test_l2_by_the_hosts_mac_addresses(netns: Home, tmp_path: Path) -> None:
    with two(netns, tmp_path, "ipvlan", HERE) as (one, other):
        assert (info(one)["kind"], info(one)["mode"], info(one)["mtu"]) == ("ipvlan", "l2", 1500)
        (uplink,) = one.ns.json("ip", "-j", "link", "show", "eth0")
        assert info(one)["address"] == uplink["address"]
        assert meet(one, other) and meet(other, one)
        assert ping(container(one), "192.168.1.1") and ping(container(one), "192.168.1.254")
        assert ping(container(one), addresses(other)[0], "-M", "do", "-s", "1472")
        assert not ping(one.ns, addresses(one)[0], "-W1")  # a host does not reach its own


@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_routed_by_the_hosts(netns: Home, tmp_path: Path, mode: str) -> None:
    with two(netns, tmp_path, "ipvlan", BEHIND, mode=mode) as (one, other):
        assert info(one)["mode"] == mode
        with listening(container(other), "eth0") as heard:
            assert meet(one, other) and meet(other, one)
            assert not [frame for frame in heard.frames() if frame[12:14] == b"\x08\x06"]  # no ARP
        (route,) = one.ns.json("ip", "-j", "route", "show", addresses(other)[0])
        assert (route["gateway"], route["dev"]) == ("192.168.1.254", "eth0")


def test_it_is_adopted_kept_and_removed(netns: Home, tmp_path: Path) -> None:
    with two(netns, tmp_path, "ipvlan", HERE) as (one, other):
        before = info(one)["ifindex"]
        one.restart()
        assert one.converge().ops == ()
        container(one).sh("ip link set eth0 mtu 1300")
        assert [type(op) for op in one.converge().ops] == [Change]
        assert info(one)["ifindex"] == before
        container(one).sh("ip link del eth0")
        one.converge()
        assert meet(one, other)
        one.want(Source("endpoint", "c1"), None)
        one.converge()
        assert devices(one) == {"lo"}


def failing(host: Host) -> Report:
    with host.ns.entered():
        return host.reconciler.resync()


def test_beside_a_device_of_the_other_kind_it_is_refused_and_told(netns: Home, tmp_path: Path) -> None:
    net = lab.network("ipvlan", subnets=(ip_network(HERE[0]),))
    host = Host(netns, Router(netns), "node-1", net, tmp_path / "run")
    host.ns.sh("ip link add m9 link eth0 type macvlan mode bridge")
    with host.ns.entered():
        assert parents.unfit("eth0", "ipvlan").startswith(
            "eth0 carries macvlan device m9, beside which there is no ipvlan"
        )
        assert parents.unfit("eth0", "macvlan") == ""
    host.attach("c1", 10)
    told = [failure.reason for failure in failing(host).failures]
    assert any("eth0 is a port of a bridge, or carries devices of another kind" in text for text in told), told
    assert devices(host) == {"lo"}
    host.close()


def received(host: Host) -> int:
    (link,) = host.ns.json("ip", "-j", "-s", "link", "show", "eth0.30")
    packets: int = link["stats64"]["rx"]["packets"]
    return packets


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_in_a_vlan(netns: Home, tmp_path: Path, driver: str) -> None:
    """Tagged on the wire; the VLAN's device comes and goes with the network's containers."""
    with two(netns, tmp_path, driver, ("10.30.0.0/16", "fd30::/64"), vlan=30) as (one, other):
        (tagged,) = one.ns.json("ip", "-j", "-d", "link", "show", "eth0.30")
        data = tagged["linkinfo"]["info_data"]
        assert (data["protocol"], data["id"], tagged["ifalias"]) == ("802.1Q", 30, "weft:vlan")
        before = received(other)
        assert meet(one, other) and meet(other, one)
        assert received(other) - before >= 4  # by the VLAN's device, which gets nothing but what is tagged
        one.restart()
        assert one.converge().ops == ()
        one.ns.sh("ip link set eth0 down")
        assert any("its parent eth0 is down" in f.reason for f in failing(one).failures) or not failing(one).failures
        one.ns.sh("ip link set eth0 up")
        one.converge()
        assert meet(one, other)
        one.want(Source("endpoint", "c1"), None)
        one.want(Source("segment", "blue"), None)
        one.converge()
        assert "eth0.30" not in [link["ifname"] for link in one.ns.json("ip", "-j", "link")]


def test_a_vlans_device_of_somebody_else_stays(netns: Home, tmp_path: Path) -> None:
    net = lab.network("macvlan", subnets=(ip_network("10.30.0.0/16"),), options={"vlan": 30})
    host = Host(netns, Router(netns), "node-1", net, tmp_path / "run")
    host.ns.sh("ip link add eth0.30 link eth0 type vlan id 30")
    host.attach("c1", 10)
    told = [failure.reason for failure in failing(host).failures]
    assert "device eth0.30 exists and is not Weft's: name it with -O parent instead of a vlan, or remove it" in told
    host.ns.sh("ip link set eth0.30 name tagged")
    told = [failure.reason for failure in failing(host).failures]
    assert any("eth0 has such a vlan device already, under another name" in text for text in told), told
    host.want(Source("endpoint", "c1"), None)
    host.want(Source("segment", "blue"), None)
    host.converge()
    assert "tagged" in [link["ifname"] for link in host.ns.json("ip", "-j", "link")]
    host.close()
