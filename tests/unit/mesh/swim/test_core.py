"""One member: what it makes of what others say. No network; each input is written out."""

from __future__ import annotations

import random

import pytest

from support.simulator import Simulator
from weft.mesh.membership import Standing
from weft.mesh.swim import timing
from weft.mesh.swim.core import Core, Exchange, Send
from weft.mesh.swim.seen import at_one_address
from weft.mesh.swim.suspicion import Suspicion
from weft.mesh.swim.wire import (
    Ack,
    Alive,
    Dead,
    Left,
    Nack,
    Ping,
    Place,
    Relay,
    Relayed,
    State,
    Suspect,
    alive,
    encode,
    pack,
    unpack,
)

ME, OTHER, THIRD = (
    Alive(name=f"node-{n}", uid=f"u{n}", instance=f"i{n}", incarnation=3, address=bytes((10, 0, 0, n)), port=6785)
    for n in (1, 2, 3)
)


class Member:
    """A core, and the clock."""

    def __init__(self, *known: Alive) -> None:
        self.now = 50.0
        self.core = Core(ME, self.now, random.Random(1))
        self.table = self.core.table
        self.hear(*known)

    def hear(self, *messages: object, source: Place = OTHER.place) -> None:
        self.core.datagram(self.now, pack([encode(message) for message in messages]), source)

    def said(self, place: Place | None = None) -> list[object]:
        """Since the last call, to this place or to all."""
        sent = [effect for effect in self.core.take() if isinstance(effect, Send)]
        return [message for each in sent if place in (None, each.place) for message in unpack(each.data)]

    def wait(self, seconds: float) -> None:
        """With timers in time."""
        end = self.now + seconds
        while self.core.deadline <= end:
            self.now = max(self.now, self.core.deadline)
            self.core.due(self.now)
        self.now = end

    def standing(self, name: str) -> Standing:
        return self.table.known[name].standing

    def troubles(self) -> list[str]:
        return list(self.table.troubles.lines(self.now, 90))


def test_a_ping_is_answered_under_ones_own_name_only() -> None:
    me = Member()
    me.hear(Ping(7, "node-1", "node-2", "u2"))
    assert me.said(OTHER.place) == [Ack(7)]
    me.hear(Ping(7, "node-9", "node-2", "u2"))
    assert not me.said()


def test_who_counts_as_dead_and_asks_is_told_so() -> None:
    me = Member(OTHER)
    me.hear(Dead("node-2", "u2", 3, "node-3"))
    me.said()
    me.hear(Ping(7, "node-1", "node-2", "u2"))
    assert me.said(OTHER.place)[:2] == [Ack(7), Dead("node-2", "u2", 3, "node-2")]
    me.hear(alive(OTHER, incarnation=4))
    assert me.standing("node-2") is Standing.ALIVE


def test_a_probe_asks_the_member_then_others_then_doubts() -> None:
    me = Member(OTHER, THIRD)
    me.wait(1)
    probed = next(m for m in me.said() if isinstance(m, Ping))
    helper = THIRD if probed.target == "node-2" else OTHER
    me.wait(timing.TIMEOUT)
    assert Relay(probed.number, probed.target) in me.said(helper.place)
    me.wait(2)
    assert me.standing(probed.target) is Standing.SUSPECT and not me.table.known[probed.target].reached


@pytest.mark.parametrize(("answer", "reached"), [(Ack, True), (Relayed, False)])
def test_an_answer_tells_who_reaches_it(answer: type[Ack | Relayed], reached: bool) -> None:
    me = Member(OTHER, THIRD)
    me.wait(1)
    probed = next(m for m in me.said() if isinstance(m, Ping))
    me.hear(answer(probed.number))
    me.wait(1.1)
    assert me.standing(probed.target) is Standing.ALIVE and me.table.known[probed.target].reached is reached


def test_a_relay_asks_and_passes_the_answer_on_or_says_that_there_is_none() -> None:
    me = Member(OTHER, THIRD)
    me.said()
    for answered in (True, False):
        me.hear(Relay(77, "node-3"))
        ping = next(m for m in me.said(THIRD.place) if isinstance(m, Ping) and m.target == "node-3")
        if answered:
            me.hear(Ack(ping.number), source=THIRD.place)
        else:
            me.wait(timing.TIMEOUT * timing.NACK)
        assert (Relayed(77) if answered else Nack(77)) in me.said(OTHER.place)


