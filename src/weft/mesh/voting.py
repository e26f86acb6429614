"""Who is to be a voter: the next single step, chosen by the host whose voter leads (pure).

How many. One voter until there are three hosts: of two voters both have to run, which is worse than one. Three for three
hosts, so that one may die. Five from seven hosts on: two may die, and a majority of the hosts still has no work with it. An
even number is only a state in between.

One step at a time, and none that could cost the majority (`quorum`) of the voters that run:

    dead     A voter that is silent for longer than `patience` goes once somebody can take its place: only then, since as long
             as it is one it needs nothing but to come back. At once goes whoever left, or came back without its data. It goes
             first and the other comes afterwards: etcd takes in nobody while a voter is silent, and taking away a dead one
             costs no majority.
    leaving  Another one first takes over, and leads; then it goes.
    add      First without a vote, as a learner that takes the data over; etcd promotes no learner that lags behind. One that
             does not come along goes again, and another host gets its turn.
    spread   Over zones, then over hosts that the URL names, then over those that live for longest. A voter moves to another
             zone where that makes the spread better, in the same way: first one more, then one fewer.

A voter that runs is never taken away without another in its place, unless it leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

PATIENCE = 600.0
"""Seconds that a voter may be silent."""
LEARNING = 60.0
"""Seconds that a learner may be silent."""
SIZES = ((7, 5), (3, 3), (0, 1))
"""From so many hosts on, so many voters."""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """`able`: it can run a voter, and was no learner a while ago that did not come along. `alive`: nobody doubts it;
    `reached`: by this host itself, as voters have to reach each other. `gone`: seconds for which it is dead; 0 where it is
    not. `named`: in the store's URL. `since`: when it came to stand as it does; of two the lower one has stood for longer."""

    name: str
    zone: str = ""
    able: bool = True
    alive: bool = True
    reached: bool = True
    leaving: bool = False
    named: bool = False
    gone: float = 0.0
    since: float = 0.0


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """One member of etcd's cluster. `number`: etcd's. `host`: whose; "" where that is not known. `silent`: seconds for which it
    has not answered, or not been with the leader. `lost`: its host left, or says that it has no such voter any more."""

    number: int
    host: str
    learner: bool = False
    leads: bool = False
    silent: float = 0.0
    lost: bool = False

    @property
    def healthy(self) -> bool:
        return not self.silent and not self.lost


class Add(msgspec.Struct, frozen=True):
    host: str
    why: str = ""


class Promote(msgspec.Struct, frozen=True):
    number: int
    why: str = ""


class Remove(msgspec.Struct, frozen=True):
    number: int
    why: str = ""


class Lead(msgspec.Struct, frozen=True):
    """That one is to lead from now on."""

    number: int
    why: str = ""


class Nothing(msgspec.Struct, frozen=True):
    why: str = ""


Step = Add | Promote | Remove | Lead | Nothing


class Council(msgspec.Struct, frozen=True, kw_only=True):
    """All that a step is chosen by."""

    seats: tuple[Seat, ...]
    hosts: tuple[Host, ...]
    patience: float = PATIENCE
    learning: float = LEARNING

    @property
    def voters(self) -> list[Seat]:
        return [seat for seat in self.seats if not seat.learner]

    @property
    def healthy(self) -> list[Seat]:
        return [seat for seat in self.voters if seat.healthy]

    @property
    def leaving(self) -> list[Seat]:
        return [seat for seat in self.healthy if (host := self.host(seat)) and host.leaving]

    @property
    def dead(self) -> list[Seat]:
        return [seat for seat in self.voters if seat.lost or seat.silent >= self.patience]

    @property
    def learner(self) -> Seat | None:
        return next((seat for seat in self.seats if seat.learner), None)

    @property
    def goal(self) -> int:
        """How many voters there should be."""
        hosts = sum(h.able and not h.leaving and (h.alive or h.gone < self.patience) for h in self.hosts)
        return next(size for least, size in SIZES if hosts >= least)

    def host(self, seat: Seat) -> Host | None:
        return next((host for host in self.hosts if host.name == seat.host), None)

    def candidates(self) -> list[Host]:
        """Who may become a voter, the best first."""
        seated = {seat.host for seat in self.seats}
        crowd = self.crowd()
        able = (h for h in self.hosts if h.able and h.alive and h.reached and not h.leaving and h.name not in seated)
        return sorted(able, key=lambda h: (crowd[h.zone], not h.named, h.since, h.name))

    def crowd(self) -> Counter[str]:
        """How many voters, of those that stay, there are in each zone."""
        staying = (self.host(seat) for seat in self.voters if seat not in self.leaving and seat not in self.dead)
        return Counter(host.zone for host in staying if host is not None)


