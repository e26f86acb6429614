"""What the kernel makes of an address by itself, and somebody else removes: it comes back, and nothing else is touched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.namespaces import Home, Namespace
from support.waiting import until
from weft.base.net import link_local
from weft.datapaths._parts import link_local_of
from weft.hoststate import Address, Link, Object, Route, route
from weft.kernel.kinds import address
from weft.kernel.linux import LinuxKernel
from weft.reconcile.protocol import Change, Create
from weft.reconcile.reconciler import Reconciler
from weft.reconcile.render import script

HOST_MAC, MAC = "02:11:22:33:44:55", "02:11:22:33:44:77"


class Stage:
    """A bridge on the host and a container on it, dual stack, as `bridge`, `vxlan` and `host-gw` have it; with a device
    that is not ours beside."""

    def __init__(self, bench: Any, host: Home, container: Namespace, bridge: Link, pair: tuple[Link, Link]) -> None:
        self.host, self.container = host, container
        ns = container.path
        host.sh("ip link add other type bridge")
        host.sh("ip address add 10.9.0.1/24 dev other")
        host.sh("ip link set other up")
        objects: list[Object] = [bridge, *pair]
        objects += [Address(address=a, dev="weft-n") for a in ("10.1.1.1/24", "fd00:1::1/64")]
        objects += [Address(address=a, dev="eth0", ns=ns) for a in ("10.1.1.2/24", "fd00:1::2/64")]
        objects += [link_local_of("weft-n", HOST_MAC), link_local_of("eth0", MAC, ns)]
        objects += [route("0.0.0.0/0", via="10.1.1.1", dev="eth0", ns=ns)]
        objects += [route("::/0", via="fd00:1::1", dev="eth0", ns=ns)]
        bench.desired |= {obj.key: obj for obj in objects}
        self.kernel: LinuxKernel = bench.kernel
        self.reconciler = Reconciler(bench.kernel, bench.desired, time.monotonic)
        self.reconciler.complete = True
        self.watcher = bench.kernel.watch()
        assert self.reconciler.resync().failures == ()
        self.answers()
        self.settle()

    def close(self) -> None:
        self.watcher.close()

    def settle(self) -> None:
        """As the agent does it, until nothing is left to do."""
        until(lambda: not self.step() and not self.reconciler.failures, 10, lambda: str(self.reconciler.failures))

    def step(self) -> bool:
        drift = self.reconciler.observe(self.watcher.drain())
        if drift.keys:
            self.reconciler.repair(drift.keys)
        namespaces = drift.namespaces | self.reconciler.due(time.monotonic())
        if namespaces:
            self.reconciler.resync(namespaces)
        return bool(drift.keys or namespaces)

    def answers(self) -> None:
        for text in ("10.1.1.2", "fd00:1::2"):
            self.host.sh(f"ping -c 1 -W 2 {text}")

    def routes(self) -> list[set[str]]:
        """The kernel's own and ours, of both namespaces; without what says how lately they were used."""
        commands = [f"ip -{fam} -N route show table all" for fam in (4, 6)]
        return [set(ns.sh(command).splitlines()) for ns in (self.host, self.container) for command in commands]


@pytest.fixture
def stage(bench: Any, netns: Home, container: Namespace, bridge: Link, pair: tuple[Link, Link]) -> Iterator[Stage]:
    found = Stage(bench, netns, container, bridge, pair)
    yield found
    found.close()


@pytest.mark.parametrize("where", ["host", "container"])
@pytest.mark.parametrize(
    "command",
    [
        "ip route del {v4} dev {dev}",
        "ip -6 route del fd00:1::/64 dev {dev}",
        "ip -6 route del fe80::/64 dev {dev}",
        "ip route del local {own4} dev {dev} table local",
        "ip -6 route del local {own6} dev {dev} table local",
        "ip -6 route del multicast ff00::/8 dev {dev} table local",
        "ip address del {own4}/24 dev {dev}",
        "ip address del {own6}/64 dev {dev}",
        "ip address del {link}/64 dev {dev}",
        "ip address flush dev {dev}",
        "ip route flush dev {dev}",
        "ip -6 route flush dev {dev}",
        "ip route flush table local dev {dev}",
    ],
)
def test_what_the_kernel_made_and_somebody_removed_comes_back(stage: Stage, where: str, command: str) -> None:
    before = stage.routes()
    ns, dev, last, mac = (stage.host, "weft-n", 1, HOST_MAC) if where == "host" else (stage.container, "eth0", 2, MAC)
    names = {"own4": f"10.1.1.{last}", "own6": f"fd00:1::{last}", "link": link_local(mac)}
    ns.sh(command.format(dev=dev, v4="10.1.1.0/24", **names))
    stage.settle()
    assert (
        stage.kernel.read(stage.reconciler.desired, stage.reconciler.namespaces()).objects == stage.reconciler.desired
    )
    stage.answers()
    assert [wanted - found for wanted, found in zip(before, stage.routes(), strict=True)] == [set()] * 4


def test_a_route_that_the_kernel_has_not_made_yet_is_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy host makes a v6 address's route late. Nothing tells this from one that was removed, but that the kernel tells of
    a removal; of an old address it is missing in any case."""
    stage.host.sh("ip -6 route del local fd00:1::1 dev weft-n table local")
    assert stage.reconciler.resync().ops == ()
    monkeypatch.setattr(address, "SETTLING", 0)
    assert len(stage.reconciler.dry_run().ops) == 1
    monkeypatch.undo()
    assert stage.step() and "fd00:1::1" in stage.host.sh("ip -6 address show dev weft-n")
    stage.settle()
    stage.answers()


def test_what_was_put_back_goes_with_its_address(stage: Stage) -> None:
    """As what the kernel made does."""
    stage.host.sh("ip route del 10.1.1.0/24 dev weft-n")
    stage.host.sh("ip route del local 10.1.1.1 dev weft-n table local")
    stage.settle()
    stage.host.sh("ip address del 10.1.1.1/24 dev weft-n")
    assert "10.1.1." not in stage.host.sh("ip -4 route show table all dev weft-n")


def test_the_commands_that_put_it_back(stage: Stage) -> None:
    """What the plan prints does the same."""
    stage.host.sh("ip route del 10.1.1.0/24 dev weft-n")
    stage.host.sh("ip -6 route del fd00:1::/64 dev weft-n")
    ops = stage.reconciler.dry_run().ops
    assert all(isinstance(op, Change) and isinstance(op.new, Address) for op in ops)
    lines = script(ops)
    assert "ip route append 10.1.1.0/24 dev weft-n proto kernel scope link src 10.1.1.1" in lines
    for line in lines:
        stage.host.run(*line.split(), check=False)
    until(lambda: stage.reconciler.dry_run().ops == (), 5, "nothing to be left")


def test_what_is_there_already_and_is_ours_is_no_obstacle(stage: Stage) -> None:
    """As where what was told of it came from a namespace that was at the same path before."""
    ours = [obj for obj in stage.reconciler.desired.values() if isinstance(obj, Address | Route)]
    assert len(ours) == 8
    assert stage.kernel.apply([Create(obj) for obj in ours]) == []
    stage.answers()
    stage.container.sh("ip route replace default via 10.1.1.1 dev eth0 proto static")
    [theirs] = [obj for obj in ours if isinstance(obj, Route) and obj.prefix == "0.0.0.0/0"]
    [failure] = stage.kernel.apply([Create(theirs)])
    assert "exists and is not Weft's" in failure.reason
