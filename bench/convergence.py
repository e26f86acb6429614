"""How soon the others know: from a container's attachment on node-1 to the first answer from node-4, and from the removal
of node-3 to its routes gone on all others; in the reference lab, over VXLAN. For routed networks see `bench.settling`.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

import msgspec

from bench import labs, settling
from bench.figures import Figure, Named, single
from weft.base.errors import Failed
from weft.lab import Host, Lab, reference

NETWORK, SUBNET = "blue", "10.61.0.0/16"
NODES = ("node-1", "node-2", "node-3", "node-4")
LEAVING = "node-3"
Progress = Callable[[str], None]
_LONGEST = 40.0
"""Seconds to wait for a route to come or go."""


class Effort(msgspec.Struct, frozen=True):
    """`attaches` on node-1; how often a node is removed and comes back: `removals`; how often a container moves, away and
    home in turns: `moves`."""

    attaches: int = 40
    removals: int = 10
    moves: int = 20


QUICK = Effort(attaches=10, removals=2, moves=4)


def run(effort: Effort, progress: Progress) -> list[Figure]:
    figures = []
    for store in ("sqlite", "etcd"):
        with labs.up(reference(), agents=NODES, store=store) as lab:
            labs.create(lab, "node-1", NETWORK, "vxlan", SUBNET)
            lab.run("node-4", f"{NETWORK}-listener", network=NETWORK)
            progress(f"convergence: attach, {store}")
            name = "attach on node-1 → answer from node-4"
            figures += settling.first_answers(lab, f"convergence on {store}", name, NETWORK, "node-4", effort.attaches)
            progress(f"convergence: node rm, {store}")
            figures += _removals(lab, f"convergence on {store}", effort.removals)
        figures += settling.run(store, effort.attaches, effort.moves, progress)
    return figures


def _removals(lab: Lab, group: str, count: int) -> list[Figure]:
    others = [name for name in NODES if name != LEAVING]
    took: list[float] = []
    with ExitStack() as stack:
        watches = [stack.enter_context(_watching(lab, name)) for name in others]
        for _ in range(count):
            prefix = _subnet(lab)
            for watch in watches:
                watch.await_there(prefix)
            lab.agent(LEAVING).end(signal.SIGTERM)
            asked = time.monotonic()
            labs.client(lab, "node-1").remove_node(LEAVING, force=True)
            took.append(max(watch.await_gone(prefix) - asked for watch in watches) * 1000)
            lab.agent(LEAVING).start()
            lab.agent(LEAVING).wait_ready()
            labs.wait_started(lab, LEAVING)
    name = "node rm → routes gone on all"
    return [
        single(Named(group, f"{name}, p50", "ms"), median(took), took),
        single(Named(group, f"{name}, longest", "ms"), max(took), took),
    ]


def _subnet(lab: Lab) -> str:
    """The leaving node's own, as soon as it has one."""
    deadline, never = time.monotonic() + _LONGEST, threading.Event()
    while time.monotonic() < deadline:
        for lease in labs.client(lab, "node-1").network(NETWORK).leases:
            if lease.node == LEAVING:
                return str(lease.subnets[0])
        never.wait(0.02)
    raise Failed(f"{LEAVING} has no subnet after {_LONGEST:.0f} s: {lab.agent(LEAVING).tail()}")


class _Watch:
    """The removals of IPv4 routes on a host, and when they were told."""

    def __init__(self, host: Host, lines: Iterator[str]) -> None:
        self._host, self._lines = host, lines
        self._gone: dict[str, float] = {}
        self._news = threading.Condition()

    def listen(self) -> None:
        """Until the lines end."""
        for line in self._lines:
            if line.startswith("Deleted "):
                with self._news:
                    self._gone[line.split()[1]] = time.monotonic()
                    self._news.notify_all()

    def await_there(self, prefix: str) -> None:
        """Raises Failed. Forgets what was told of this route before."""
        deadline, never = time.monotonic() + _LONGEST, threading.Event()
        while prefix not in self._host.run(["ip", "route", "show", prefix]).stdout:
            if time.monotonic() > deadline:
                raise Failed(f"{self._host.name} has no route to {prefix} after {_LONGEST:.0f} s")
            never.wait(0.02)
        with self._news:
            self._gone.pop(prefix, None)

    def await_gone(self, prefix: str) -> float:
        """When it went, on the monotonic clock. Raises Failed."""
        with self._news:
            if not self._news.wait_for(lambda: prefix in self._gone, _LONGEST):
                raise Failed(f"{self._host.name} still has its route to {prefix} after {_LONGEST:.0f} s")
            return self._gone[prefix]


@contextmanager
def _watching(lab: Lab, name: str) -> Iterator[_Watch]:
    host = lab.host(name)
    with host.popen(["ip", "-4", "-o", "monitor", "route"], stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        watch = _Watch(host, iter(process.stdout))
        thread = threading.Thread(target=watch.listen, name=f"routes of {name}")
        thread.start()
        try:
            yield watch
        finally:
            process.terminate()
            thread.join()
