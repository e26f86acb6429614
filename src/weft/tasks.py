"""The agent's tasks go on, whatever one of them runs into.

Each task does one thing for ever, and knows which of its failures to expect and how to go on after them. What it did not
expect (a full disk, a defect of Weft, or of a driver that somebody wrote) must cost that one thing for a while, never the
agent: without it the whole host is on its own. So here, and only here, a task that fails in whatever way is started again,
after a pause that grows; the failure is logged with its traceback and told in status.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator

from weft.base import events
from weft.base.errors import Conflict, Invalid, WeftError, one_line

log = logging.getLogger(__name__)

WELL = 60.0
"""Seconds: who has run for so long is well again. Its next failure is a new one, and the last is told no more."""


def backoff(first: float = 0.2, last: float = 5.0, chance: Callable[[], float] = random.random) -> Iterator[float]:
    """Seconds before each next try: doubling, each between a half and the whole (`chance` is in [0, 1)), so that
    many followers of one store do not come back all at once."""
    delay = first
    while True:
        yield delay * (1 + chance()) / 2
        delay = min(2 * delay, last)


async def whenever(wake: asyncio.Event, work: Callable[[], Awaitable[None]], failing: str) -> None:
    """For ever: `work` after each time that `wake` was set. Where it fails because of the store it is tried again by itself,
    after a pause that grows; `failing` says in the log what is not done yet, once for each reason."""
    delays, said = backoff(), ""
    while True:
        await wake.wait()
        wake.clear()
        try:
            await work()
            delays, said = backoff(), ""
        except WeftError as error:
            log.log(logging.DEBUG if str(error) == said else logging.WARNING, "%s: %s", failing, error)
            said = str(error)
            await asyncio.sleep(next(delays))
            wake.set()


class Supervisor:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[str, tuple[float, str]] = {}
        """Task → when it failed last, and how."""

    async def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work`, again and again if it fails, until it returns. Raises Conflict and Invalid: another installation has this
        node's name, or the settings can never work; only the operator can do something about that."""
        delays = backoff(first=0.5, last=30.0)
        while True:
            began = self._clock()
            try:
                await work()
                return
            except (Conflict, Invalid):
                raise
            except Exception as error:  # noqa: BLE001 - see above: the one place where whatever it is is contained
                if self._clock() - began > WELL:
                    delays = backoff(first=0.5, last=30.0)
                self._note(name, error)
            await asyncio.sleep(next(delays))

    def _note(self, name: str, error: Exception) -> None:
        reason = one_line(str(error)) or type(error).__name__
        known, self._failed[name] = self._failed.get(name), (self._clock(), reason)
        if known is not None and known[1] == reason:
            return
        expected = isinstance(error, WeftError | OSError)
        log.error(
            "task %s failed and is started again: %s",
            name,
            reason,
            exc_info=None if expected else error,
            extra=events.TASK_FAILED,
        )

    def failing(self, name: str) -> str:
        """How this task fails these days; "" where it does not."""
        at, reason = self._failed.get(name, (-WELL, ""))
        return reason if self._clock() - at < WELL else ""

    def problems(self) -> Iterator[str]:
        """What fails these days, a line each."""
        now = self._clock()
        for name, (at, reason) in tuple(self._failed.items()):
            if now - at < WELL:
                yield f"the agent's task {name} failed {now - at:.0f} s ago and was started again: {reason}"