def quorum(voters: int) -> int:
    return voters // 2 + 1


def step(council: Council) -> Step:
    """The next one."""
    voters, healthy = len(council.voters), len(council.healthy)
    if healthy < quorum(voters):
        return Nothing(f"only {healthy} of {voters} voters answer: nothing can be changed until {quorum(voters)} do")
    found = (rule(council) for rule in _RULES)
    return next((one for one in found if one is not None), Nothing())


def _learner(council: Council) -> Step | None:
    """It goes where it does not come along."""
    learner = council.learner
    if learner is None:
        return None
    host = council.host(learner)
    if host is None or learner.lost or host.gone or host.leaving or learner.silent >= council.learning:
        return Remove(learner.number, f"{learner.host or 'the learner'} does not take over the data")
    return None


def _promote(council: Council) -> Step | None:
    """As soon as it is wanted; until then it is only ready."""
    learner = council.learner
    if learner is None or not learner.healthy:
        return None
    if not _wants(council, 1 + len(council.candidates()), _zone(council, learner)):
        return None
    return Promote(learner.number, f"{learner.host} has taken over the data")


def _dead(council: Council) -> Step | None:
    dead, voters = council.dead, len(council.voters)
    if not dead or voters == 1:
        return None
    lost = next((seat for seat in dead if seat.lost), None)
    if lost is not None:
        return Remove(lost.number, f"{lost.host or 'a voter'} left, or has lost its data")
    learner = council.learner
    replaced = council.candidates() or (learner is not None and learner.healthy)
    if not replaced and voters % 2 and len(dead) < 2:
        return None
    seat = max(dead, key=lambda seat: (seat.silent, seat.number))
    return Remove(seat.number, f"{seat.host or 'a voter'} has been silent for {seat.silent:.0f} s")


def _leaving(council: Council) -> Step | None:
    leaving = council.leaving
    voters, healthy = len(council.voters), len(council.healthy)
    if not leaving or voters == 1 or healthy - 1 < quorum(voters - 1):
        return None
    if (
        voters % 2
        and (council.learner or council.candidates())
        and healthy == voters
        and _staying(council) < council.goal
    ):
        return None  # somebody takes over first
    seat = leaving[0]
    heirs = [one for one in council.healthy if one not in leaving]
    if seat.leads and heirs:
        return Lead(heirs[0].number, f"{seat.host} leaves")
    return Remove(seat.number, f"{seat.host} leaves")


def _add(council: Council) -> Step | None:
    candidates = council.candidates()
    if council.learner is not None or not candidates:
        return None
    best = candidates[0]
    if not _wants(council, len(candidates), best.zone):
        return None
    silent = [seat.host or f"{seat.number:x}" for seat in council.voters if not seat.healthy]
    if silent:
        return Nothing(f"{best.name} becomes a voter once {', '.join(silent)} answers, or has been silent for long")
    return Add(best.name, f"{len(council.voters)} voters, {council.goal} are wanted")


def _surplus(council: Council) -> Step | None:
    """One of an even number of voters is of no use, as soon as another one has come in its place."""
    voters = council.voters
    if len(voters) < 4 or len(voters) % 2 or len(voters) <= council.goal or len(council.healthy) < len(voters):
        return None
    seat = min((seat for seat in voters if not seat.leads), key=lambda seat: _worth(council, seat))
    return Remove(seat.number, f"{seat.host} is one more than wanted")


_RULES: tuple[Callable[[Council], Step | None], ...] = (_learner, _dead, _leaving, _promote, _surplus, _add)


def _wants(council: Council, ready: int, zone: str) -> bool:
    """Whether one more voter, in that zone, is wanted. `ready`: how many could become one: from an odd number on it takes
    two, or it would end at an even one."""
    voters, staying = len(council.voters), _staying(council)
    if staying < council.goal:
        return ready >= (2 if voters % 2 and not council.leaving else 1)
    crowd = council.crowd()
    return voters == council.goal and staying == voters and crowd[zone] + 2 <= max(crowd.values(), default=0)


def _staying(council: Council) -> int:
    return len(council.voters) - len(council.leaving)


def _zone(council: Council, seat: Seat) -> str:
    host = council.host(seat)
    return host.zone if host else ""


def _worth(council: Council, seat: Seat) -> tuple[int, bool, float, int]:
    """The least first: of a crowded zone, not named, come last."""
    host = council.host(seat)
    if host is None:
        return -len(council.seats), False, 0.0, 0
    return -council.crowd()[host.zone], host.named, -host.since, -seat.number
