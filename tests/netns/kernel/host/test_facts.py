"""What a host is found to be, and namespaces."""

from __future__ import annotations

import os
import subprocess
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import pytest

from support.namespaces import Namespace, home
from weft.base.errors import Conflict, NotFound
from weft.base.net import FAMILIES
from weft.hoststate import Address, Bridge, Link
from weft.kernel.host.diagnose import foreign_vteps, neighbour_table
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing import netns as namespaces
from weft.kernel.plumbing.spaces import Space


def test_the_uplink_by_the_default_route(bench: Any, uplink: str) -> None:
    bench.netns.sh("ip addr add 192.168.1.69/24 dev eth0")
    bench.made(Address(address="192.168.7.1/24", dev="eth0"))
    facts = bench.kernel.facts()
    assert (facts.uplink, facts.mtu, facts.kernel) == ("eth0", 1500, os.uname().release)
    assert facts.addresses == (ip_interface("192.168.1.68/24"), ip_interface("fd00:a::68/64"))
    assert facts.advertised == {"eth0"}
    assert {"veth", "bridge", "vxlan", "nftables"} <= facts.features


def test_the_uplink_by_name(bench: Any, uplink: str) -> None:
    bench.netns.sh("ip link add other type bridge")
    bench.netns.sh("ip addr add 172.16.0.1/16 dev other")
    facts = bench.kernel.facts("other")
    assert (facts.uplink, facts.addresses) == ("other", (ip_interface("172.16.0.1/16"),))
    with pytest.raises(NotFound, match="uplink eth9: there is no such device"):
        bench.kernel.facts("eth9")


def test_the_uplink_without_a_default_route(bench: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no uplink"):
        bench.kernel.facts()
    for name, address in (("one", "172.16.0.1/16"), ("two", "172.17.0.1/16")):
        bench.netns.run("ip", "link", "add", name, "type", "bridge")
        bench.netns.run("ip", "addr", "add", address, "dev", name)
        if name == "one":
            assert bench.kernel.facts().uplink == "one"
    found = bench.kernel.facts()
    assert (found.uplink, found.why) == ("one", "was the uplink before, and no other device has a default route")
    bench.netns.sh("ip addr flush dev one")
    assert (bench.kernel.facts().uplink, bench.kernel.facts().addresses) == ("one", ())
    bench.netns.sh("ip addr add 172.16.0.1/16 dev one")
    newcomer = LinuxKernel({}, tmp_path)
    try:
        with pytest.raises(Conflict, match="which is the uplink, one, two"):
            newcomer.facts()
        assert newcomer.facts(fixed=[ip_address("172.17.0.1")]).uplink == "two"
    finally:
        newcomer.close()


def test_a_virtual_address_and_an_engines_bridge_are_not_the_nodes(bench: Any, uplink: str) -> None:
    for command in (
        "addr flush dev eth0 scope global",
        "addr add 192.168.1.100/32 dev eth0",
        "addr add 192.168.1.68/24 dev eth0",
        "link add docker0 type bridge",
        "addr add 172.17.0.1/16 dev docker0",
    ):
        bench.netns.sh(f"ip {command}")
    found = bench.kernel.facts()
    assert (found.uplink, found.addresses[0]) == ("eth0", ip_interface("192.168.1.68/24"))
    assert "192.168.1.68/24 before 192.168.1.100/32 (a prefix of one address)" in found.why
    bench.netns.sh("ip route flush table main")
    assert bench.kernel.facts().uplink == "eth0"
    bench.netns.sh("ip addr flush dev eth0")
    assert (bench.kernel.facts().uplink, bench.kernel.facts().addresses) == ("eth0", ())


def test_v6_alone(bench: Any) -> None:
    for command in ("link add six type bridge", "addr add fd00::1/64 dev six nodad", "link set six up"):
        bench.netns.run("ip", *command.split())
    bench.netns.sh("ip -6 route add default via fd00::2 dev six")
    assert bench.kernel.facts().uplink == "six"


def test_the_uplink_is_looked_at_without_listing_all_devices(
    bench: Any, uplink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one for each container."""

    def listed(_space: Space) -> None:
        pytest.fail("all devices were listed")

    bench.kernel.facts()  # what the kernel can do is tried out once
    monkeypatch.setattr(Space, "devices", listed)
    assert bench.kernel.facts().uplink == bench.kernel.facts("eth0").uplink == "eth0"


def test_probing_leaves_nothing(bench: Any) -> None:
    before = bench.netns.run("ip", "-br", "link")
    bench.kernel.facts("lo")
    assert bench.netns.run("ip", "-br", "link") == before


def test_a_cookie_tells_namespaces_apart(container: Namespace, netns: Any) -> None:
    assert namespaces.cookie(container.path) == namespaces.cookie(container.path)
    assert namespaces.cookie(container.path) != namespaces.cookie("") == namespaces.cookie(netns.path)


def test_paths_that_are_no_namespace(tmp_path: Path, netns: Any) -> None:
    file = tmp_path / "file"
    file.touch()
    assert not namespaces.exists(str(file)) and not namespaces.exists("/nowhere")
    assert not namespaces.exists("/proc/self/ns/mnt") and namespaces.exists(netns.path)
    with pytest.raises(NotFound, match="no network namespace /nowhere"):
        namespaces.call("/nowhere", lambda: None)
    with pytest.raises(NotFound, match="is not a network namespace"):
        namespaces.call(str(file), lambda: None)


def test_the_caller_stays_where_it_is(container: Namespace) -> None:
    before = os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116
    inside = namespaces.call(container.path, lambda: os.stat("/proc/thread-self/ns/net").st_ino)  # noqa: PTH116
    assert inside != before == os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116
    with pytest.raises(ZeroDivisionError):
        namespaces.call(container.path, lambda: 1 // 0)


def test_the_subnets_that_the_host_is_on(bench: Any, uplink: str) -> None:
    """Somebody else's bridge for example; not ours, nor what the uplink's main addresses say already."""
    bench.netns.sh("ip link add docker0 type bridge")
    bench.netns.sh("ip addr add 172.17.0.1/16 dev docker0")
    bench.netns.sh("ip addr add 10.9.0.1/16 dev eth0")
    bench.made(Link(name="weft-n", type=Bridge()), Address(address="10.1.1.1/24", dev="weft-n"))
    found = {(dev, str(subnet)) for dev, subnet in bench.kernel.facts().attached}
    assert found == {("eth0", "10.9.0.0/16"), ("docker0", "172.17.0.0/16")}


def test_vxlan_devices_of_somebody_else(bench: Any, vtep: Link) -> None:
    bench.netns.sh("ip link add flannel.7 type vxlan id 7 dstport 8472 dev eth0")
    bench.made(vtep)
    assert foreign_vteps() == {(7, 8472): ["flannel.7"]}


def test_the_table_of_neighbours_is_shown_in_the_machines_first_namespace_only() -> None:
    for fam in FAMILIES:
        if (table := neighbour_table(fam)) is not None:
            shown = subprocess.run(
                ["ip", f"-{fam}", "ntable", "show"], capture_output=True, text=True, check=True
            ).stdout
            assert f"thresh3 {table.limit} " in shown and table.entries >= 0
    with home():
        assert [neighbour_table(fam) for fam in FAMILIES] == [None, None]
