"""Whether others live: each is asked in turn.

    0 s    Ping ──► target                                            Ack: it lives, and this host reaches it
    0.5 s  no answer: Relay ──► three others ──Ping──► target         Relayed: it lives, but this host does not reach it
           and a Ping by TCP ──► target                               Ack: UDP is lost on the way, TCP is not
    1 s    none of them: Suspect. The next target's turn.

All times are longer where this host is not well (`Health`). Each member is asked once before any is asked again, in an order
that changes from round to round; those that were not reached are asked again sooner.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from weft.mesh.membership import Standing
from weft.mesh.swim import timing
from weft.mesh.swim.table import Known, Table
from weft.mesh.swim.wire import Ack, Message, Nack, Ping, Place, Relay, Relayed, Suspect

_MOST_RELAYS = 1024
_SOONER = 4
"""Each fourth probe is of a member that was not reached."""

Tell = Callable[[Place, list[Message]], None]


class Probe:
    """The one under way."""

    __slots__ = ("acked", "asked", "known", "nacks", "number", "relayed", "tcp", "timeout")

    def __init__(self, number: int, known: Known, timeout: float) -> None:
        self.number, self.known, self.timeout = number, known, timeout
        self.acked = self.relayed = self.tcp = False
        self.asked = self.nacks = 0


class Relaying(NamedTuple):
    """A ping for another member, which waits for the result at `back`."""

    until: float
    back: Place
    number: int


class Detector:
    """`tell` sends messages to a place, `knock` has it pinged by TCP; `knocked` is called when that is answered."""

    def __init__(
        self, table: Table, now: float, chance: random.Random, tell: Tell, knock: Callable[[Place, Ping], None]
    ) -> None:
        self._table, self._chance, self._tell, self._knock = table, chance, tell, knock
        self._number, self._round = chance.getrandbits(32), 0
        self._turns: deque[str] = deque()
        self._again: deque[str] = deque()
        self._probe: Probe | None = None
        self._next = now + timing.PROBE * chance.random()
        self._relays: dict[int, Relaying] = {}
        """By the number of the ping. All last equally long, so the first is the oldest."""

    @property
    def deadline(self) -> float:
        probe, oldest = self._probe, next(iter(self._relays.values()), None)
        waiting = probe.timeout if probe and not probe.acked and not probe.asked else self._next
        return min(waiting, self._next, oldest.until if oldest else self._next)

    def due(self, now: float) -> None:
        while (oldest := next(iter(self._relays), None)) is not None and self._relays[oldest].until <= now:
            relay = self._relays.pop(oldest)
            self._tell(relay.back, [Nack(relay.number)])
        if self._next <= now:
            self._conclude(now)
            self._begin(now)
        elif self._probe and not self._probe.acked and not self._probe.asked and self._probe.timeout <= now:
            self._ask_others(self._probe)

    def put_off(self, seconds: float) -> None:
        """This host slept: its probe has had no fair chance."""
        self._next += seconds
        if self._probe:
            self._probe.timeout += seconds

    # This host's own probes.

    def _begin(self, now: float) -> None:
        factor = self._table.health.factor
        self._next = now + timing.PROBE * factor * (
            1 + self._chance.random() / 10
        )  # never before a Nack's time is over
        target = self._target()
        self._probe = None
        if target is not None:
            self._probe = Probe(self._count(), target, now + timing.TIMEOUT * factor)
            doubt = target.doubt()  # it is to contradict before others hear of it
            self._tell(target.claim.place, [self._ping(self._probe.number, target), *([doubt] if doubt else [])])

    def _conclude(self, now: float) -> None:
        probe, table = self._probe, self._table
        if probe is None or not probe.known.here:
            return
        claim = probe.known.claim
        if probe.acked or probe.relayed:
            table.reached(claim.name, probe.acked, probe.tcp)
        else:
            table.reached(claim.name, False)
            table.health.worse(max(0, probe.asked - 1 - probe.nacks) if probe.asked > 1 else 1)
            table.suspect(now, Suspect(claim.name, claim.uid, claim.incarnation, table.me.name))
        if not probe.acked and claim.name not in self._again:
            self._again.append(claim.name)

    def _target(self) -> Known | None:
        self._round += 1
        if self._again and self._round % _SOONER == 0 and (known := self._here(self._again.popleft())):
            return known
        for _ in range(2):
            while self._turns:
                if known := self._here(self._turns.popleft()):
                    return known
            names = [known.claim.name for known in self._table.here()]
            self._chance.shuffle(names)
            self._turns.extend(names)
        return None

    def _here(self, name: str) -> Known | None:
        known = self._table.known.get(name)
        return known if known and known.here else None

    def _ask_others(self, probe: Probe) -> None:
        target = probe.known.claim
        others = [k for k in self._table.here() if k is not probe.known and k.standing is Standing.ALIVE]
        relays = self._chance.sample(others, min(timing.RELAYS, len(others)))
        probe.asked = 1 + len(relays)
        for relay in relays:
            self._tell(relay.claim.place, [Relay(probe.number, target.name)])
        self._knock(target.place, self._ping(probe.number, probe.known))

    def _ping(self, number: int, known: Known) -> Ping:
        return Ping(number, known.claim.name, self._table.me.name, self._table.me.uid)

    def _count(self) -> int:
        self._number = (self._number + 1) % 2**32
        return self._number

    def acked(self, number: int, tcp: bool = False) -> None:
        """By the target itself."""
        if (relay := self._relays.pop(number, None)) is not None:
            self._tell(relay.back, [Relayed(relay.number)])
        elif (probe := self._mine(number)) is not None:
            if not (probe.acked or probe.relayed):
                self._table.health.better()
            probe.tcp = tcp and not probe.acked
            probe.acked = True

    def relayed(self, number: int) -> None:
        if (probe := self._mine(number)) is not None:
            if not (probe.acked or probe.relayed):
                self._table.health.better()
            probe.relayed = True

    def nacked(self, number: int) -> None:
        if (probe := self._mine(number)) is not None:
            probe.nacks += 1

    def _mine(self, number: int) -> Probe | None:
        return self._probe if self._probe and self._probe.number == number else None

    # Others' probes.

    def pinged(self, ping: Ping, source: Place) -> None:
        if ping.target != self._table.me.name or self._table.standing is Standing.LEFT:
            return
        known = self._table.known.get(ping.name)
        self._tell(source, [Ack(ping.number), *(_reply(known, ping, source) if known else [])])

    def relay(self, now: float, ask: Relay, source: Place) -> None:
        known = self._table.known.get(ask.target)
        if known is None or len(self._relays) >= _MOST_RELAYS:
            self._tell(source, [Nack(ask.number)])
            return
        number = self._count()
        self._relays[number] = Relaying(now + timing.TIMEOUT * timing.NACK, source, ask.number)
        self._tell(known.claim.place, [self._ping(number, known)])


def _reply(known: Known, ping: Ping, source: Place) -> list[Message]:
    """What is told here of who pings, where that seems to be wrong: it contradicts, or learns of its namesake."""
    doubt, differs = known.doubt(), ping.uid != known.claim.uid or source != known.claim.place
    return [*([known.claim] if differs and known.here else []), *([doubt] if doubt else [])]
