"""Hosts that probe each other in a simulated time, over ways that lose, delay and cut off what a test says."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from weft.datapaths.driver import Path
from weft.paths.channels import TICK, Channel, Peer, Way
from weft.paths.machine import Machine
from weft.paths.probe import Probe

FULL = {Way.KERNEL: 1450, Way.SLEEVE: 1400}
Passes = Callable[[str, str, Way, int], bool]
"""(from, to, way, size) → whether it gets there."""


class Wires:
    def __init__(self, names: str, seed: int = 0, active: Callable[[str, str], bool] = lambda _a, _b: True) -> None:
        self.chance = random.Random(seed)
        self.now, self.loss = 0.0, 0.0
        self.passes: Passes = lambda _from, _to, _way, _size: True
        self.machines = {name: Machine(name, 1 + number) for number, name in enumerate(names)}
        self.ended: set[str] = set()
        """Hosts whose agent does not run."""
        self.log: list[tuple[float, str, str, str]] = []
        """(time, host, other, way) of each switch."""
        self.known: dict[tuple[str, str], Path] = {}
        self.frames = 0
        self.tap: Callable[[Channel, Probe], object] = lambda _channel, _probe: None
        """Who listens in."""
        self._number = {name: number for number, name in enumerate(names, 1)}
        self._active = active
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        for name in names:
            self._know(name)
            self._at(self.chance.uniform(0, TICK), self._ticker(name))

    def _know(self, name: str) -> None:
        self.machines[name].know(
            {o: Peer(self._number[o], self._active(name, o), FULL) for o in self._number if o != name}
        )

    def restart(self, name: str) -> None:
        """Its agent, which remembers what it is to."""
        self.machines[name] = Machine(name, self.chance.getrandbits(32) + 100, self.machines[name].memory())
        self._know(name)

    def _at(self, when: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    def _ticker(self, name: str) -> Callable[[], None]:
        def tick() -> None:
            self._at(self.now + TICK, tick)
            if name in self.ended:
                return
            machine = self.machines[name]
            for round_ in machine.tick(self.now):
                for channel, size in round_.channels:
                    self._send(round_.probe, channel, size)
            for other in sorted(machine.changed):
                if self.known.setdefault((name, other), Path()) != (path := machine.pairs[other].path):
                    self.known[name, other] = path
                    self.log.append((self.now, name, other, path.way))
            machine.changed.clear()

        return tick

    def _send(self, probe: Probe, channel: Channel, size: int) -> None:
        self.frames += 1
        self.tap(channel, probe)
        way, a, b = channel.way, probe.sender, probe.to
        if not self.passes(a, b, way, size or 300) or self.chance.random() < self.loss:
            return
        delay = self.chance.uniform(0.0001, 0.02) + (0.01 if way is Way.SLEEVE else 0)

        def come() -> None:
            if probe.to not in self.ended:
                self.machines[probe.to].heard(channel, probe, self.now)

        self._at(self.now + delay, come)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = end

    def until(self, true: Callable[[], bool], seconds: float) -> float:
        """Seconds until this holds, by steps of a tenth of a second. Raises AssertionError where it takes longer."""
        began = self.now
        while not true():
            assert self.now - began < seconds, f"not within {seconds} s: {self.log[-10:]}"
            self.run(0.05)
        return self.now - began

    def way(self, from_: str, to: str) -> str:
        return self.machines[from_].pairs[to].path.way

    def both(self, a: str, b: str, way: str) -> bool:
        return self.way(a, b) == self.way(b, a) == way
