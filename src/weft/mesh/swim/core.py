"""One member, without I/O: what comes in, and that time has passed, gives what is to be sent, and when to look again.

    datagram(now, …), due(now), pulled(now, …), knocked(…)  ──►  Table, Detector, Gossip  ──►  effects, deadline, version

Whoever runs it sends the `effects`, calls `due` at the `deadline`, and hands over all datagrams that have come in before:
after a stall they say who has answered meanwhile. What happens by chance is drawn from the given `chance`, so that a
simulation can be repeated (tests/support/simulator.py).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from weft.mesh.membership import Standing
from weft.mesh.swim import timing
from weft.mesh.swim.detector import Detector
from weft.mesh.swim.gossip import Gossip
from weft.mesh.swim.table import Known, Table
from weft.mesh.swim.wire import (
    ROOM,
    Ack,
    Alive,
    Datagram,
    Dead,
    Everything,
    Left,
    Message,
    Nack,
    Ping,
    Place,
    Relay,
    Relayed,
    Suspect,
    encode,
    pack,
    unpack,
)


class Send(NamedTuple):
    place: Place
    data: bytes


class Knock(NamedTuple):
    """The ping is to be sent by TCP; if it is answered, `knocked` is called."""

    place: Place
    ping: Ping


class Exchange(NamedTuple):
    """Everything is to be exchanged with whoever is there, by TCP: `everything` is sent, what comes back goes to `pulled`."""

    place: Place


Effect = Send | Knock | Exchange


class Core:
    def __init__(self, me: Alive, now: float, chance: random.Random) -> None:
        self.effects: list[Effect] = []
        self._chance, self._gossip = chance, Gossip()
        self.table = Table(me, now, self._gossip.put, lambda place, news: self._tell(place, [news]))
        self.detector = Detector(self.table, now, chance, self._tell, lambda *each: self.effects.append(Knock(*each)))
        self._gossiping = now
        self._exchanging = now + timing.jittered(timing.EXCHANGE, chance)
        self._reconnecting = now + timing.jittered(timing.RECONNECT, chance)

    @property
    def deadline(self) -> float:
        telling = self._gossiping if self._gossip and self.table.size > 1 else float("inf")
        soonest = min(telling, self.table.deadline)
        return soonest if self.gone else min(soonest, self.detector.deadline, self._exchanging, self._reconnecting)

    @property
    def gone(self) -> bool:
        return self.table.standing is Standing.LEFT

    def take(self) -> list[Effect]:
        """What is to be done since the last call."""
        effects, self.effects = self.effects, []
        return effects

    # What comes in.

    def datagram(self, now: float, data: bytes, source: Place) -> None:
        """Raises Invalid where it cannot be read."""
        for message in unpack(data):
            self._heard(now, message, source)

    def _heard(self, now: float, message: Datagram, source: Place) -> None:
        match message:
            case Ping():
                self.detector.pinged(message, source)
            case Ack(number):
                self.detector.acked(number)
            case Alive():
                self.table.alive(now, message)
            case Suspect():
                self.table.suspect(now, message)
            case Dead():
                self.table.dead(now, message)
            case Left():
                self.table.left(now, message)
            case Relay():
                self.detector.relay(now, message, source)
            case Relayed(number):
                self.detector.relayed(number)
            case Nack(number):
                self.detector.nacked(number)

    def knocked(self, number: int) -> None:
        self.detector.acked(number, tcp=True)

    def everything(self) -> Everything:
        return Everything(self.table.me.name, self.table.me.uid, self.table.states())

    def pulled(self, now: float, said: Everything) -> None:
        self.table.merge(now, said.by, said.states)

    # As time goes by.

    def due(self, now: float) -> None:
        if not self.gone and (late := now - self.detector.deadline) > timing.LATE:
            self._slept(late)
        self.table.expire(now)
        if not self.gone:
            self.detector.due(now)
            self._keep_in_touch(now)
        if self._gossiping <= now:
            self._spread(now)

    def _slept(self, seconds: float) -> None:
        self.detector.put_off(seconds)
        self.table.put_off(seconds)
        self.table.health.worse()

    def _keep_in_touch(self, now: float) -> None:
        scale = timing.scale(self.table.size)
        if len(self._gossip) > timing.CROWDED[0]:
            self._exchanging = min(self._exchanging, now + timing.jittered(timing.CROWDED[1], self._chance))
        if self._exchanging <= now:
            self._exchanging = now + timing.jittered(timing.EXCHANGE * scale, self._chance)
            self.table.forget(now)
            self._exchange(self.table.here())
        if self._reconnecting <= now:
            self._reconnecting = now + timing.jittered(timing.RECONNECT * scale, self._chance)
            self._exchange([k for k in self.table.known.values() if k.standing is Standing.DEAD])

    def _exchange(self, among: Sequence[Known]) -> None:
        if among:
            self.effects.append(Exchange(self._chance.choice(among).claim.place))

    def _spread(self, now: float) -> None:
        """To some members, as much as goes into a datagram each."""
        self._gossiping = now + timing.jittered(timing.GOSSIP, self._chance)
        here = self.table.here()
        for known in self._chance.sample(here, min(timing.FANOUT, len(here))):
            self._tell(known.claim.place, [])

    # What this host itself says.

    def say(self, facts: dict[str, str]) -> None:
        if facts != self.table.me.facts:
            self.table.say(facts)

    def leave(self, now: float) -> None:
        self.table.leave(now)

    @property
    def told(self) -> bool:
        """Whether what this host said last has been told often enough, or there is nobody to tell."""
        return self.table.me.name not in self._gossip or self.table.size == 1

    # What goes out.

    def _tell(self, place: Place, messages: Sequence[Message]) -> None:
        """With as many news as there is room for."""
        encoded = [encode(message) for message in messages]
        encoded += self._gossip.take(ROOM - sum(map(len, encoded)), timing.retransmits(self.table.size))
        if encoded:
            self.effects.append(Send(place, pack(encoded)))
