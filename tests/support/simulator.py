"""Many members in one process, in virtual time: `weft.mesh.swim.core` on a network that loses, delays, doubles and cuts.

All that happens by chance comes from one seed, so a run can be repeated. Datagrams are the real octets; exchanges by TCP are as
large as the real ones, and take three ways through the network. A host may stall: what reaches it waits, and is taken in order
when it goes on, before its timers, as the runner does it.
"""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address

from weft.mesh.membership import Standing
from weft.mesh.secret import Secret
from weft.mesh.swim import seal, streams
from weft.mesh.swim.core import Core, Exchange, Knock, Send
from weft.mesh.swim.seal import Seal
from weft.mesh.swim.wire import Alive, Everything, Place

PORT = 6785
_SEAL = Seal([Secret(b"of a simulation, all of it")])
_JOIN = 0.2, 3.0, 30.0
"""Seconds after which a host tries again those that it was named and that are no members here: first, at most while it is
alone, and at most in company. As `weft.mesh.swim.join`."""


class Host:
    """`sent`: octets that left it, by what way. `cpu`: seconds of the processor that its core took."""

    def __init__(self, name: str, place: Place, core: Core, named: Sequence[Place]) -> None:
        self.name, self.place, self.core, self.named = name, place, core, named
        self.up, self.armed, self.stalled = True, float("inf"), 0.0
        self.lag = (0.0, 0.0)
        """Seconds that it takes to notice what has come: it has too little of a processor."""
        self.waiting: list[Callable[[], None]] = []
        self.sent: dict[str, int] = {"udp": 0, "tcp": 0}
        self.datagrams, self.cpu, self.tries, self.version = 0, 0.0, 0, -1

    def view(self) -> dict[str, Standing]:
        return {name: known.standing for name, known in self.core.table.known.items()}

    def alive(self) -> set[str]:
        return {self.name, *(name for name, how in self.view().items() if how is Standing.ALIVE)}


