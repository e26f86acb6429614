"""`weft check`: what it refuses before anything is asked."""

from __future__ import annotations

from support.canned_agent import CannedAgent


def test_a_patience_that_is_no_number(weft, agent: CannedAgent) -> None:
    ran = weft("check", "--timeout", "nan")
    assert ran.status == 2 and "nan is no number of seconds" in ran.err
    assert agent.asked == []
