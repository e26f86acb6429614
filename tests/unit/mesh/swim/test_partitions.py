"""Members in the simulator: what is lost, late, doubled, cut and stalled. In the end all agree, and who lives is not dead."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.simulator import Simulator
from weft.mesh.membership import Standing
from weft.mesh.swim import suspicion, timing

FOUR = ("node-1", "node-2", "node-3", "node-4")
SOON = 5.0
"""Virtual seconds in which all hear of what somebody says or that somebody comes."""
_CALM = 90.0
"""In which all agree, whatever was before: the longest suspicion, an exchange, and a try to reach a dead member."""


def up(names: Sequence[str] = FOUR, seed: int = 1) -> Simulator:
    world = Simulator(seed)
    for name in names:
        world.start(name, names[:3])
    world.until(world.agree, SOON)
    return world


def many(count: int) -> list[str]:
    return [f"node-{number}" for number in range(1, count + 1)]


def detected(members: int, probers: int) -> float:
    """Seconds within which a killed member is dead at all: two of its probers' rounds, then the longest suspicion."""
    return 2 * probers * timing.PROBE + timing.suspicion(members)[1] + SOON


def test_hosts_that_start_in_any_order_find_each_other() -> None:
    world = Simulator(3)
    for name in ("node-4", "node-2", "node-3"):
        world.start(name, ["node-1"])
        world.run(7)
    assert not world.agree()
    world.start("node-1", ["node-1"])
    world.until(world.agree, SOON)


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_one_is_dead_at_all_within_the_bound_and_back_when_it_returns(seed: int) -> None:
    world = up(seed=seed)
    world.kill("node-3")
    assert world.until(world.agree, detected(4, 3)) >= timing.suspicion(4)[0]
    world.run(300)
    assert world.agree()
    world.start("node-3", ["node-1"])
    world.until(world.agree, SOON)
    assert world.hosts["node-1"].core.table.known["node-3"].claim.uid == world.hosts["node-3"].core.table.me.uid


def test_who_left_has_left_everywhere_and_comes_back_at_once() -> None:
    world = up()
    world.leave("node-3")
    world.run(3)
    world.kill("node-3")
    world.run(60)
    assert all(world.hosts[name].view()["node-3"] is Standing.LEFT for name in FOUR if name != "node-3")
    assert not world.deaths and not world.doubts
    world.start("node-3", ["node-1"])
    world.until(world.agree, SOON)


@pytest.mark.parametrize("side", [("node-1", "node-2"), ("node-1",)])
def test_each_side_of_a_partition_goes_on_and_both_find_each_other(side: tuple[str, ...]) -> None:
    world, rest = up(), [name for name in FOUR if name not in side]
    world.part(side, rest)
    world.run(600)
    assert {name: set(alive) for name, alive in world.views().items()} == {
        **{name: set(side) for name in side},
        **{name: set(rest) for name in rest},
    }
    world.say("node-4", voter="here")
    world.heal()
    world.until(world.agree, 3 * timing.RECONNECT)


def test_hosts_that_named_nobody_find_each_other_after_a_partition() -> None:
    world = Simulator(5)
    world.formed(FOUR)
    world.part(FOUR[:2], FOUR[2:])
    world.run(300)
    world.heal()
    world.until(world.agree, 3 * timing.RECONNECT)


def test_a_partition_that_flaps_kills_nobody() -> None:
    world = up()
    for _ in range(20):
        world.part(FOUR[:2], FOUR[2:])
        world.run(2)
        world.heal()
        world.run(2)
    assert not world.deaths
    world.until(world.agree, SOON)


def test_a_host_that_hears_and_is_not_heard_is_dead_until_it_is_heard() -> None:
    world = up()
    world.cut = {("node-1", other) for other in FOUR[1:]}
    world.run(60)
    assert all(world.hosts[other].view()["node-1"] is Standing.DEAD for other in FOUR[1:])
    world.heal()
    world.until(world.agree, 3 * timing.RECONNECT)


def test_whom_only_others_reach_is_alive_and_not_reached() -> None:
    world = up()
    world.cut = {("node-1", "node-2")}
    world.run(120)
    assert not world.deaths
    found = {name: world.hosts[name].core.table.known for name in FOUR[:2]}
    assert [n for n, k in found["node-1"].items() if not k.reached] == ["node-2"]
    assert [n for n, k in found["node-2"].items() if not k.reached] == ["node-1"]
    world.heal()
    world.until(lambda: found["node-1"]["node-2"].reached and found["node-2"]["node-1"].reached, 12)


def test_among_many_who_was_not_reached_is_asked_again_soon() -> None:
    world = Simulator(2)
    world.formed(many(40))
    known = world.hosts["node-1"].core.table.known["node-2"]
    world.cut = {("node-1", "node-2")}
    world.until(lambda: not known.reached, 100)
    world.heal()
    world.until(lambda: known.reached, 10)


