"""What answers come to, and when members are asked again."""

from __future__ import annotations

import random

import pytest

from weft.health.state import EARLY, State, condition, stored
from weft.services.model import Condition, Health

REFUSED, SLOW = "connection refused at 10.1.0.2:80", "no answer from 10.1.0.2:80 in 2 s"


def after(answers: list[str], health: Health, state: State | None = None) -> State:
    state = state or State()
    for answer in answers:
        state = state.after(answer, health)
    return state


@pytest.mark.parametrize(
    ("answers", "rise", "fall", "ready", "reason"),
    [
        ([], 1, 3, False, ""),
        ([""], 1, 3, True, ""),
        ([""], 2, 3, False, ""),
        (["", ""], 2, 3, True, ""),
        (["", REFUSED, ""], 2, 3, False, ""),
        (["", REFUSED, REFUSED], 1, 3, True, ""),
        (["", REFUSED, REFUSED, ""], 1, 3, True, ""),
        (["", REFUSED, "", REFUSED, "", REFUSED], 1, 3, True, ""),
        (["", REFUSED, REFUSED, REFUSED], 1, 3, False, REFUSED),
        (["", REFUSED, SLOW, REFUSED], 1, 3, False, REFUSED),
        (["", REFUSED, REFUSED, REFUSED, ""], 1, 3, True, ""),
        (["", REFUSED, REFUSED, REFUSED, ""], 2, 3, False, REFUSED),
        ([REFUSED], 1, 1, False, REFUSED),
        ([REFUSED, REFUSED], 1, 3, False, ""),
        ([REFUSED] * 3, 1, 3, False, REFUSED),
        ([REFUSED] * 3 + [SLOW] * 2, 1, 3, False, REFUSED),
        ([REFUSED] * 3 + [SLOW] * 3, 1, 3, False, SLOW),
        ([REFUSED] * 3 + [SLOW, REFUSED] * 5, 1, 3, False, REFUSED),
    ],
)
def test_so_many_answers_in_a_row_decide(answers: list[str], rise: int, fall: int, ready: bool, reason: str) -> None:
    found = after(answers, Health(kind="tcp", rise=rise, fall=fall))
    assert (found.ready, found.reason) == (ready, reason)
    assert found.known == (ready or bool(reason))


def test_what_the_store_has_holds_until_answers_contradict_it() -> None:
    health, ready = Health(kind="tcp", fall=2, rise=2), Condition(node="node-1", ready=True, since=5.0)
    state = stored(ready, "node-1")
    assert state.ready and after([REFUSED], health, state).ready
    assert not after([REFUSED, REFUSED], health, state).ready
    unready = stored(Condition(node="node-1", ready=False, since=5.0, reason=REFUSED), "node-1")
    assert unready.known and not after([""], health, unready).ready and after(["", ""], health, unready).ready
    assert not stored(ready, "node-2").known, "the word of the host where it was before"


def test_since_when_changes_with_readiness_only() -> None:
    health = Health(kind="tcp", fall=1)
    first = condition(after([REFUSED], health), None, "node-1", 10.0)
    other_reason = condition(after([REFUSED, SLOW], health), first, "node-1", 20.0)
    assert other_reason == Condition(node="node-1", ready=False, since=10.0, reason=SLOW)
    ready = condition(after([REFUSED, ""], health), other_reason, "node-1", 30.0)
    assert ready == Condition(node="node-1", ready=True, since=30.0)
    assert condition(after([""], health), ready, "node-2", 40.0).since == 40.0


def pauses(answers: list[str], health: Health, state: State | None = None) -> list[float]:
    """As they are in the middle of what chance makes of them."""
    found, state = [], state or State()
    for answer in answers:
        state = state.after(answer, health)
        found.append(state.pause(health, 0.5))
    return found


def test_a_new_member_is_asked_often_until_its_first_good_answer() -> None:
    health = Health(kind="tcp", interval=1.0)
    assert pauses([REFUSED] * 6, health) == pytest.approx([EARLY, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert pauses([REFUSED, "", "", REFUSED, REFUSED], health)[1:] == pytest.approx([0.5, 1.0, 1.0, 1.0])
    assert pauses([REFUSED] * 2, health, stored(Condition(node="a", ready=False, since=0), "a")) == [1.0, 1.0]
    assert pauses([REFUSED] * 2, Health(kind="tcp", interval=0.1)) == pytest.approx([0.1, 0.1])


def test_a_thousand_checks_that_began_together_do_not_go_on_together() -> None:
    health, chance = Health(kind="tcp", interval=5.0), random.Random(5)
    at: list[float] = []
    for _ in range(1000):
        now, state = 0.0, State()
        while now < 60:
            state = state.after("", health)
            now += state.pause(health, chance.random())
            at.append(now)
    for second in range(1, 60):
        tenths = [sum(second + n / 10 <= t < second + (n + 1) / 10 for t in at) for n in range(10)]
        assert max(tenths) < 60, "of 20 on average in a tenth of a second"
