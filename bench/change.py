"""One endpoint comes or goes in a large model: from the store's change to the plan, without the kernel.

An agent follows the endpoints of its own node only, so those of the others cost it nothing but the peers they are on.
"""

from __future__ import annotations

import time
from statistics import median

import msgspec

from bench import model
from bench.figures import Figure, Goal, Named, beside
from bench.stats import percentile
from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.compile.compiler import Compiler
from weft.datapaths.driver import Host
from weft.hoststate import Key as ObjectKey
from weft.hoststate import Object, Union
from weft.model import encode, keys
from weft.reconcile.plan import changes, plan
from weft.reconcile.protocol import Change as Replace
from weft.reconcile.protocol import Create, Op, Reading, Remove
from weft.store.protocol import Change

GOAL = Goal("value", most=5.0)


class Effort(msgspec.Struct, frozen=True):
    nodes: int = 1_000
    endpoints: int = 100
    """On each node."""
    changes: int = 1_000
    whole: int = 3
    """How often all is compiled, for comparison."""


QUICK = Effort(whole=1)


class Core:
    """The agent's pure part, converged: what it knows of the kernel is what is desired."""

    def __init__(self, effort: Effort) -> None:
        self._revision = 0
        self._changed = Changed()
        self.view = View("node-1")
        self.view.subscribe("the bench", lambda changed: self._changed.update(changed))
        self.compiler = Compiler(self.view)
        self.compiler.host = Host(node=model.node(1), lacking=frozenset())
        self.union = Union()
        self.known: dict[ObjectKey, Object] = {}
        self._tell(keys.network(model.NETWORK.name), encode(model.NETWORK))
        for number in range(1, effort.nodes + 1):
            for key, value in model.node_items(number):
                self._tell(key, value)
        for index in range(effort.endpoints):
            self._tell(*model.endpoint_item(1, index))
        self.whole()
        self.known = dict(self.union.desired)

    def whole(self) -> int:
        """Compile everything and compare; how many operations from nothing."""
        self.union = Union()
        for source in self.compiler.everything():
            self.union.set(source, self.compiler.contribution(source))
        self._changed = Changed()
        return len(plan(self.union.desired, Reading({}), {key[1] for key in self.union.desired}).ops)

    def change(self, key: str, value: bytes | None) -> tuple[Op, ...]:
        """What one change in the store leads to."""
        self._changed = Changed()
        self._tell(key, value)
        differing: set[ObjectKey] = set()
        for source in self.compiler.touched(self._changed):
            differing |= self.union.set(source, self.compiler.contribution(source))
        return changes(differing, dict(self.union.desired), self.known).ops

    def carried_out(self, ops: tuple[Op, ...]) -> None:
        for op in ops:
            match op:
                case Create(obj) | Replace(_, obj):
                    self.known[obj.key] = obj
                case Remove(obj):
                    self.known.pop(obj.key, None)
        for gone in [key for key in self.known if key not in self.union.desired]:
            del self.known[gone]  # went with its device

    def _tell(self, key: str, value: bytes | None) -> None:
        self._revision += 1
        with self.view.removing([key]):
            self.view.apply([Change(key, value, self._revision)])


def run(effort: Effort) -> list[Figure]:
    core = Core(effort)
    took, whole = [], []
    for number in range(effort.changes):
        key, value = model.endpoint_item(1, effort.endpoints + number // 2 % 50)
        start = time.perf_counter()
        ops = core.change(key, value if number % 2 == 0 else None)
        took.append((time.perf_counter() - start) * 1000)
        core.carried_out(ops)
    for _ in range(effort.whole):
        start = time.perf_counter()
        core.whole()
        whole.append((time.perf_counter() - start) * 1000)
    group = f"one endpoint of {effort.nodes * effort.endpoints:,} on {effort.nodes:,} nodes changes"
    reference = (median(whole), whole)
    return [
        beside(Named(group, "compile + diff p50", "ms", "all anew"), (median(took), took), reference, GOAL),
        beside(Named(group, "compile + diff p99", "ms", "all anew"), (percentile(took, 0.99), took), reference, GOAL),
    ]
