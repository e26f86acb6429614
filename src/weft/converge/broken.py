"""Sources of which the contribution could not be computed: why, and when each is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from weft.hoststate.union import Source
from weft.reconcile.trouble import FIRST_DELAY, LONGEST_DELAY


class _Failure(msgspec.Struct, frozen=True):
    reason: str
    delay: float
    due: float


class Broken:
    """What goes with a mistake in a driver is mostly there again at the next try, so the pauses between tries double. A change
    of the model that concerns the source is another try at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[Source, _Failure] = {}

    def note(self, source: Source, reason: str) -> bool:
        """It failed; whether that is news."""
        known = self._failures.get(source)
        delay = min(2 * known.delay, LONGEST_DELAY) if known else FIRST_DELAY
        self._failures[source] = _Failure(reason, delay, self._clock() + delay)
        return known is None or known.reason != reason

    def clear(self, source: Source) -> None:
        self._failures.pop(source, None)

    def reasons(self, source: Source) -> list[str]:
        """Why it failed, if it did."""
        return [self._failures[source].reason] if source in self._failures else []

    def due(self) -> set[Source]:
        """Those to be tried now."""
        now = self._clock()
        return {source for source, failure in self._failures.items() if failure.due <= now}

    def next_try(self) -> float | None:
        return min((failure.due for failure in self._failures.values()), default=None)
