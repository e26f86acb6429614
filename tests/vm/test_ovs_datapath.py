"""Open vSwitch's datapath in the kernel, without the programs around it: made, found, changed and removed as ovs-dpctl(8) shows
it, and frames between two hosts."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.hoststates import keyed
from support.namespaces import Home
from weft.hoststate import Address, Bridge, Key, Link, Object, OvsDatapath, OvsOutput, OvsVport, Veth, Vxlan
from weft.hoststate.ovs_datapath import GROUPS
from weft.kernel.kinds import ovs_datapath
from weft.kernel.linux import LinuxKernel
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Op

MODULES = "openvswitch", "veth", "bridge", "vxlan"
HERE = frozenset({""})
DP, TUNNEL, PORT = "weft.dp", "weft.vx6784", "weft.ovs1"
HOSTS = {1: "192.168.1.68", 2: "192.168.1.254", 3: "192.168.1.245"}


def mac(number: int) -> str:
    return f"02:42:ac:6f:de:{number:02x}"


def wanted(me: int, *others: int, ns: str = "") -> dict[Key, Object]:
    """One network with VNI 7, and on each host its bridge in place of a container."""
    into: dict[str, Any] = {"datapath": DP, "dev": PORT, "to": TUNNEL, "local": HOSTS[me], "number": 7, "ns": ns}
    tunnel = Vxlan(vni=0, port=6784, local="", dev="", external=True, udp6zerocsumrx=True)
    return keyed(
        Link(name="weft-office", type=Bridge(), mac=mac(me), mtu=1376, ns=ns),
        Address(address=f"172.111.222.{me}/24", dev="weft-office", ns=ns),
        Link(name=PORT, type=Veth(peer="weft.br1", peer_ns=ns), mtu=1376, ns=ns),
        Link(
            name="weft.br1",
            type=Veth(peer=PORT, peer_ns=ns, primary=False),
            master="weft-office",
            mtu=1376,
            ns=ns,
        ),
        Link(name=TUNNEL, type=tunnel, mtu=65485, ns=ns),
        OvsDatapath(name=DP, ns=ns),
        OvsVport(datapath=DP, dev=PORT, ns=ns),
        OvsVport(datapath=DP, dev=TUNNEL, ns=ns),
        OvsOutput(datapath=DP, dev=TUNNEL, vni=7, to=PORT, ns=ns),
        *(OvsOutput(lladdr=lladdr, remote=HOSTS[other], **into) for other in others for lladdr in (mac(other), GROUPS)),
    )


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
