"""Who is there, as far as this host knows.

A member is known by its name, and by what it says itself (`Alive`), told on word for word. Of two claims of one member the one
with the higher incarnation counts, and only the member itself raises that. So what comes twice, late, or in any order gives the
same in the end.

    ALIVE ── no answer, or somebody says so ──► SUSPECT ── in vain waited for a contradiction ──► DEAD ── a day ──► forgotten
      ▲ ◄──── a claim above the doubt ────────────┘ ◄────────────── likewise ────────────────────┘
      └── Left, said by itself ──► LEFT ── an hour ──► forgotten

A doubt names the incarnation that it is about. The member hears of it, raises its incarnation above that, and says again
that it lives. So does a host that was started again when it hears what is still told of its former life.

*Namesakes.* A claim with the name of a member that lives, from another host (another instance at another address), is not
taken and not told on: who was there first stays. Both are told of each other. Once the first is dead or has left, the other
one may have the name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weft.mesh.membership import Member, Standing
from weft.mesh.swim import timing
from weft.mesh.swim.suspicion import Health, Suspicion
from weft.mesh.swim.troubles import Troubles
from weft.mesh.swim.wire import Alive, Dead, Left, News, Place, State, Suspect, alive

MOST = 4096
"""Members. A member that makes others up does not fill the memory of all."""
_RISES = 3
"""A former life of this host is heard of with a higher incarnation so many times at most: then it is no former one."""
_HERE = (Standing.ALIVE, Standing.SUSPECT)


class Known:
    """One other member. `doubted`: the incarnation that a doubt, its death or its leaving is about."""

    __slots__ = ("claim", "doubted", "reached", "since", "standing", "suspicion", "tcp_only")

    def __init__(self, claim: Alive, now: float) -> None:
        self.claim, self.standing, self.since = claim, Standing.ALIVE, now
        self.doubted, self.reached, self.tcp_only = 0, True, False
        self.suspicion: Suspicion | None = None

    @property
    def here(self) -> bool:
        return self.standing in _HERE

    def member(self) -> Member:
        return member(self.claim, self.standing, self.since, self.reached)

    def state(self) -> State:
        return State(self.claim, self.standing, self.doubted)

    def doubt(self) -> Suspect | Dead | Left | None:
        """What is told to the member itself, so that it contradicts."""
        name, uid, by = self.claim.name, self.claim.uid, self.claim.name
        if self.standing is Standing.SUSPECT:
            return Suspect(name, uid, self.doubted, by)
        return None if self.standing is Standing.ALIVE else Dead(name, uid, self.doubted, by)


def member(claim: Alive, standing: Standing, since: float, reached: bool = True) -> Member:
    return Member(
        name=claim.name,
        address=claim.ip,
        port=claim.port,
        uid=claim.uid,
        standing=standing,
        facts=claim.facts,
        since=since,
        reached=reached,
    )


class Table:
    """`spread` is given what others are to hear, `direct` what one place is to hear at once. `version` grows with each change
    of what `members` tells."""

    def __init__(
        self, me: Alive, now: float, spread: Callable[[News], None], direct: Callable[[Place, News], None]
    ) -> None:
        self.me, self.standing, self.since = me, Standing.ALIVE, now
        self.known: dict[str, Known] = {}
        self.health, self.troubles = Health(), Troubles()
        self.version = 0
        self._spread, self._direct = spread, direct
        self._here: dict[str, Known] = {}
        self._suspected: dict[str, Known] = {}
        self._rises: dict[str, int] = {}
        """By the uid of a former life: how often it was heard of with a higher incarnation."""

    # What is known.

    def here(self) -> Sequence[Known]:
        """Other members that are alive, or suspected."""
        return list(self._here.values())

    @property
    def size(self) -> int:
        """How many are here, this host among them."""
        return len(self._here) + 1

    def states(self) -> list[State]:
        mine = State(self.me, self.standing, self.me.incarnation)
        return [mine, *(known.state() for known in self.known.values())]

    @property
    def deadline(self) -> float:
        return min(
            (each.suspicion.deadline for each in self._suspected.values() if each.suspicion), default=float("inf")
        )

    # This host itself.

    def say(self, facts: dict[str, str]) -> None:
        self._claim(self.me.incarnation + 1, facts=facts)

    def leave(self, now: float) -> None:
        self.standing, self.since = Standing.LEFT, now
        self.version += 1
        self._spread(Left(self.me.name, self.me.uid, self.me.incarnation))

    def _claim(self, incarnation: int, **changed: dict[str, str]) -> None:
        self.me = alive(self.me, incarnation=incarnation, **changed)
        self.version += 1
        self._spread(self.me)

    def _contradict(self, incarnation: int) -> None:
        """So that what is said at `incarnation` counts no more."""
        if incarnation >= self.me.incarnation and self.standing is not Standing.LEFT:
            self._claim(incarnation + 1)

    def _of_me(self, now: float, claim: Alive) -> None:
        me = self.me
        if claim == me or (claim.uid == me.uid and claim.incarnation < me.incarnation):
            return
        if claim.uid == me.uid:
            self.troubles.note(
                now,
                "lie",
                f"a member told that this host says to be at {claim.place[0]}, or other things that it never said",
            )
            self._contradict(claim.incarnation)
        elif claim.instance == me.instance or claim.place == me.place:
            self._of_former(now, claim)
        else:
            self._of_namesake(now, claim)

    def _of_former(self, now: float, claim: Alive) -> None:
        if claim.incarnation < self.me.incarnation:
            return
        self._rises[claim.uid] = self._rises.get(claim.uid, 0) + 1
        if self._rises[claim.uid] <= _RISES:
            self._contradict(claim.incarnation)
            return
        self.troubles.note(
            now,
            "twin",
            f"a copy of this host runs at {claim.place[0]}: it has the same name '{claim.name}' and the same instance; "
            "remove one of the two, or its state folder, and give it another name",
        )

    def _of_namesake(self, now: float, claim: Alive) -> None:
        if self.troubles.note(now, "namesake", _namesakes(self.me, claim)):
            self._direct(claim.place, self.me)

    # Others.

    def alive(self, now: float, claim: Alive) -> None:
        if claim.name == self.me.name:
            return self._of_me(now, claim)
        known = self.known.get(claim.name)
        if known is None:
            return self._add(now, claim)
        if known.here and not _same_host(known.claim, claim):
            self.troubles.note(now, ("namesake", claim.name), _namesakes(known.claim, claim))
        elif (claim.incarnation, claim.uid) > (known.claim.incarnation, known.claim.uid):
            self._take(now, known, claim)
        return None

    def _add(self, now: float, claim: Alive) -> None:
        if len(self.known) >= MOST:
            self.troubles.note(now, "full", f"more than {MOST} members are told of: '{claim.name}' is not taken")
            return
        self.known[claim.name] = known = Known(claim, now)
        self._stands(now, known, Standing.ALIVE)
        self._changed(claim)

    def _take(self, now: float, known: Known, claim: Alive) -> None:
        known.claim = claim
        if known.standing is not Standing.ALIVE and claim.incarnation > known.doubted:
            known.reached = known.reached or not known.here
            self._stands(now, known, Standing.ALIVE)
        self._changed(claim)

    def suspect(self, now: float, said: Suspect) -> None:
        if said.name == self.me.name:
            if said.uid == self.me.uid and said.incarnation >= self.me.incarnation:
                self.health.worse()
                self._contradict(said.incarnation)
            return
        known = self._meant(said)
        if known is None or not known.here:
            return
        known.doubted = max(known.doubted, said.incarnation)
        if known.suspicion is not None:
            if known.suspicion.confirm(said.by):
                self._spread(said)
            return
        self._stands(now, known, Standing.SUSPECT)
        known.suspicion, self._suspected[said.name] = Suspicion(now, self.size, said.by), known
        self._changed(said)

    def dead(self, now: float, said: Dead) -> None:
        if said.name == self.me.name:
            return self._contradict(said.incarnation)
        known = self._meant(said)
        if known is not None and known.here:
            self._ends(now, known, Standing.DEAD, said)
        return None

    def left(self, now: float, said: Left) -> None:
        if said.name == self.me.name:
            return self._contradict(said.incarnation)
        known = self._meant(said)
        if known is not None and known.standing is not Standing.LEFT:
            self._ends(now, known, Standing.LEFT, said)
        return None

    def _meant(self, said: Suspect | Dead | Left) -> Known | None:
        """Whom it is about, unless it has said something newer since, or was started again."""
        known = self.known.get(said.name)
        fits = known is not None and known.claim.uid == said.uid and said.incarnation >= known.claim.incarnation
        return known if fits else None

    def _ends(self, now: float, known: Known, standing: Standing, said: Dead | Left) -> None:
        known.doubted, known.reached = max(known.doubted, said.incarnation), False
        self._stands(now, known, standing)
        self._changed(said)

    def _stands(self, now: float, known: Known, standing: Standing) -> None:
        name = known.claim.name
        known.standing, known.since, known.suspicion = standing, now, None
        self._suspected.pop(name, None)
        if known.here:
            self._here[name] = known
        else:
            self._here.pop(name, None)

    def _changed(self, news: News) -> None:
        self.version += 1
        self._spread(news)

    def merge(self, now: float, by: str, states: Sequence[State]) -> None:
        """What another member knows. Whom it counts as dead is only suspected here, so that there is time to contradict: after
        a partition each side counts the other one as dead."""
        for state in states:
            claim = state.claim
            if state.standing in _HERE or claim.name in self.known or claim.name == self.me.name:
                self.alive(now, claim)
            if state.standing is Standing.LEFT:
                self.left(now, Left(claim.name, claim.uid, state.doubted))
            elif state.standing is Standing.DEAD and claim.name == self.me.name:
                self.dead(now, Dead(claim.name, claim.uid, state.doubted, by))
            elif state.standing is not Standing.ALIVE:
                self.suspect(now, Suspect(claim.name, claim.uid, state.doubted, by))

    # As time goes by.

    def reached(self, name: str, reached: bool, tcp_only: bool = False) -> None:
        """How this host's own attempt ended."""
        known = self.known.get(name)
        if known is not None and known.here:
            known.tcp_only = tcp_only
            if known.reached is not reached:
                known.reached = reached
                self.version += 1

    def expire(self, now: float) -> None:
        for known in tuple(self._suspected.values()):
            if known.suspicion and known.suspicion.deadline <= now:
                claim = known.claim
                self._ends(now, known, Standing.DEAD, Dead(claim.name, claim.uid, known.doubted, self.me.name))

    def put_off(self, seconds: float) -> None:
        """This host itself slept so long, and may have missed contradictions."""
        for known in self._suspected.values():
            if known.suspicion:
                known.suspicion.put_off(seconds)

    def forget(self, now: float) -> None:
        for name, known in tuple(self.known.items()):
            if not known.here and now - known.since > timing.KEPT[known.standing]:
                del self.known[name]
                self.version += 1


def _same_host(one: Alive, other: Alive) -> bool:
    return one.uid == other.uid or one.instance == other.instance or one.place == other.place


def _namesakes(one: Alive, other: Alive) -> str:
    return (
        f"two hosts are called '{one.name}', at {one.place[0]} and at {other.place[0]}: give one of them another name "
        "(--node NAME), and start it again"
    )
