from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hoststates import alike
from support.namespaces import Home, Namespace
from weft.hoststate import Bridge, Key, Link, Object, Veth, Vxlan
from weft.kernel.linux import LinuxKernel
from weft.reconcile.protocol import Change, Create, Failure, Reading, Remove


class Bench:
    """A LinuxKernel in the test's namespace, with the desired state beside it."""

    def __init__(self, netns: Home, run: Path) -> None:
        self.netns = netns
        self.run = run
        self.desired: dict[Key, Object] = {}
        self.kernel = LinuxKernel(self.desired, run)

    def create(self, *objects: Object) -> list[Failure]:
        self.desired |= {obj.key: obj for obj in objects}
        return self.kernel.apply([Create(obj) for obj in objects])

    def made(self, *objects: Object) -> None:
        assert self.create(*objects) == []

    def change(self, old: Object, new: Object) -> list[Failure]:
        assert old.key == new.key
        self.desired[new.key] = new
        return self.kernel.apply([Change(old, new)])

    def remove(self, *objects: Object) -> list[Failure]:
        for obj in objects:
            self.desired.pop(obj.key, None)
        return self.kernel.apply([Remove(obj) for obj in objects])

    def read(self, *namespaces: str) -> Reading:
        return self.kernel.read(self.desired, frozenset(namespaces or {obj.ns for obj in self.desired.values()} | {""}))

    def converged(self) -> bool:
        return self.holds(*self.desired.values())

    def holds(self, *objects: Object) -> bool:
        """These, and nothing else of ours."""
        found = self.read().objects
        return found.keys() == {obj.key for obj in objects} and all(alike(found[obj.key], obj) for obj in objects)

    def difference(self) -> list[Object | None]:
        """What of the desired is read otherwise, and what is read beyond it: for messages."""
        found = self.read().objects
        keys = [key for key in found.keys() | self.desired.keys() if not alike(found.get(key), self.desired.get(key))]
        return [obj for key in keys for obj in (self.desired.get(key), found.get(key))]


@pytest.fixture
def bench(netns: Home, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(netns, tmp_path / "run")
    yield bench
    bench.kernel.close()


@pytest.fixture
def uplink(netns: Home) -> str:
    """eth0 with 192.168.1.68/24 and fd00:a::68/64, and the default routes; its other end is in a namespace of its own."""
    router = netns.new()
    netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "port", "netns", router.path)
    router.run("ip", "link", "set", "port", "up")
    for command in (
        "link set eth0 up",
        "addr add 192.168.1.68/24 dev eth0",
        "addr add fd00:a::68/64 dev eth0 nodad",
        "route add default via 192.168.1.1",
        "-6 route add default via fd00:a::1",
    ):
        netns.run("ip", *command.split())
    return "eth0"


@pytest.fixture
def container(netns: Home) -> Namespace:
    return netns.new()


BRIDGE = Link(name="weft-n", type=Bridge(), mtu=1450, mac="02:11:22:33:44:55", alias="weft:network/n")
VTEP = Link(
    name="weft.1",
    type=Vxlan(1, 8472, "192.168.1.68", "eth0"),
    mtu=1450,
    mac="02:11:22:33:44:66",
    alias="weft:network/n",
)


@pytest.fixture
def bridge() -> Link:
    return BRIDGE


@pytest.fixture
def vtep(uplink: str) -> Link:
    return VTEP


@pytest.fixture
def pair(container: Namespace) -> tuple[Link, Link]:
    """A container's veth: the host's end, a port of `weft-n`, and the container's."""
    host = Link(name="vh1", type=Veth("eth0", container.path), mtu=1450, master="weft-n", alias="weft:endpoint/n/a")
    inner = Link(
        name="eth0",
        type=Veth("vh1", "", primary=False),
        mtu=1450,
        mac="02:11:22:33:44:77",
        alias="weft:endpoint/n/a",
        ns=container.path,
    )
    return host, inner
