"""A doubt whether a member lives: how long it may last, and how well this host itself is.

Both are Lifeguard's. A member that stalls for seconds sees no answers, and would accuse everybody. So a suspicion that only one
has lasts long, and each other member that comes to the same makes it shorter. And who finds that its own probes fail, or is
suspected itself, takes more time for the next ones.
"""

from __future__ import annotations

import math

from weft.mesh.swim import timing

_WORST = 7


class Suspicion:
    __slots__ = ("_began", "_by", "_least", "_most", "_wanted")

    def __init__(self, now: float, members: int, by: str) -> None:
        self._began, self._by = now, {by}
        self._least, self._most, self._wanted = timing.suspicion(members)

    def confirm(self, by: str) -> bool:
        """Whether this says something new."""
        new = by not in self._by and len(self._by) <= self._wanted
        if new:
            self._by.add(by)
        return new

    @property
    def deadline(self) -> float:
        """When it becomes a certainty."""
        if not self._wanted:
            return self._began + self._least
        share = math.log(len(self._by)) / math.log(self._wanted + 1)
        return self._began + max(self._least, self._most - share * (self._most - self._least))

    def put_off(self, seconds: float) -> None:
        self._began += seconds


class Health:
    """`factor`, 1 to 8: how many times longer than usual this host waits."""

    def __init__(self) -> None:
        self._score = 0

    @property
    def factor(self) -> int:
        return self._score + 1

    def worse(self, by: int = 1) -> None:
        self._score = min(_WORST, self._score + by)

    def better(self) -> None:
        self._score = max(0, self._score - 1)
