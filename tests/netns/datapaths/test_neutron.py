"""Driver `neutron` in the real kernel, with a switch in user space whose bridge does what it does without anybody's flows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from support import lab
from support.namespaces import Home, Namespace
from support.switches import Switch, switch
from weft.datapaths.driver import gather
from weft.datapaths.neutron import DRIVER
from weft.hoststate import Key, Object
from weft.kernel.linux import LinuxKernel
from weft.model import Endpoint, Network
from weft.model.endpoint import Namespace as Place
from weft.reconcile.reconciler import Reconciler, Report

PORTS = {"c1": "5a5b2ee2-0b2a-4bb4-9c0a-2d6f2f3b8a11", "c2": "6c2e9f31-77aa-4bb4-9c0a-2d6f2f3b8a12"}
NETWORK = Network(
    name="blue", driver="neutron", subnets=(ip_network("10.30.0.0/24"), ip_network("fd30::/64")), options={}
)


class Scene:
    """A host with containers c1 and c2, which are ports 2 and 3 of a network of Neutron's."""

    def __init__(self, netns: Home, ovs: Switch, plug: str, run: Path) -> None:
        self.ns, self.ovs, self.run = netns, ovs, run
        self.containers = {name: netns.new() for name in PORTS}
        self.desired: dict[Key, Object] = {}
        for number, name in enumerate(PORTS, 2):
            endpoint = _endpoint(name, number, plug, self.containers[name].path)
            found = gather(DRIVER.endpoint(lab.site(NETWORK, lab.node("node-1")), endpoint))
            assert found.problems == ()
            self.desired |= {obj.key: obj for obj in found.objects}
        self.kernel = LinuxKernel(self.desired, run)
        self.start()

    def start(self) -> None:
        self.reconciler = Reconciler(self.kernel, self.desired, time.monotonic)
        self.reconciler.complete = True

    def restart(self) -> None:
        self.kernel.close()
        self.kernel = LinuxKernel(self.desired, self.run)
        self.start()

    def converge(self) -> Report:
        report = self.reconciler.resync()
        assert report.failures == ()
        return report

    def pings(self, name: str, address: str) -> bool:
        done = self.containers[name].run("ping", "-c1", "-W2", address, check=False)
        return " 0% packet loss" in done


def _endpoint(name: str, number: int, plug: str, path: str) -> Endpoint:
    return Endpoint(
        id=f"{number:016x}",
        name=name,
        network="blue",
        node="node-1",
        container=name,
        namespace=Place(path=path, cookie=number),
        interface="eth0",
        mac=f"fa:16:3e:00:00:0{number}",
        addresses=(ip_interface(f"10.30.0.{number}/24"), ip_interface(f"fd30::{number}/64")),
        data={"port": PORTS[name], "plug": plug, "bridge": "br-int", "mtu": "1450", "gateway": "10.30.0.1"},
    )


@pytest.fixture(params=["ovs", "hybrid"])
def scene(
    request: pytest.FixtureRequest, netns: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    monkeypatch.setenv("OVS_RUNDIR", str(tmp_path / "ovs"))
    with switch(tmp_path / "ovs") as ovs:
        ovs.bridge("br-int")
        found = Scene(netns, ovs, request.param, tmp_path / "run")
        yield found
        found.kernel.close()


def links(ns: Namespace) -> set[str]:
    return {link["ifname"] for link in ns.json("ip", "-j", "link")}


def test_containers_reach_each_other_through_the_switch_and_nothing_is_left(scene: Scene) -> None:
    before = scene.ovs.records(), links(scene.ns)
    assert scene.converge().ops
    for address in ("10.30.0.3", "fd30::3"):
        assert scene.pings("c1", address)
    assert scene.converge().ops == ()
    scene.restart()
    assert scene.converge().ops == ()
    scene.desired.clear()
    scene.converge()
    assert (scene.ovs.records(), links(scene.ns)) == before


def test_the_host_is_not_on_their_network(scene: Scene) -> None:
    """Its kernel sees the frames, and by default answers ARP for any address of its own on any device."""
    scene.ns.sh("ip address add 10.30.0.99/32 dev lo")
    scene.converge()
    c1 = scene.containers["c1"]
    assert not scene.pings("c1", "10.30.0.99")
    (entry,) = c1.json("ip", "-j", "neigh", "show", "10.30.0.99")
    assert "lladdr" not in entry
    tapped = {name for name in links(scene.ns) if name[:3] in ("tap", "qbr", "qvb", "qvo")}
    assert tapped and not [a for a in scene.ns.json("ip", "-j", "-6", "addr") if a.get("ifname") in tapped]


def test_a_switch_that_begins_anew_takes_them_up_again(scene: Scene) -> None:
    """Somebody removed the bridge with all its ports, and Neutron's agent made it again."""
    scene.converge()
    scene.ovs.vsctl("del-br", "br-int")
    report = scene.reconciler.resync()
    assert {failure.key[0] for failure in report.failures} == {"ovs-port"} and report.ops == ()
    scene.ovs.bridge("br-int")
    scene.start()
    assert {type(op).__name__ for op in scene.converge().ops} == {"Create"}
    assert scene.pings("c1", "10.30.0.3")
