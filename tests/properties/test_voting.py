"""Whatever dies, returns, leaves or loses its disk: no step costs the voters their majority, and in the end they settle."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from weft.mesh.voting import PATIENCE, Add, Council, Host, Lead, Nothing, Promote, Remove, Seat, Step, quorum, step

NAMES = "abcdefgh"
MINUTE = 60.0

events = st.lists(
    st.tuples(st.sampled_from(["kill", "wake", "wipe", "leave", "pass", "settle", "wait"]), st.sampled_from(NAMES)),
    max_size=40,
)


class World:
    """Hosts, of which the first are named; etcd's members, by number: name and whether it is a learner."""

    def __init__(self, zones: tuple[str, ...]) -> None:
        self.zones = dict(zip(NAMES, zones, strict=False))
        self.dead: dict[str, float] = {}
        self.leaving: set[str] = set()
        self.lost: set[int] = set()
        self.seats = {1: ("a", False)}
        self.leader = 1
        self.numbers = itertools.count(2)

    def event(self, what: str, name: str) -> None:
        if name in self.zones:
            getattr(self, f"_{what}")(name)

    def _kill(self, name: str) -> None:
        self.dead.setdefault(name, 0.1)

    def _wake(self, name: str) -> None:
        self.dead.pop(name, None)

    def _wipe(self, name: str) -> None:
        self.dead.pop(name, None)
        self.lost |= {number for number, (host, _) in self.seats.items() if host == name}

    def _leave(self, name: str) -> None:
        self.leaving.add(name)

    def _pass(self, name: str) -> None:
        self.run()

    def _settle(self, name: str) -> None:
        for _ in range(12):
            self.run()

    def _wait(self, name: str) -> None:
        self.dead = {host: seconds + PATIENCE for host, seconds in self.dead.items()}
        self.run()

    def council(self) -> Council:
        seats = tuple(
            Seat(
                number=number,
                host=host,
                learner=learner,
                leads=number == self.leader,
                silent=self.dead.get(host, 0.0),
                lost=number in self.lost and host not in self.dead,
            )
            for number, (host, learner) in self.seats.items()
        )
        hosts = tuple(
            Host(
                name=name,
                zone=zone,
                alive=name not in self.dead,
                leaving=name in self.leaving,
                named=name in "abc",
                gone=self.dead.get(name, 0.0),
            )
            for name, zone in self.zones.items()
        )
        return Council(seats=seats, hosts=hosts)

    def run(self) -> Step:
        """The leader's host makes a step; where there is no leader, nobody does."""
        before = self.council()
        healthy = {seat.number for seat in before.healthy}
        if self.leader not in healthy:
            self.leader = min(healthy, default=0)
            before = self.council()
        done = step(before)
        self._do(done, before)
        return done

    def _do(self, done: Step, before: Council) -> None:
        match done:
            case Add(host=host):
                assert before.learner is None
                assert len(before.healthy) == len(before.voters), "etcd takes in nobody while a voter is silent"
                assert host not in {seat.host for seat in before.seats}
                self.seats[next(self.numbers)] = (host, True)
            case Promote(number=number):
                self.seats[number] = (self.seats[number][0], False)
            case Remove(number=number):
                self._removed(number, before)
                del self.seats[number]
            case Lead(number=number):
                assert number in {seat.number for seat in before.healthy}
                self.leader = number
            case Nothing():
                return
        after = self.council()
        assert len(after.healthy) >= quorum(len(after.voters)), f"{done} cost the majority"

    def _removed(self, number: int, before: Council) -> None:
        seat = next(seat for seat in before.seats if seat.number == number)
        if seat.healthy and not seat.learner and seat.host not in self.leaving:
            assert len(before.voters) % 2 == 0, f"{seat.host} runs, and nobody came in its place"


@given(st.lists(st.sampled_from("xyz"), min_size=1, max_size=8).map(tuple), events)
def test_the_majority_is_never_lost_by_a_step_and_all_settles(
    zones: tuple[str, ...], events: list[tuple[str, str]]
) -> None:
    world = World(zones)
    for what, name in events:
        world.event(what, name)
    for _ in range(60):
        world.event("wait", "a")
    rest = [world.run() for _ in range(4)]
    assert all(isinstance(one, Nothing) for one in rest), rest
    _settled(world.council())


def _settled(council: Council) -> None:
    if len(council.healthy) < quorum(len(council.voters)):
        return
    candidates = council.candidates()
    if len(candidates) > 1:
        assert len(council.voters) - len(council.leaving) >= council.goal
        assert not council.dead
    assert len(council.voters) % 2 or len(council.voters) <= council.goal or len(council.voters) == 2 or not candidates
    assert not council.leaving or not candidates or len(council.voters) == 1