def test_a_doubt_about_oneself_is_contradicted_above_it() -> None:
    me = Member(OTHER)
    for doubt in (Suspect("node-1", "u1", 5, "node-2"), Dead("node-1", "u1", 8, "node-2")):
        me.hear(doubt)
        assert me.table.me.incarnation == doubt.incarnation + 1
    me.wait(1)
    assert me.table.me in me.said(OTHER.place)
    me.hear(Suspect("node-1", "u1", 2, "node-2"))
    assert me.table.me.incarnation == 9


def test_what_comes_late_or_twice_changes_nothing() -> None:
    me = Member(OTHER)
    me.hear(alive(OTHER, incarnation=5, facts={"voter": "new"}))
    late_doubts = Suspect("node-2", "u2", 4, "node-3"), Dead("node-2", "u2", 4, "node-3")
    of_former_life = Suspect("node-2", "x", 9, "node-3"), Dead("node-2", "x", 9, "node-3"), Left("node-2", "x", 9)
    for late in (OTHER, alive(OTHER, incarnation=4), *late_doubts, *of_former_life):
        version = me.table.version
        me.hear(late)
        assert me.table.version == version
    assert me.table.known["node-2"].claim.facts == {"voter": "new"}


def test_what_is_newer_than_the_claim_but_not_than_the_doubt_is_heard_and_does_not_end_the_doubt() -> None:
    me = Member(OTHER)
    me.hear(Suspect("node-2", "u2", 6, "node-3"))
    me.hear(alive(OTHER, incarnation=6, facts={"voter": "new"}))
    assert me.standing("node-2") is Standing.SUSPECT and me.table.known["node-2"].claim.facts == {"voter": "new"}
    me.hear(alive(OTHER, incarnation=7))
    assert me.standing("node-2") is Standing.ALIVE


def test_a_doubt_that_others_share_ends_sooner() -> None:
    least, longest, wanted = timing.suspicion(4)
    doubt = Suspicion(100.0, 4, "node-1")
    assert doubt.deadline == 100 + longest and not doubt.confirm("node-1")
    assert doubt.confirm("node-2") and 100 + least < doubt.deadline < 100 + longest
    assert doubt.confirm("node-3") and doubt.deadline == 100 + least and wanted == 2
    assert not doubt.confirm("node-4")
    assert Suspicion(100.0, 3, "node-1").deadline == 100 + timing.suspicion(3)[0], "nobody else can confirm"


def test_who_leaves_is_not_dead_and_may_come_back() -> None:
    me = Member(OTHER)
    me.hear(Dead("node-2", "u2", 3, "node-3"), Left("node-2", "u2", 3))
    assert me.standing("node-2") is Standing.LEFT
    me.hear(Dead("node-2", "u2", 3, "node-3"), OTHER)
    assert me.standing("node-2") is Standing.LEFT
    me.hear(alive(OTHER, uid="u9", incarnation=4))
    assert me.standing("node-2") is Standing.ALIVE


def test_who_is_no_more_is_forgotten_in_time_and_one_that_is_dead_tried_until_then() -> None:
    me = Member(OTHER, THIRD)
    me.hear(Dead("node-2", "u2", 3, "node-3"), Left("node-3", "u3", 3))
    me.wait(60)
    assert Exchange(OTHER.place) in me.core.effects and Exchange(THIRD.place) not in me.core.effects
    me.core.take()
    me.wait(timing.KEPT["left"])
    assert [*me.table.known] == ["node-2"]
    me.now += timing.KEPT["dead"]
    me.core.due(me.now)
    assert not me.table.known


def test_who_slept_gives_those_that_it_doubted_their_time() -> None:
    me = Member(OTHER)
    me.hear(Suspect("node-2", "u2", 3, "node-3"))
    me.now += 3600
    me.core.due(me.now)
    assert me.standing("node-2") is Standing.SUSPECT
    me.wait(60)
    assert me.standing("node-2") is Standing.DEAD


def test_whom_another_counts_as_dead_is_only_doubted_here() -> None:
    me = Member(OTHER)
    me.table.merge(me.now, "node-3", [State(OTHER, Standing.DEAD, 3), State(THIRD, Standing.DEAD, 3)])
    assert me.standing("node-2") is Standing.SUSPECT and "node-3" not in me.table.known


