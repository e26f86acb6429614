"""What the host does whose voter leads: it looks at all voters and hosts, and has etcd make the next step (`weft.mesh.voting`).

Nothing of it has to be remembered: another leader's host sees the same, and goes on. Only for how long somebody is silent
already it has to find out anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from weft.base import events
from weft.base.errors import WeftError
from weft.mesh.council import Being, Council, Listed, beings
from weft.mesh.founding import Address
from weft.mesh.membership import Member, Standing
from weft.mesh.timing import Timing
from weft.mesh.voters import Cluster, Said
from weft.mesh.voting import Add, Host, Lead, Promote, Remove, Seat, Step, step
from weft.mesh.voting import Council as Situation

log = logging.getLogger(__name__)

_AGAIN = 5
"""For how many times the patience with a learner the host is not asked again."""
_NOT_YET = ("unhealthy cluster", "learner member which is in sync", "not enough started members")
"""What etcd says for some seconds after each change (etcdserver/errors.go)."""


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """What membership says. `said`: by name. `named`: the addresses of the URL's hosts."""

    cluster: Cluster
    members: Sequence[Member]
    said: Mapping[str, Said]
    named: frozenset[Address]


class Chair:
    """`why`: the last step, or why there is none. `invites`: the host that is to begin as a learner now."""

    def __init__(
        self,
        council: Council,
        peer: Callable[[Address], str],
        timing: Timing,
    ) -> None:
        self._council, self._peer, self._timing = council, peer, timing
        self._heard: dict[int, float] = {}
        """Member → when it was well, or was seen for the first time."""
        self._absent: dict[int, float] = {}
        """Member → since when its host says that it has no such voter."""
        self._failed: dict[str, float] = {}
        """Host → when it was a learner that did not come along."""
        self.why = self.invites = ""

    async def sit(self, endpoint: str, floor: Floor) -> bool:
        """Makes one step at most; whether it did. `endpoint`: of this host's voter, which leads. Raises WeftError where etcd
        does not take it: the same is tried again."""
        listed = await self._council.members(endpoint)
        answers = await beings(self._council, {one.number: one.endpoint for one in listed})
        seats = self._seats(listed, answers, floor)
        self.invites = next((s.host for one, s in zip(listed, seats, strict=True) if s.learner and not one.started), "")
        done = step(
            Situation(
                seats=seats, hosts=self._hosts(floor), patience=self._timing.patience, learning=self._timing.learning
            )
        )
        self.why = done.why
        try:
            return await self._do(endpoint, done, seats, floor)
        except WeftError as error:
            if not any(text in str(error) for text in _NOT_YET):
                raise
            self.why = f"{done.why}: etcd does that once all voters have been well for 5 s, and hold all data"
            return False

    def rise(self) -> None:
        """Another one leads now."""
        self._heard.clear()
        self._absent.clear()
        self.why = self.invites = ""

    def _seats(self, listed: Sequence[Listed], answers: Mapping[int, Being], floor: Floor) -> tuple[Seat, ...]:
        now = time.monotonic()
        numbers = {one.number for one in listed}
        for memory in (self._heard, self._absent):
            for number in memory.keys() - numbers:
                del memory[number]
        return tuple(self._seat(one, answers.get(one.number), floor, now) for one in listed)

    def _seat(self, one: Listed, being: Being | None, floor: Floor, now: float) -> Seat:
        member = _whose(one, floor)
        if being is not None and being.leader:
            self._heard[one.number] = now
        silent = now - self._heard.setdefault(one.number, now - 0.001)
        if silent and member is not None and member.standing is Standing.DEAD:
            silent = max(silent, now - member.since)
        return Seat(
            number=one.number,
            host=member.name if member else "",
            learner=one.learner,
            leads=being is not None and being.leads,
            silent=silent,
            lost=not one.learner and member is not None and self._is_lost(one, member, floor, now),
        )

    def _is_lost(self, one: Listed, member: Member, floor: Floor, now: float) -> bool:
        if member.standing is Standing.LEFT:
            return True
        said = floor.said[member.name]
        elsewhere = said.member != f"{one.number:x}" and (not said.role or bool(said.member))
        if member.standing is not Standing.ALIVE or not said.able or not elsewhere:
            self._absent.pop(one.number, None)
            return False
        return now - self._absent.setdefault(one.number, now) >= self._timing.settling

    def _hosts(self, floor: Floor) -> tuple[Host, ...]:
        return tuple(self._host(one, floor) for one in floor.members if one.standing is not Standing.LEFT)

    def _host(self, member: Member, floor: Floor) -> Host:
        said, now = floor.said[member.name], time.monotonic()
        return Host(
            name=member.name,
            zone=said.zone,
            able=said.able and not self._has_failed(member, now) and _is_of(said, floor.cluster),
            alive=member.standing is Standing.ALIVE,
            reached=member.reached,
            leaving=said.leaving,
            named=member.address in floor.named,
            gone=now - member.since if member.standing is Standing.DEAD else 0.0,
            since=member.since,
        )

    def _has_failed(self, member: Member, now: float) -> bool:
        """A while ago; who has died and come back since has a new try."""
        at = self._failed.get(member.name)
        return at is not None and member.since < at and now - at < _AGAIN * self._timing.learning

    async def _do(self, endpoint: str, done: Step, seats: Sequence[Seat], floor: Floor) -> bool:
        council = self._council
        match done:
            case Add(host=name):
                address = next(member.address for member in floor.members if member.name == name)
                await council.add(endpoint, self._peer(address))
            case Promote(number=number):
                await council.promote(endpoint, number)
            case Remove(number=number):
                gone = next(seat for seat in seats if seat.number == number)
                await council.remove(endpoint, number)
                if gone.learner:
                    self._failed[gone.host] = time.monotonic()
            case Lead(number=number):
                await council.lead(endpoint, number)
            case _:
                return False
        log.info("voters of the store: %s (%s)", _told(done), done.why, extra=events.VOTERS_CHANGED)
        return True


def _whose(one: Listed, floor: Floor) -> Member | None:
    """By what the host itself says, else by where the member is reached."""
    number = f"{one.number:x}"
    says = next((m for m in floor.members if floor.said[m.name].member == number), None)
    host = urlsplit(one.peer).hostname
    return says or next((m for m in floor.members if str(m.address) == host), None)


def _is_of(said: Said, cluster: Cluster) -> bool:
    """Or will be, as soon as it hears of it. One that began the same cluster anew by itself has a voter of the same number at
    etcd: were both taken together, each would tell the other that it was removed."""
    return said.cluster in (None, cluster) or cluster.replaces(said.cluster)


def _told(done: Step) -> str:
    match done:
        case Add(host=host):
            return f"{host} is taken in as a learner"
        case Promote(number=number):
            return f"{number:x} may vote from now on"
        case Remove(number=number):
            return f"{number:x} is removed"
        case Lead(number=number):
            return f"{number:x} is to lead"
    return ""
