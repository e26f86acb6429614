"""What a run does, step by step, as a function of its seed alone."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from chaos.faults import FAULTS, Fault
from chaos.model import HOSTS, STEADY, Model
from chaos.operations import Operation, Wrong, draw
from weft.lab.topology import ROUTER

_TRIES = 12  # draws of operations for a step; not each makes sense, or goes together with those before
_MOST_AT_ONCE = 4
_PLACES = {"all": HOSTS, "router": (ROUTER,)}
_CALM = 0.12
"""How many steps are without a fault."""


@dataclass(frozen=True)
class Step:
    """While `fault` (None for none) is on at `hosts` for `seconds`, `operations` are done at the same time.
    `pick`: which device, container … of a host the fault takes. `after`: what should be in the end."""

    number: int
    fault: Fault | None
    hosts: tuple[str, ...]
    seconds: float
    pick: int
    operations: tuple[Operation, ...]
    after: Model

    def __str__(self) -> str:
        where = "" if self.hosts == HOSTS else f" on {', '.join(self.hosts)}"
        held = f" for {self.seconds:.1f} s" if self.seconds else ""
        fault = f"{self.fault.name}{where}{held}" if self.fault else "no fault"
        return f"step {self.number}: {fault}" + "".join(f" · {operation}" for operation in self.operations)


def steps(seed: int, *, short: bool = False, without: Collection[str] = ()) -> Iterator[Step]:
    """For ever. `short`: without the faults that take long. `without`: names of faults, and of wrong
    requests, to leave out."""
    rng = random.Random(seed)
    faults = [f for f in FAULTS if f.name not in without and not (short and f.long)]
    model, number, queue = STEADY, 0, list[Fault]()
    while True:
        number += 1
        if not queue:  # each fault once, in random order, before any comes again
            queue = rng.sample(faults, len(faults))
        fault = None if rng.random() < _CALM or not faults else queue.pop()
        chosen, model = _operations(model, rng, 0 if fault and fault.alone else _MOST_AT_ONCE, without)
        hosts = _PLACES.get(fault.at if fault else "all", (rng.choice(HOSTS),))
        seconds = rng.uniform(*fault.seconds) if fault else 0.0
        yield Step(number, fault, hosts, seconds, rng.randrange(1000), chosen, model)


def _operations(
    model: Model, rng: random.Random, most: int, without: Collection[str]
) -> tuple[tuple[Operation, ...], Model]:
    """Some that can be done at the same time, and the model after them."""
    chosen, touched, wanted = list[Operation](), set[str](), rng.randint(min(1, most), most)
    before = model
    for _ in range(_TRIES):
        if len(chosen) == wanted:
            break
        operation = draw(before, rng)
        if operation is None or operation.touches & touched or _left_out(operation, without):
            continue
        named = _named_apart(operation, model)
        if named is not None:
            chosen.append(named)
            touched |= named.touches
            model = named.apply(model)
    return tuple(chosen), model


def _left_out(operation: Operation, without: Collection[str]) -> bool:
    return isinstance(operation, Wrong) and operation.what in without


def _named_apart(operation: Operation, model: Model) -> Operation | None:
    """None where it is the same as one of this step already: two new ones of one name, one port wanted twice."""
    after = operation.apply(model)
    ports = [box.port for box in after.boxes.values() if box.port]
    floating = [box.floating for box in after.boxes.values() if box.floating]
    if len(set(ports)) != len(ports) or len(set(floating)) != len(floating):
        return None
    return operation
