"""What the answers of one check come to, and when it is asked again. Pure.

An answer is a text: "" is a good one, anything else says in one line what was wrong.
"""

from __future__ import annotations

import msgspec

from weft.services.model import Condition, Health

EARLY = 0.1
"""Seconds until one that was never ready is asked again; each time twice as many, up to the interval. So a container that was
just started takes connections soon after it can."""
JITTER = 0.1
"""By which share of itself each pause may be shorter or longer."""


class State(msgspec.Struct, frozen=True):
    """`reason`: why it is not ready; "" as long as too few answers have said so. `good`, `bad`: so many answers of this kind
    came in a row; where it is not ready, bad ones count that all say the same, `last`. `early`: seconds of the last pause
    before its first good answer; 0 after it."""

    ready: bool = False
    reason: str = ""
    good: int = 0
    bad: int = 0
    last: str = ""
    early: float = EARLY / 2

    @property
    def known(self) -> bool:
        """Whether there is something to tell the cluster."""
        return self.ready or bool(self.reason)

    def after(self, answer: str, health: Health) -> State:
        if not answer:
            ready = self.ready or self.good + 1 >= health.rise
            return State(ready, "" if ready else self.reason, good=self.good + 1, early=0)
        bad = self.bad + 1 if self.ready or answer == self.last else 1
        tell = bad >= health.fall
        return State(
            self.ready and not tell,
            answer if tell else self.reason,
            bad=bad,
            last=answer,
            early=min(2 * self.early, health.interval),
        )

    def pause(self, health: Health, chance: float) -> float:
        """Seconds until it is asked again. `chance`, in [0, 1), spreads the checks of one host: they may all have begun at
        once, so the pause after the first good answer is any part of the interval."""
        if self.ready and self.good == 1:
            return health.interval * chance
        return (self.early or health.interval) * (1 + JITTER * (2 * chance - 1))


def stored(condition: Condition | None, node: str) -> State:
    """What is known before the first answer: `condition` is what the store has, if it is this node's word."""
    if condition is None or condition.node != node:
        return State()
    return State(condition.ready, condition.reason, early=0)


def condition(state: State, before: Condition | None, node: str, now: float) -> Condition:
    """For the store. `before`: what is there; `now`: Unix seconds."""
    same = before is not None and (before.node, before.ready) == (node, state.ready)
    since = before.since if before is not None and same else now
    return Condition(node=node, ready=state.ready, since=since, reason=state.reason)