def test_a_former_life_of_this_host_is_contradicted() -> None:
    me = Member(OTHER)
    me.hear(alive(ME, uid="before", incarnation=9))
    assert me.table.me.incarnation == 10 and me.table.me.uid == "u1" and not me.troubles()
    me.hear(Left("node-1", "before", 12))
    assert me.table.me.incarnation == 13


def test_a_host_at_another_address_or_with_a_new_instance_is_the_same() -> None:
    me = Member(OTHER)
    moved = alive(OTHER, uid="u5", incarnation=4, address=bytes((10, 0, 0, 9)))
    anew = alive(moved, uid="u6", incarnation=5, instance="other")
    for claim in (moved, anew):
        me.hear(claim)
        assert me.table.known["node-2"].claim == claim and not me.troubles()


def test_a_namesake_is_not_taken_while_the_first_lives() -> None:
    me, namesake = Member(OTHER), alive(THIRD, name="node-2", incarnation=99)
    me.hear(namesake)
    assert me.table.known["node-2"].claim == OTHER
    assert "two hosts are called 'node-2', at 10.0.0.2 and at 10.0.0.3" in me.troubles()[0]
    me.said()
    me.wait(3)
    assert namesake not in me.said()
    me.hear(Dead("node-2", "u2", 3, "node-3"), namesake)
    assert me.table.known["node-2"].claim == namesake


def test_both_namesakes_hear_of_each_other() -> None:
    world = Simulator(1)
    world.formed(["node-1", "node-2", "node-3"])
    world.start("node-2", ["node-1"], number=77, instance="another")
    first, newcomer = world.hosts["node-2"].core.table, world.hosts["node-2@77"].core.table
    world.run(3)
    for table in (first, newcomer, world.hosts["node-1"].core.table):
        assert any("10.0.0.3" in line and "10.0.0.77" in line for line in table.troubles.lines(world.now, 90))
    assert world.hosts["node-3"].core.table.known["node-2"].claim == first.me
    world.kill("node-2")
    world.until(lambda: world.hosts["node-3"].core.table.known["node-2"].claim == newcomer.me, 60)


def test_a_copy_of_this_host_is_told_and_not_fought_for_ever() -> None:
    world = Simulator(1)
    world.formed(["node-1", "node-2", "node-3"])
    world.start("node-2", ["node-1"], number=77)
    world.run(60)
    tables = [world.hosts[key].core.table for key in ("node-2", "node-2@77")]
    assert any("a copy of this host" in line for table in tables for line in table.troubles.lines(world.now, 90))
    assert max(table.me.incarnation for table in tables) < 40


def test_who_lies_about_another_hosts_address_is_contradicted_by_that() -> None:
    world = Simulator(1)
    world.formed(["node-1", "node-2", "node-3"])
    truth = world.hosts["node-2"].core.table
    lie = alive(truth.me, incarnation=truth.me.incarnation + 5, address=bytes((10, 9, 9, 9)))
    world.hosts["node-1"].core.datagram(world.now, pack([encode(lie)]), ("10.9.9.9", 6785))
    world.until(world.agree, 10)
    assert truth.me.place[0] == "10.0.0.3" and not world.deaths
    assert any("never said" in line for line in truth.troubles.lines(world.now, 90))


def test_two_members_at_one_address_are_told() -> None:
    me = Member(OTHER, alive(THIRD, address=OTHER.address))
    claims = [known.claim for known in me.table.here()]
    assert list(at_one_address(claims)) == [
        "node-2 and node-3 all say that they are at 10.0.0.2: only one of them can be right"
    ]


def test_an_incarnation_beyond_all_is_no_claim() -> None:
    me = Member(OTHER)
    me.hear(alive(OTHER, incarnation=2**60), THIRD)
    assert me.table.known["node-2"].claim == OTHER and "node-3" in me.table.known


def test_members_beyond_all_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.mesh.swim.table.MOST", 1)
    me = Member(OTHER, THIRD)
    assert [*me.table.known] == ["node-2"] and "'node-3' is not taken" in me.troubles()[0]


def test_who_left_neither_asks_nor_answers_nor_contradicts() -> None:
    me = Member(OTHER)
    me.core.leave(me.now)
    me.hear(Ping(7, "node-1", "node-2", "u2"), Dead("node-1", "u1", 3, "node-2"))
    assert not me.said() and not me.core.told
    me.wait(60)
    assert me.core.told and set(map(type, me.said())) == {Alive, Left}
    assert me.table.me == ME