class Simulator:
    def __init__(self, seed: int = 0, *, sealed: bool = False) -> None:
        self.now, self.chance = 100.0, random.Random(seed)
        self.hosts: dict[str, Host] = {}
        self.loss, self.doubled, self.delay = 0.0, 0.0, (0.0002, 0.002)
        self.cut: set[tuple[str, str]] = set()
        """From whom to whom nothing passes."""
        self.udp_cut: set[tuple[str, str]] = set()
        self.deaths: set[tuple[float, str, str]] = set()
        """When, at whom, who came to be counted as dead."""
        self.doubts: set[tuple[float, str, str]] = set()
        """Likewise, as suspect."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count, self._starts, self._sealed = 0, 0, sealed
        self._at: dict[Place, Host] = {}

    # Hosts.

    def start(self, name: str, named: Iterable[str] = (), *, number: int = 0, instance: str = "", **facts: str) -> Host:
        """Anew, or again. `number` makes its address, and its place the name by which others are named it."""
        self._starts += 1
        number = number or self.number(name)
        address = ip_address(0x0A000000 + number)
        me = Alive(
            name=name,
            uid=f"{self._starts:016x}",
            instance=instance or f"instance-of-{name}",
            incarnation=0,
            address=address.packed,
            port=PORT,
            facts=facts,
        )
        core = Core(me, self.now, random.Random(self.chance.random()))
        host = Host(name, me.place, core, [self.place(self.number(each)) for each in named])
        key = name if self._free(name, number) else f"{name}@{number}"
        self.hosts[key] = self._at[me.place] = host
        self._join(host)
        self._act(host)
        return host

    def formed(self, names: Sequence[str]) -> None:
        """All of them know each other already, and have nothing to tell."""
        for name in names:
            self.start(name)
        everything = [host.core.table.states()[0] for host in self.running()]
        for host in self.running():
            host.core.table.merge(self.now, host.name, everything)
            host.core._gossip.__init__()  # type: ignore[misc]
            self._act(host)

    def _free(self, name: str, number: int) -> bool:
        held = self.hosts.get(name)
        return held is None or not held.up or held.place == self.place(number)

    @staticmethod
    def number(name: str) -> int:
        return int("".join(each for each in name if each.isdigit()) or 0) + 1

    @staticmethod
    def place(number: int) -> Place:
        return (str(ip_address(0x0A000000 + number)), PORT)

    def kill(self, name: str) -> None:
        self.hosts[name].up = False

    def leave(self, name: str) -> None:
        host = self.hosts[name]
        host.core.leave(self.now)
        self._act(host)

    def say(self, name: str, **facts: str) -> None:
        host = self.hosts[name]
        host.core.say(facts)
        self._act(host)

    def stall(self, name: str, seconds: float) -> None:
        host = self.hosts[name]
        host.stalled = max(host.stalled, self.now + seconds)
        self._later(host.stalled - self.now, lambda: self._go_on(host))

    # The network.

    def part(self, *sides: Iterable[str]) -> None:
        """Nothing passes from one side to another."""
        which = {name: side for side, names in enumerate(sides) for name in names}
        self.cut = {(one, other) for one in which for other in which if which[one] != which[other]}

    def heal(self) -> None:
        self.cut, self.udp_cut = set(), set()

    def _passes(self, source: Host, target: Host) -> bool:
        return source.up and target.up and (source.name, target.name) not in self.cut

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, work))

    def _way(self) -> float:
        return self.chance.uniform(*self.delay)

    def _to(self, target: Host) -> float:
        return self._way() + self.chance.uniform(*target.lag)

    def _send(self, source: Host, place: Place, data: bytes) -> None:
        sealed = _SEAL.close(data, seal.DATAGRAM) if self._sealed else data
        source.sent["udp"] += len(data) + seal.OVERHEAD
        source.datagrams += 1
        target = self._at.get(place)
        if target is None or (source.name, target.name) in self.udp_cut:
            return
        for _ in range(2 if self.chance.random() < self.doubled else 1):
            if self._passes(source, target) and self.chance.random() >= self.loss:
                self._later(
                    self._to(target), lambda: self._arrive(target, lambda: self._datagram(target, sealed, source))
                )

    def _datagram(self, host: Host, data: bytes, source: Host) -> None:
        opened = _SEAL.open(data, seal.DATAGRAM) if self._sealed else data
        host.core.datagram(self.now, opened, source.place)

    def _exchange(self, source: Host, place: Place) -> None:
        target = self._at.get(place)
        if target is None or not self._tcp(source, target):
            return
        began, said = self.now, source.core.everything()
        source.sent["tcp"] += len(streams.frame(_SEAL, said))

        def answer() -> None:
            if self.now - began < streams.PATIENCE:
                target.core.pulled(self.now, said)
                back = target.core.everything()
                target.sent["tcp"] += len(streams.frame(_SEAL, back))
                self._later(self._to(source), lambda: self._arrive(source, lambda: self._pulled(source, target, back)))

        self._later(2 * self._way() + self._to(target), lambda: self._arrive(target, answer))

    def _pulled(self, host: Host, source: Host, said: Everything) -> None:
        if self._tcp(source, host):
            host.core.pulled(self.now, said)

    def _tcp(self, source: Host, target: Host) -> bool:
        return self._passes(source, target) and (target.name, source.name) not in self.cut

    def _knock(self, source: Host, knock: Knock) -> None:
        target = self._at.get(knock.place)
        if target is None or not self._tcp(source, target):
            return
        number, name = knock.ping.number, knock.ping.target

        def answer() -> None:
            if name == target.name:
                self._later(self._to(source), lambda: self._arrive(source, lambda: source.core.knocked(number)))

        self._later(2 * self._way() + self._to(target), lambda: self._arrive(target, answer))

    # A host's own.

    def _arrive(self, host: Host, work: Callable[[], None]) -> None:
        if not host.up:
            return
        if host.stalled > self.now:
            host.waiting.append(work)
            return
        began = time.process_time()
        work()
        self._act(host)
        host.cpu += time.process_time() - began

    def _go_on(self, host: Host) -> None:
        if host.up and host.stalled <= self.now:
            waiting, host.waiting = host.waiting, []
            for work in waiting:
                work()
            host.armed = float("inf")
            self._act(host)

    def _act(self, host: Host) -> None:
        if host.core.deadline <= self.now:
            host.core.due(self.now)
        for effect in host.core.take():
            match effect:
                case Send(place, data):
                    self._send(host, place, data)
                case Knock():
                    self._knock(host, effect)
                case Exchange(place):
                    self._exchange(host, place)
        self._note(host)
        deadline = host.core.deadline
        if deadline < host.armed or host.armed <= self.now:
            host.armed = deadline
            self._later(max(0.0, deadline - self.now), lambda: self._due(host, deadline))

    def _note(self, host: Host) -> None:
        table = host.core.table
        if host.version != table.version:
            host.version = table.version
            for name, known in table.known.items():
                if known.since == self.now and known.standing in (Standing.DEAD, Standing.SUSPECT):
                    (self.deaths if known.standing is Standing.DEAD else self.doubts).add((self.now, host.name, name))

    def _due(self, host: Host, armed: float) -> None:
        if host.up and host.armed == armed and host.stalled <= self.now:
            host.armed = float("inf")
            began = time.process_time()
            self._act(host)
            host.cpu += time.process_time() - began

    def _join(self, host: Host) -> None:
        here = {known.claim.place for known in host.core.table.here()}
        if host.stalled <= self.now:
            for place in host.named:
                if place != host.place and place not in here:
                    self._exchange(host, place)
        first, alone, company = _JOIN
        pause = min(first * 2**host.tries, company if here else alone)
        host.tries += 1
        self._later(pause * (1 + self.chance.random()) / 2, lambda: self._join(host) if host.up else None)

    # Time.

    def run(self, seconds: float) -> None:
        self.until(lambda: False, seconds, must=False)

    def until(self, condition: Callable[[], bool], seconds: float, *, must: bool = True, every: float = 0.1) -> float:
        """The virtual seconds it took. Fails after `seconds`."""
        began, look = self.now, self.now
        end = began + seconds
        while self._events and self._events[0][0] <= end:
            if self._events[0][0] >= look:
                look = self._events[0][0] + every
                if condition():
                    return self.now - began
            at, _, work = heapq.heappop(self._events)
            self.now = max(self.now, at)
            work()
        self.now = end
        if must and not condition():
            raise AssertionError(f"not within {seconds:g} s: {self.views()}")
        return self.now - began

    # What is to be seen.

    def running(self) -> list[Host]:
        return [host for host in self.hosts.values() if host.up]

    def views(self) -> dict[str, list[str]]:
        return {key: sorted(host.alive()) for key, host in self.hosts.items() if host.up}

    def agree(self) -> bool:
        """Each running host counts just the running ones as alive, and knows the last that each of them said."""
        running = self.running()
        said = {host.name: host.core.table.me for host in running}
        return all(
            host.alive() == said.keys()
            and Standing.SUSPECT not in host.view().values()
            and all(host.core.table.known[name].claim == claim for name, claim in said.items() if name != host.name)
            for host in running
        )
