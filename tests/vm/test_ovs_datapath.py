"""Open vSwitch's datapath in the kernel, without the programs around it: made, found, changed and removed as ovs-dpctl(8) shows
it, and frames between two hosts."""

from __future__ import annotations

import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support import lab
from support.hoststates import keyed
from support.namespaces import Home
from weft.datapaths import registry
from weft.datapaths.driver import Host, Site, without_lease
from weft.hoststate import Address, Bridge, FdbEntry, Key, Link, Object, OvsDatapath, OvsOutput, OvsVport, Veth
from weft.kernel.kinds import ovs_datapath
from weft.kernel.linux import LinuxKernel
from weft.model import Location, Network
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Op

MODULES = "openvswitch", "veth", "bridge", "vxlan"
HERE = frozenset({""})
DP = "weft.dp"
KEPT = (Link, FdbEntry, OvsDatapath, OvsVport, OvsOutput)
HOSTS = {1: "192.168.1.68", 2: "192.168.1.254", 3: "192.168.1.245"}
NODES = {1: "node-1", 2: "node-2", 3: "node-3"}


def mac(number: int) -> str:
    return f"02:42:ac:6f:de:{number:02x}"


def wanted(me: int, *others: int, ns: str = "") -> dict[Key, Object]:
    """What driver mesh wants of a host for a network, without rules; on each host its bridge stands for a container."""
    options = {"vni": 7, "fastpath": "ovs"}
    subnets = (ip_network("172.111.222.0/24"),)
    network = Network(name="office", driver="mesh", subnets=subnets, options=options, internal=True)
    host, driver = Host(node=lab.node(NODES[me])), registry.of(network)
    site = Site(host, network, registry.parse_options(network), without_lease(network, NODES[me]))
    found = list(driver.segment(site))
    for other in others:
        at = Location(node=NODES[other], mac=mac(other), addresses=(ip_address(f"172.111.222.{other}"),))
        found += driver.location(site, lab.node(NODES[other]), at)
    kept = [_in(ns, obj, mac(me)) for obj in found if isinstance(obj, KEPT)]
    return keyed(*kept, Address(address=f"172.111.222.{me}/24", dev="weft-office", ns=ns))


def _in(ns: str, obj: Any, lladdr: str) -> Any:
    if not isinstance(obj, Link):
        return msgspec.structs.replace(obj, ns=ns)
    kind = msgspec.structs.replace(obj.type, peer_ns=ns) if isinstance(obj.type, Veth) else obj.type
    of_bridge = {"mac": lladdr} if isinstance(kind, Bridge) else {}
    return msgspec.structs.replace(obj, ns=ns, type=kind, guards=(), **of_bridge)


def ops(kernel: LinuxKernel, objects: dict[Key, Object], places: frozenset[str] = HERE) -> tuple[Op, ...]:
    return plan(objects, kernel.read(objects, places), set(places)).ops


@pytest.fixture(autouse=True)
def modules_of_devices(netns: Home) -> None:
    subprocess.run(["modprobe", "--all", *MODULES], check=True, timeout=100)


def test_what_is_wanted_is_made_found_changed_and_removed(netns: Home, tmp_path: Path) -> None:
    desired: dict[Key, Object] = {}
    kernel = LinuxKernel(desired, tmp_path)
    for state in (wanted(1, 2), wanted(1, 2, 3), wanted(1, 3), {}):
        desired.clear()
        desired.update(state)
        assert kernel.apply(ops(kernel, desired)) == []
        assert ops(kernel, desired) == ()
        if state == wanted(1, 2, 3):
            shown = netns.sh(f"ovs-dpctl dump-flows {DP}")
            assert shown.count("set(tunnel(tun_id=0x7,src=192.168.1.68,dst=192.168.1.245,ttl=64,flags(df") == 2, shown
            assert f"eth(dst={mac(2)})" in shown and "eth(dst=01:00:00:00:00:00/01:00:00:00:00:00)" in shown
    assert ovs_datapath.ask("", ()) == {}
    kernel.close()


def test_frames_go_between_two_hosts(netns: Home, tmp_path: Path) -> None:
    other = netns.new()
    netns.sh(f"ip link add eth0 type veth peer name eth0 netns {other.path}")
    for place, number in ((netns, 1), (other, 2)):
        place.sh(f"ip address add {HOSTS[number]}/24 dev eth0")
        place.sh("ip link set eth0 up")
    desired = wanted(1, 2) | wanted(2, 1, ns=other.path)
    places = frozenset({"", other.path})
    kernel = LinuxKernel(desired, tmp_path)
    assert kernel.apply(ops(kernel, desired, places)) == []
    netns.sh("ping -c 3 -i 0.2 -W 5 172.111.222.2")
    netns.sh("ping -c 1 -W 5 -M do -s 1348 172.111.222.2")
    assert ops(kernel, desired, places) == (), "what the kernel counts of packets changes nothing"
    kernel.close()
