"""A token bucket: so many calls a second, and a few more at once after a pause. Pure, but for the clock that it is given."""

from __future__ import annotations

from collections.abc import Callable

ROUNDING = 1e-6
"""Tokens: what sums of fractions may be wrong by."""


class Bucket:
    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        """`rate`: calls per second. `burst`: how many may go at once. `clock`: seconds, monotonic."""
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._filled = float(burst), clock()
        self._held_until = self._filled

    def wait(self) -> float:
        """Seconds until a call may go."""
        self._fill()
        lacking = 1.0 - self._tokens
        return max(lacking / self._rate if lacking > ROUNDING else 0.0, self.held())

    def held(self) -> float:
        """Seconds of these for which the other side wants no calls."""
        return max(0.0, self._held_until - self._clock())

    def take(self) -> None:
        """A call goes now."""
        self._fill()
        self._tokens -= 1.0

    def hold(self, seconds: float) -> None:
        """No call for so long, and no burst after that: who asks for a pause has had too many."""
        self._fill()
        self._held_until = max(self._held_until, self._clock() + seconds)
        self._tokens = min(self._tokens, 1.0 - seconds * self._rate)

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(float(self._burst), self._tokens + (now - self._filled) * self._rate)
        self._filled = now