def test_where_udp_is_lost_tcp_tells_that_it_lives() -> None:
    world = Simulator(1)
    world.formed(FOUR[:2])
    world.udp_cut = {("node-1", "node-2"), ("node-2", "node-1")}
    world.run(60)
    known = world.hosts["node-1"].core.table.known["node-2"]
    assert known.standing is Standing.ALIVE and known.reached and known.tcp_only and not world.deaths
    world.heal()
    world.until(lambda: not known.tcp_only, 5)


def test_loss_kills_nobody() -> None:
    world = up(many(10))
    world.loss, world.doubled, world.delay = 0.2, 0.2, (0.0, 0.1)
    world.run(120)
    assert not world.deaths


def slowed(seed: int) -> tuple[int, int]:
    """Three of twelve get to what has come only after seconds: how often others were doubted, and counted as dead."""
    names = many(12)
    world, slow = up(names, seed), names[4:7]
    for name in slow:
        world.hosts[name].lag = (4.0, 7.0)
    world.run(60)
    doubted, dead = ([each for each in seen if each[2] not in slow] for seen in (world.doubts, world.deaths))
    return len(doubted), len(dead)


def test_slow_members_do_not_accuse_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Lifeguard's two measures they do."""
    doubted, dead = slowed(1)
    assert not dead
    monkeypatch.setattr(suspicion, "_WORST", 0)
    monkeypatch.setattr(timing, "_LONGEST", 1)
    without = slowed(1)
    assert without[0] > 10 * doubted and without[1]


def test_members_that_stall_take_up_where_they_were() -> None:
    names = many(8)
    world, slow = up(names), names[4:6]
    for _ in range(12):
        for name in slow:
            world.stall(name, world.chance.uniform(2, 9))
        world.run(10)
    assert not [death for death in world.deaths if death[2] not in slow]
    world.until(world.agree, SOON + timing.suspicion(8)[1])


def test_two_hundred_that_start_at_once_know_each_other_soon() -> None:
    """More news than datagrams carry in that time: everything is exchanged."""
    world = Simulator(1)
    for name in (names := many(200)):
        world.start(name, names[:3])
    world.until(world.agree, 3.5, every=0.5)


def test_three_hundred_members() -> None:
    """One is killed, one comes; and what they tell each other when nothing happens is little."""
    names = many(300)
    world = Simulator(1)
    world.formed(names)
    before = sum(host.sent["udp"] for host in world.running())
    world.run(5)
    assert (sum(host.sent["udp"] for host in world.running()) - before) / 300 / 5 < 400
    world.kill("node-7")
    world.start("node-301", ["node-1"])
    everybody = {*names, "node-301"} - {"node-7"}
    world.until(lambda: all(host.alive() == everybody for host in world.running()), 30, every=0.5)


_names = st.sampled_from(FOUR)
_STEPS = st.one_of(
    st.tuples(st.just("kill"), _names),
    st.tuples(st.just("start"), _names),
    st.tuples(st.just("part"), st.sets(_names, min_size=1, max_size=3)),
    st.tuples(st.just("one way"), st.sets(st.tuples(_names, _names), min_size=1, max_size=4)),
    st.tuples(st.just("heal"), st.none()),
    st.tuples(st.just("stall"), _names),
    st.tuples(st.just("say"), _names),
    st.tuples(st.just("loss"), st.sampled_from((0.0, 0.1, 0.5))),
)


@settings(max_examples=12)
@given(st.lists(st.tuples(_STEPS, st.sampled_from((0.5, 4.0, 20.0))), max_size=8), st.integers(0, 2**16))
def test_whatever_happens_all_agree_in_the_end(steps: Sequence[tuple[tuple[str, object], float]], seed: int) -> None:
    world = up(seed=seed)
    world.doubled = 0.1
    for number, ((what, which), seconds) in enumerate(steps):
        step(world, what, which, number)
        world.run(seconds)
    world.heal()
    world.loss = 0.0
    world.until(world.agree, _CALM, every=1)


def step(world: Simulator, what: str, which: object, number: int) -> None:
    match what, which:
        case "kill", str():
            world.kill(which)
        case "start", str() if not world.hosts[which].up:
            world.start(which, FOUR[:3])
        case "part", set():
            world.part(which, set(FOUR) - which)
        case "one way", set():
            world.cut = set(which)
        case "heal", _:
            world.heal()
        case "stall", str():
            world.stall(which, 6)
        case "say", str() if world.hosts[which].up:
            world.say(which, said=str(number))
        case "loss", float():
            world.loss = which
