"""What does not succeed: for how long it has not, when it is tried again, and who keeps changing it back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

import msgspec

from weft.hoststate import Key

FIRST_DELAY = 0.5
LONGEST_DELAY = 60.0
"""Seconds until the second and until any later attempt; each delay is twice the one before."""

FIGHT = 5
"""That many times something is put right at once; after that it is a failure with its delays."""
PEACE = 2 * LONGEST_DELAY
"""Seconds without a change back after which the count begins anew."""


class Trouble(msgspec.Struct, frozen=True):
    """Why one object is not as desired. `since`, `next_try` and `last` (attempt) in the clock's seconds. `tried`: the
    kernel refused it (or it did not last), so that it is left alone until `next_try`; else it was not even tried, which
    costs nothing."""

    reason: str
    since: float
    attempts: int
    next_try: float
    tried: bool = True
    last: float = 0.0


class _Fight(msgspec.Struct):
    times: int
    last: float


class Troubles:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._fights: dict[Key, _Fight] = {}
        self.by_key: dict[Key, Trouble] = {}

    def add(self, key: Key, reason: str, *, tried: bool) -> None:
        now = self._clock()
        old = self.by_key.get(key)
        attempts = old.attempts + 1 if old else 1
        self._put(key, reason, since=old.since if old else now, attempts=attempts, tried=tried)

    def clear(self, key: Key) -> None:
        self.by_key.pop(key, None)

    def forget(self, key: Key) -> None:
        """Something else is wanted now: what was before does not count."""
        self.by_key.pop(key, None)
        self._fights.pop(key, None)

    def hurry(self, keys: Iterable[Key]) -> None:
        """What stood in the way of these is gone: they are due now."""
        for key in keys:
            self.by_key[key] = msgspec.structs.replace(self.by_key[key], next_try=self._clock())

    def disturbed(self, namespaces: Set[str]) -> None:
        """What happened there may be what was waited for: all is due there, if `FIRST_DELAY` has passed since the last
        attempt; but for what someone keeps changing back."""
        for key, trouble in self.by_key.items():
            if key[1] in namespaces and not self._fought_over(key):
                soonest = min(trouble.last + FIRST_DELAY, trouble.next_try)
                self.by_key[key] = msgspec.structs.replace(trouble, next_try=soonest)

    def changed_back(self, key: Key) -> bool:
        """Note that what was right is not any more. True if that happened so often that it is left alone for now."""
        now = self._clock()
        fight = self._fights.get(key)
        if fight is None or now - fight.last > PEACE:
            fight = self._fights[key] = _Fight(0, now)
        fight.times, fight.last = fight.times + 1, now
        if fight.times < FIGHT:
            return False
        self._put(
            key,
            f"changed back by someone else {fight.times} times",
            since=now,
            attempts=fight.times - FIGHT + 1,
            tried=True,
        )
        return True

    def held(self) -> set[Key]:
        now = self._clock()
        return {key for key, trouble in self.by_key.items() if trouble.tried and trouble.next_try > now}

    def due(self, now: float) -> set[Key]:
        return {key for key, trouble in self.by_key.items() if trouble.next_try <= now}

    def next_try(self) -> float | None:
        return min((trouble.next_try for trouble in self.by_key.values()), default=None)

    def tidy(self) -> None:
        now = self._clock()
        self._fights = {key: fight for key, fight in self._fights.items() if now - fight.last <= PEACE}

    def _fought_over(self, key: Key) -> bool:
        fight = self._fights.get(key)
        return fight is not None and fight.times >= FIGHT

    def _put(self, key: Key, reason: str, *, since: float, attempts: int, tried: bool) -> None:
        delay, now = min(FIRST_DELAY * 2 ** min(attempts - 1, 10), LONGEST_DELAY), self._clock()
        self.by_key[key] = Trouble(reason, since, attempts, now + delay, tried, now)
