"""A host with two containers that are ports of a network of Neutron's, and a switch whose bridge does what it does without
anybody's flows: what driver `neutron` makes, without Neutron."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

    def comes_and_goes(self, also: Callable[[], bool] = lambda: True) -> None:
        """Containers reach each other; a restart changes nothing; nothing is left of them. `also`: what is true meanwhile."""
        before = self.ovs.records(), links(self.ns)
        assert self.converge().ops
        for address in ("10.30.0.3", "fd30::3"):
            assert self.pings("c1", address)
        assert also()
        assert self.converge().ops == ()
        self.restart()
        assert self.converge().ops == ()
        self.desired.clear()
        self.converge()
        assert (self.ovs.records(), links(self.ns)) == before

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


def links(ns: Namespace) -> set[str]:
    return {link["ifname"] for link in ns.json("ip", "-j", "link")}


@contextmanager
def scene_of(netns: Home, plug: str, folder: Path, datapath: str) -> Iterator[Scene]:
    """`datapath`: "netdev" in user space, "system" in the kernel."""
    with pytest.MonkeyPatch.context() as environment, switch(folder / "ovs") as ovs:
        environment.setenv("OVS_RUNDIR", str(folder / "ovs"))
        ovs.bridge("br-int", datapath)
        found = Scene(netns, ovs, plug, folder / "run")
        yield found
        found.kernel.close()
