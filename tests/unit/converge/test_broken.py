"""When what could not be computed is tried again."""

from __future__ import annotations

from weft.converge.broken import Broken
from weft.hoststate.union import Source
from weft.reconcile.trouble import FIRST_DELAY, LONGEST_DELAY

A, B = Source("network", "a"), Source("network", "b")


def test_pauses_double_up_to_the_longest_and_begin_anew_once_it_is_well() -> None:
    now = [100.0]
    broken = Broken(lambda: now[0])
    assert broken.next_try() is None and not broken.due() and not broken.reasons(A)
    pauses = []
    for _ in range(10):
        broken.note(A, "no")
        due = broken.next_try()
        assert due is not None and not broken.due()
        pauses.append(due - now[0])
        now[0] = due
        assert broken.due() == {A}
    assert pauses[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY] and pauses[-1] == LONGEST_DELAY
    broken.clear(A)
    assert not broken.due() and broken.next_try() is None
    broken.note(A, "no")
    assert broken.next_try() == now[0] + FIRST_DELAY


def test_only_another_reason_is_news() -> None:
    broken = Broken()
    assert broken.note(A, "no") and not broken.note(A, "no") and broken.note(A, "never")
    assert broken.note(B, "never")
    assert broken.reasons(A) == ["never"]
