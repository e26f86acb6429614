"""Memory and descriptors of the agents: flat, however much has happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from chaos.model import HOSTS
from chaos.world import World
from weft.lab.process import PROC, Process

MORE_DESCRIPTORS = 12
"""More than at the first look: each network and container in flight has some."""
MORE_MEMORY = 40 << 20
"""Octets. What an agent has learnt to decode and keep for reuse grows for a while, then no more."""


@dataclass(frozen=True)
class Use:
    descriptors: int
    memory: int
    threads: int

    @staticmethod
    def of(process: Process) -> Use:
        path = PROC / str(process.pid)
        status = dict(line.split(":", 1) for line in (path / "status").read_text().splitlines())
        return Use(len(list((path / "fd").iterdir())), int(status["VmRSS"].split()[0]) << 10, int(status["Threads"]))


@dataclass
class Flat:
    """Keeps the first look at each process that it meets; one that was started again is another."""

    first: dict[Process, Use] = field(default_factory=dict)

    def look(self, world: World) -> Iterator[str]:
        for host in HOSTS:
            process = world.lab.agent(host).process()
            if process is None:
                yield f"{host}: no agent runs"
                continue
            now = Use.of(process)
            then = self.first.setdefault(process, now)
            if now.descriptors > then.descriptors + MORE_DESCRIPTORS:
                yield f"{host}: the agent has {now.descriptors} descriptors, after {then.descriptors} at first"
            if now.memory > then.memory + MORE_MEMORY:
                yield f"{host}: the agent has {now.memory >> 20} MiB, after {then.memory >> 20} at first"
            if now.threads > then.threads + MORE_DESCRIPTORS:
                yield f"{host}: the agent has {now.threads} threads, after {then.threads} at first"
