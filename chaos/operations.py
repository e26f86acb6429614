"""What users do: drawn from the model, done to the lab, and what the model is afterwards.

Each is data. `draw` chooses one that makes sense now, or None. `apply` says what should be afterwards. `perform` does it
and may be called again after it has failed half-way: it then goes on, or finds that it is done already.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from chaos import wrong
from chaos.model import DRIVERS, FIRST_RANDOM, HOSTS, Box, Model, Net, published
from chaos.world import World
from weft.api import types as t
from weft.base.errors import Conflict, NotFound
from weft.model import Bandwidth

MOST_NETS = 5
MOST_BOXES = 14
_FLOATING = range(1, 9)
_PORTS = range(7001, 7030)


class Operation(ABC):
    @property
    @abstractmethod
    def touches(self) -> frozenset[str]:
        """Names of networks and containers. Operations that run at the same time have none in common."""

    @abstractmethod
    def apply(self, model: Model) -> Model: ...

    @abstractmethod
    def perform(self, world: World) -> None:
        """Raises WeftError."""


@dataclass(frozen=True)
class Attach(Operation):
    box: Box

    @classmethod
    def draw(cls, model: Model, rng: random.Random) -> Attach | None:
        if len(model.random_boxes()) >= MOST_BOXES:
            return None
        net = rng.choice(list(model.nets.values()))
        ports = [p for p in _PORTS if p not in {b.port for b in model.boxes.values()}]
        port = rng.choice(ports) if not net.internal and rng.random() < 0.3 else 0
        box = Box(
            name=f"c{model.count}",
            host=rng.choice(HOSTS),
            net=net.name,
            port=port,
            owned=rng.random() < 0.5,
            limited=rng.random() < 0.2,
        )
        return cls(box)

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({self.box.name, self.box.net} if self.box.net.startswith("n") else {self.box.name})

    def apply(self, model: Model) -> Model:
        return model.with_box(self.box)

    def perform(self, world: World) -> None:
        box = self.box
        world.make_namespace(box.host, box.name)
        limits = Bandwidth(ingress=50_000_000, egress=50_000_000) if box.limited else None
        request = t.Attach(
            target=box.name, network=box.net, owner=box.owner, ports=published(box.port), bandwidth=limits
        )
        world.client(box.host).attach(request)

    def __str__(self) -> str:
        return f"attach {self.box.name} to {self.box.net} on {self.box.host}"


@dataclass(frozen=True)
class Detach(Operation):
    box: Box

    @classmethod
    def draw(cls, model: Model, rng: random.Random) -> Detach | None:
        boxes = model.random_boxes()
        return cls(rng.choice(boxes)) if boxes else None

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({self.box.name})

    def apply(self, model: Model) -> Model:
        return model.without_box(self.box.name)

    def perform(self, world: World) -> None:
        if self.box.name in world.namespaces(self.box.host):
            with suppress(NotFound):  # an earlier try got that far
                world.client(self.box.host).detach(self.box.name, self.box.net)
            world.remove_namespace(self.box.host, self.box.name)

    def __str__(self) -> str:
        return f"detach {self.box.name}"


@dataclass(frozen=True)
class Kill(Detach):
    """The container ends, and nobody tells Weft."""

    def perform(self, world: World) -> None:
        world.remove_namespace(self.box.host, self.box.name)

    def __str__(self) -> str:
        return f"kill {self.box.name}"


@dataclass(frozen=True)
class Move(Operation):
    box: Box
    to: str

    @classmethod
    def draw(cls, model: Model, rng: random.Random) -> Move | None:
        boxes = [b for b in model.random_boxes() if model.nets[b.net].driver == "routed" and not b.port]
        if not boxes:
            return None
        box = rng.choice(boxes)
        near = [host for host in HOSTS[:-1] if host != box.host]
        return cls(box, rng.choice(near if box.floating else [h for h in HOSTS if h != box.host]))

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({self.box.name})

    def apply(self, model: Model) -> Model:
        return model.with_box(replace(self.box, host=self.to, owned=False))  # an owner is of one host

    def perform(self, world: World) -> None:
        world.make_namespace(self.to, self.box.name)
        found = world.endpoint(self.box)
        if found.node != self.to:
            world.client(self.to).move(found.id, t.Move(target=self.box.name))
        world.remove_namespace(self.box.host, self.box.name)

    def __str__(self) -> str:
        return f"move {self.box.name} from {self.box.host} to {self.to}"


@dataclass(frozen=True)
class Float(Operation):
    """`number`: 0 takes the addresses away."""

    box: Box
    number: int

    @classmethod
    def draw(cls, model: Model, rng: random.Random) -> Float | None:
        open_nets = {net.name for net in model.nets.values() if net.driver == "routed" and not net.internal}
        boxes = [b for b in model.random_boxes() if b.net in open_nets and b.host in HOSTS[:-1]]
        if not boxes:
            return None
        box = rng.choice(boxes)
        free = [n for n in _FLOATING if n not in {b.floating for b in model.boxes.values()}]
        return cls(box, 0 if box.floating else rng.choice(free))

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({self.box.name, f"floating {self.number or self.box.floating}"})

    def apply(self, model: Model) -> Model:
        return model.with_box(replace(self.box, floating=self.number))

    def perform(self, world: World) -> None:
        wanted = replace(self.box, floating=self.number).floating_addresses
        found = world.endpoint(self.box)
        if set(found.floating) == set(wanted):
            return
        if wanted:
            world.client(self.box.host).add_floating(found.id, t.Float(addresses=wanted))
        else:
            world.client(self.box.host).remove_floating(found.id, ",".join(map(str, self.box.floating_addresses)))

    def __str__(self) -> str:
        return f"float {self.number} to {self.box.name}" if self.number else f"unfloat {self.box.name}"


@dataclass(frozen=True)
class Publish(Operation):
    box: Box
    port: int

    @classmethod
    def draw(cls, model: Model, rng: random.Random) -> Publish | None:
        boxes = [b for b in model.random_boxes() if b.owned and not model.nets[b.net].internal]
        if not boxes:
            return None
        free = [p for p in _PORTS if p not in {b.port for b in model.boxes.values()}]
        return cls(rng.choice(boxes), rng.choice(free))

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({self.box.name, f"port {self.port}"})

    def apply(self, model: Model) -> Model:
        return model.with_box(replace(self.box, port=self.port))

    def perform(self, world: World) -> None:
        world.client(self.box.host).publish(t.Publish(owner=self.box.owner, ports=published(self.port)))

    def __str__(self) -> str:
        return f"publish {self.port} of {self.box.host} for {self.box.name}"


@dataclass(frozen=True)
class MakeNet(Operation):
    net: Net
    host: str

    @classmethod
    def draw(cls, model: Model, rng: random.Random) -> MakeNet | None:
        if len(model.random_nets()) >= MOST_NETS:
            return None
        taken = {net.number for net in model.nets.values()}
        number = next(n for n in range(FIRST_RANDOM, 255) if n not in taken)
        driver = rng.choice(DRIVERS)
        internal = rng.random() < 0.25
        return cls(Net(f"n{model.count}", driver, number, internal), rng.choice(HOSTS))

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({self.net.name})

    def apply(self, model: Model) -> Model:
        return model.with_net(self.net)

    def perform(self, world: World) -> None:
        try:
            world.client(self.host).create_network(self.net.as_network())
        except Conflict as error:
            known = {net.name: net.subnets for net in world.client(self.host).networks()}
            if known.get(self.net.name) != self.net.as_network().subnets:
                raise error from None

    def __str__(self) -> str:
        return f"make {'internal ' * self.net.internal}{self.net.driver} network {self.net.name} on {self.host}"


@dataclass(frozen=True)
class RemoveNet(Operation):
    net: Net
    host: str

    @classmethod
    def draw(cls, model: Model, rng: random.Random) -> RemoveNet | None:
        empty = [net for net in model.random_nets() if not model.of(net.name)]
        return cls(rng.choice(empty), rng.choice(HOSTS)) if empty else None

    @property
    def touches(self) -> frozenset[str]:
        return frozenset({self.net.name})

    def apply(self, model: Model) -> Model:
        return model.without_net(self.net.name)

    def perform(self, world: World) -> None:
        try:
            world.client(self.host).remove_network(self.net.name)
        except NotFound:
            if world.knows_network(self.net.name):
                raise

    def __str__(self) -> str:
        return f"remove network {self.net.name} on {self.host}"


@dataclass(frozen=True)
class Wrong(Operation):
    """A request that has to be refused, in one line, and changes nothing."""

    what: str
    host: str

    @classmethod
    def draw(cls, model: Model, rng: random.Random) -> Wrong | None:
        return cls(rng.choice(list(wrong.REQUESTS)), rng.choice(HOSTS))

    @property
    def touches(self) -> frozenset[str]:
        return frozenset()

    def apply(self, model: Model) -> Model:
        return model

    def perform(self, world: World) -> None:
        wrong.refused(world, self.what, self.host)

    def __str__(self) -> str:
        return f"wrong request to {self.host}: {self.what}"


OPERATIONS: dict[Callable[[Model, random.Random], Operation | None], int] = {
    Attach.draw: 8,
    Detach.draw: 3,
    Kill.draw: 3,
    Move.draw: 3,
    Float.draw: 3,
    Publish.draw: 2,
    MakeNet.draw: 3,
    RemoveNet.draw: 2,
    Wrong.draw: 3,
}
"""How often each is drawn, against the others."""


def draw(model: Model, rng: random.Random) -> Operation | None:
    """One that makes sense in the model; None where the one that was drawn does not."""
    return rng.choices(list(OPERATIONS), list(OPERATIONS.values()))[0](model, rng)
