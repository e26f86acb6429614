"""Ten thousand services on one host: all of them at once, then a member that comes or goes.

Runs inside a namespace of its own (a lab's host): `python -m bench.service_scale SERVICES MEMBERS CHANGES` prints JSON.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from bench import model
from bench.policies import ON_EACH, endpoint
from weft.base.errors import Failed
from weft.cluster import footprint
from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.compile import services as compiled
from weft.compile.compiler import Compiler
from weft.datapaths.driver import Host
from weft.hoststate import Key, NftChain, NftElement, NftSet, Object, Union
from weft.kernel.linux import LinuxKernel
from weft.model import encode, keys, records
from weft.reconcile.plan import changes
from weft.reconcile.protocol import Change as Replace
from weft.reconcile.protocol import Create, Op, Remove
from weft.services.model import Service, ServicePort
from weft.services.record import CONDITIONS, SERVICE
from weft.store.protocol import Change

_FIRST = IPv4Address("10.79.0.0")
"""Virtual addresses from here on; nodes have none of these."""


class Times(msgspec.Struct):
    """Seconds; `…_cpu` of it on a processor; `…_ms` milliseconds, one for each change. `objects`: in the kernel. `rss` and
    `kernel_memory`: MB, of this process at the end, and what the kernel's memory grew by."""

    compute: float = 0.0
    compute_cpu: float = 0.0
    kernel: float = 0.0
    kernel_cpu: float = 0.0
    objects: int = 0
    member_compute_ms: list[float] = []
    member_kernel_ms: list[float] = []
    rss: float = 0.0
    kernel_memory: float = 0.0


class Cluster:
    """What services want of node-1: `known` is what its kernel is thought to have."""

    def __init__(self) -> None:
        self._revision, self._changed = 0, Changed()
        self.view = View("node-1")
        self.view.subscribe("the bench", lambda changed: self._changed.update(changed))
        self.view.open(records.LOCATIONS, model.NETWORK.name)
        self.view.open(CONDITIONS, model.NETWORK.name)
        self.compiler = Compiler(self.view)
        self.compiler.host = Host(node=model.node(1))
        self.union = Union()
        self.known: dict[Key, Object] = {}

    def tell(self, items: Iterable[tuple[str, bytes | None]]) -> None:
        self._revision += 1
        self.view.apply([Change(key, value, self._revision) for key, value in items])

    def ops(self) -> tuple[Op, ...]:
        """What follows from all that was told since the last time."""
        changed, self._changed = self._changed, Changed()
        differing: set[Key] = set()
        for source in self.compiler.touched(changed):
            if source.contributor in (compiled.NAME, compiled.PLACE):
                differing |= self.union.set(source, self.compiler.contribution(source))
        some = (self.union.desired.get(key) for key in differing)
        wanted = {obj.key: obj for obj in some if isinstance(obj, NftChain | NftSet | NftElement)}
        return changes((key for key in differing if key in wanted or key in self.known), wanted, self.known).ops

    def carried_out(self, ops: Iterable[Op]) -> None:
        for op in ops:
            match op:
                case Create(obj) | Replace(_, obj):
                    self.known[obj.key] = obj
                case Remove(obj):
                    self.known.pop(obj.key, None)


def _service(number: int) -> tuple[str, bytes]:
    found = Service(
        name=f"s{number}",
        network=model.NETWORK.name,
        select=f"app=a{number}",
        ports=(ServicePort(port=80, target=8080),),
        addresses=(_FIRST + number,),
    )
    return SERVICE.key(found.network, found.name), encode(found)


def _member(number: int, members: int) -> tuple[str, bytes]:
    one = endpoint(number, {"app": f"a{number // members}"})
    return keys.location(one.network, one.id), encode(footprint.location(one))


def _nodes(containers: int) -> Iterator[tuple[str, bytes]]:
    yield keys.network(model.NETWORK.name), encode(model.NETWORK)
    for number in range(1, 1 + -(-containers // ON_EACH)):
        yield from model.node_items(number)


def main(services: int, members: int, count: int) -> Times:
    times, cluster = Times(), Cluster()
    cluster.tell(_nodes(services * members))
    containers = [_member(n, members) for n in range(services * members)]
    some = [_service(n) for n in range(services)]
    with tempfile.TemporaryDirectory() as folder:
        kernel = LinuxKernel({}, Path(folder))
        with _clocked(times, "compute"):
            cluster.tell(containers)
            cluster.tell(some)
            ops = cluster.ops()
        before = _kernel_memory()
        with _clocked(times, "kernel"):
            _apply(kernel, ops)
        cluster.carried_out(ops)
        times.kernel_memory, times.objects = _kernel_memory() - before, len(ops)
        for number in range(count):
            key, value = containers[number // 2 * members % len(containers)]
            start = time.perf_counter()
            cluster.tell([(key, value if number % 2 else None)])
            ops = cluster.ops()
            computed = time.perf_counter()
            _apply(kernel, ops)
            times.member_compute_ms.append(1000 * (computed - start))
            times.member_kernel_ms.append(1000 * (time.perf_counter() - computed))
            cluster.carried_out(ops)
    times.rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return times


@contextmanager
def _clocked(times: Times, name: str) -> Iterator[None]:
    start, cpu = time.perf_counter(), time.process_time()
    yield
    setattr(times, name, time.perf_counter() - start)
    setattr(times, f"{name}_cpu", time.process_time() - cpu)


def _apply(kernel: LinuxKernel, ops: tuple[Op, ...]) -> None:
    if failures := kernel.apply(ops):
        raise Failed(failures[0].reason)


def _kernel_memory() -> float:
    """MB of what the kernel cannot give back, tables of its own among it (proc_meminfo(5)). Of the whole machine."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(fields[name].split()[0]) for name in ("SUnreclaim", "VmallocUsed", "Percpu")) / 1024


if __name__ == "__main__":
    print(msgspec.json.encode(main(*map(int, sys.argv[1:4]))).decode())
