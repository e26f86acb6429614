"""All pairs of this host, and what they are to each other: a host that hears two others can carry between them.

Where a host is heard by no way, or does not hear this one, a third one is asked for. Every probe says whom its sender has
just heard, in both directions; so a third host is known to be good before anything is sent by it. It also is the witness
that the silent host lives at all: without one, a silent host is dead or its agent is stopped, and everything stays as it is.
Both ends choose the same few hosts to ask, by hashes of the three names, without having to talk about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from weft.base.names import digest
from weft.datapaths.driver import Path
from weft.paths.channels import FRESH, SILENT, Channel, Peer
from weft.paths.pair import Memory, Pair
from weft.paths.probe import Probe, among, numbers

HELPERS = 3
"""Hosts that are probed often since they might carry for a pair."""
UNEASY = 5
"""Ticks of silence after which they are."""
HOLD = 10
"""Ticks for which one that carries may not be known to be good, before another is taken."""


class Round(msgspec.Struct, frozen=True):
    """What is to be sent to one host now: the probe, by each of these channels, with a size (0: any)."""

    probe: Probe
    channels: list[tuple[Channel, int]]


class _Carried(msgspec.Struct):
    """`good`: the last tick in which `via` was known to be good."""

    via: str = ""
    good: int = 0


class Machine:
    """Of one host. `uid`: random, another one at each start."""

    def __init__(self, me: str, uid: int, memory: Mapping[str, Memory] = {}) -> None:
        self.me, self.uid, self.tick_ = me, uid, 0
        self.pairs: dict[str, Pair] = {}
        self.changed: set[str] = set()
        """Hosts to which the path is another one since this was emptied last."""
        self._memory = dict(memory)
        self._carried: dict[str, _Carried] = {}
        self._helpers: dict[str, list[str]] = {}

    def know(self, peers: Mapping[str, Peer]) -> None:
        """These are the other hosts now."""
        if peers.keys() != self.pairs.keys():
            self._helpers.clear()
        for name in self.pairs.keys() - peers.keys():
            del self.pairs[name]
            self._carried.pop(name, None)
            self.changed.add(name)
        for name, peer in peers.items():
            if (pair := self.pairs.get(name)) is not None:
                pair.known_as(peer, self.tick_)
            else:
                self.pairs[name] = Pair(peer, self.tick_, self._memory.pop(name, None))

    def paths(self) -> dict[str, Path]:
        """To hosts that can be reached otherwise than by the kernel's tunnel, whether or not they are; to one that this prober
        does not know yet, as the last one found it."""
        known: dict[str, Pair | Memory] = {**self._memory, **self.pairs}
        return {name: one.path for name, one in known.items() if one.sleeved or one.path != Path()}

    def memory(self) -> dict[str, Memory]:
        """For the next prober of this host."""
        found = self._memory | {name: pair.memory() for name, pair in self.pairs.items()}
        return {name: memory for name, memory in found.items() if memory != Memory()}

    def heard(self, channel: Channel, probe: Probe, now: float) -> bool:
        """A probe came. Whether it counts."""
        pair = self.pairs.get(probe.sender)
        if pair is None or probe.to != self.me:
            return False
        return pair.take(channel, probe, self.uid, self.tick_, now)

    def tick(self, now: float) -> Iterator[Round]:
        """Time goes on by one. `now`: seconds, for the times of round trips only."""
        self.tick_ += 1
        self._ask_helpers()
        for name, pair in self.pairs.items():
            pair.judge(self.tick_)
            if pair.choose(pair.best(self._via(name, pair)), self.tick_) or pair.opened():
                self.changed.add(name)
        reach = numbers([p.peer.number for p in self.pairs.values() if p.just_heard(self.tick_)])
        for name, pair in self.pairs.items():
            if channels := pair.due(self.tick_):
                pair.note_sent(channels, now)
                yield Round(self._probe(name, pair, reach, now), channels)

    def _probe(self, name: str, pair: Pair, reach: bytes, now: float) -> Probe:
        return Probe(
            sender=self.me,
            to=name,
            uid=self.uid,
            yours=pair.pending,
            active=pair.peer.active or pair.helps,
            way=pair.way,
            via=pair.path.via,
            reports=pair.report(self.tick_, now),
            reach=reach,
        )

    # -- third hosts

    def _uneasy(self, pair: Pair) -> bool:
        return pair.peer.active and (not pair.straight() or pair.silence(self.tick_) >= UNEASY)

    def _ask_helpers(self) -> None:
        asked = {helper for name, pair in self.pairs.items() if self._uneasy(pair) for helper in self._help(name)}
        asked |= {carried.via for carried in self._carried.values()}
        for name, pair in self.pairs.items():
            pair.helps = name in asked

    def _help(self, name: str) -> list[str]:
        if name not in self._helpers:
            others = self.pairs.keys() - {name}
            self._helpers[name] = sorted(others, key=lambda other: self._rank(name, other))[:HELPERS]
        return self._helpers[name]

    def _rank(self, name: str, other: str) -> bytes:
        """The same at both ends of a pair."""
        return digest("relay", other, *sorted((self.me, name)))

    def _via(self, name: str, pair: Pair) -> str:
        """The host by which this one is reached, if it has to be one; "" where nobody says that he hears it."""
        silent = pair.silence(self.tick_) >= SILENT
        if not silent and (pair.straight() or not pair.peer.active):
            self._carried.pop(name, None)
            return ""
        carried = self._carried.setdefault(name, _Carried())
        good = [other for other in self.pairs if other != name and self._reaches(other, pair)]
        if silent and good:
            pair.fall_silent(self.tick_)
        return self._choose(name, carried, good)

    def _choose(self, name: str, carried: _Carried, good: list[str]) -> str:
        if carried.via in good:
            carried.good = self.tick_
        elif good and (not carried.via or self.tick_ - carried.good > HOLD):
            carried.via, carried.good = min(good, key=lambda other: self._rank(name, other)), self.tick_
        return carried.via

    def _reaches(self, other: str, pair: Pair) -> bool:
        """Whether that host just said so, and this host reaches it."""
        third = self.pairs[other]
        return (
            among(pair.peer.number, third.reach)
            and self.tick_ - third.last <= FRESH
            and third.just_heard(self.tick_)
            and pair.peer.number != 0
        )
