"""What should be in the lab, as plain data: networks, containers, and who reaches whom.

Nothing here asks a lab. The plan of a run is drawn from this model alone, so the same seed always gives the same plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from weft.base.net import IPAddress
from weft.model import Network, PublishedPort
from weft.model.network import OptionValue

HOSTS = ("node-1", "node-2", "node-3", "node-4")
BEHIND_ROUTER = "node-4"
"""The other hosts share one segment."""
DRIVERS = ("bridge", "vxlan", "host-gw", "overlay", "routed")
FIRST_RANDOM = 20
"""Networks below this number stay during the whole run."""

SPARE = "spare"
"""A namespace on each host that nothing is ever attached to."""
FIFO = "/run/chaos-fifo"
"""On each host."""


def published(port: int) -> tuple[PublishedPort, ...]:
    """Of a container; 0: none."""
    return (PublishedPort(host_port=port, container_port=80),) if port else ()


@dataclass(frozen=True)
class Net:
    """`number`: unique among those that exist; prefixes and VNI follow from it."""

    name: str
    driver: str
    number: int
    internal: bool = False

    def as_network(self) -> Network:
        length = 48 if self.driver in ("bridge", "vxlan", "host-gw") else 64
        subnets = ip_network(f"10.{60 + self.number}.0.0/16"), ip_network(f"fd60:{self.number:x}::/{length}")
        options: dict[str, OptionValue] = {}
        if self.driver == "vxlan":
            options = {"vni": 1000 + self.number, "direct-routing": self.number % 2 == 1}
        if self.driver == "routed":
            options = {"encap": "vxlan-cross-subnet", "vni": 4096 + self.number}
        return Network(name=self.name, driver=self.driver, subnets=subnets, internal=self.internal, options=options)


@dataclass(frozen=True)
class Box:
    """A container. `port`: of its host, leads to its port 80; 0 where none does. `floating`: as `Model.floating` numbers
    it, 0 for none. `owned`: it was attached with a key of its owner's, by which its ports can be changed."""

    name: str
    host: str
    net: str
    port: int = 0
    floating: int = 0
    owned: bool = False
    limited: bool = False

    @property
    def owner(self) -> str:
        return f"chaos-{self.name}" if self.owned else ""

    @property
    def floating_addresses(self) -> tuple[IPAddress, ...]:
        if not self.floating:
            return ()
        return ip_address(f"198.51.100.{self.floating}"), ip_address(f"2001:db8:f::{self.floating:x}")


@dataclass(frozen=True)
class Model:
    """`count`: how many names were given, so that none comes twice."""

    nets: dict[str, Net] = field(default_factory=dict)
    boxes: dict[str, Box] = field(default_factory=dict)
    count: int = 0

    def with_net(self, net: Net) -> Model:
        return replace(self, nets={**self.nets, net.name: net}, count=self.count + 1)

    def without_net(self, name: str) -> Model:
        return replace(self, nets={n: net for n, net in self.nets.items() if n != name})

    def with_box(self, box: Box) -> Model:
        """Also for one that changes."""
        return replace(self, boxes={**self.boxes, box.name: box}, count=self.count + (box.name not in self.boxes))

    def without_box(self, name: str) -> Model:
        return replace(self, boxes={n: box for n, box in self.boxes.items() if n != name})

    def on(self, host: str) -> list[Box]:
        return [box for box in self.boxes.values() if box.host == host]

    def of(self, net: str) -> list[Box]:
        return [box for box in self.boxes.values() if box.net == net]

    def random_boxes(self) -> list[Box]:
        """Those that operations may touch."""
        return [box for box in self.boxes.values() if box.name not in STEADY.boxes]

    def random_nets(self) -> list[Net]:
        return [net for net in self.nets.values() if net.number >= FIRST_RANDOM]

    def reaches(self, source: Box, target: Box) -> bool:
        """Whether it must, or must not."""
        net, other = self.nets[source.net], self.nets[target.net]
        if net != other:
            return False
        if net.driver == "bridge":
            return source.host == target.host
        if net.driver == "host-gw":
            return (source.host == BEHIND_ROUTER) == (target.host == BEHIND_ROUTER)
        return True


def _steady() -> Model:
    """A network of each driver and an internal one, each with a pair of containers that no operation touches."""
    model = Model()
    places = (
        ("br", "bridge", False, "node-1", "node-1"),
        ("vx", "vxlan", False, "node-1", "node-4"),
        ("hg", "host-gw", False, "node-1", "node-2"),
        ("ov", "overlay", False, "node-2", "node-4"),
        ("rt", "routed", False, "node-1", "node-3"),
        ("in", "vxlan", True, "node-2", "node-3"),
    )
    for number, (name, driver, internal, one, other) in enumerate(places):
        model = model.with_net(Net(name, driver, number, internal))
        model = model.with_box(Box(f"{name}-a", one, name)).with_box(Box(f"{name}-b", other, name))
    return model.with_box(replace(model.boxes["vx-a"], port=7000))


STEADY = _steady()
"""What is there at the beginning, and all the time."""
