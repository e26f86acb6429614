"""What is amiss, kept for as long as it is seen again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

MOST = 32
"""Senders lie, also about their addresses: more than that is not kept."""
_AGAIN = 5.0
"""Seconds after which the same trouble is worth acting on once more."""


class Troubles:
    def __init__(self) -> None:
        self._noted: dict[Hashable, tuple[float, float, str]] = {}
        """When it was seen last, when it was acted on, the line."""

    def note(self, now: float, key: Hashable, line: str) -> bool:
        """Whether it is new, or has been going on for some more seconds: then is the time to do something about it."""
        known = self._noted.get(key)
        if known is None and len(self._noted) >= MOST:
            return False
        acts = known is None or now - known[1] >= _AGAIN
        self._noted[key] = (now, now if known is None or acts else known[1], line)
        return acts

    def over(self, key: Hashable) -> None:
        self._noted.pop(key, None)

    def lines(self, now: float, lasting: float) -> Iterator[str]:
        """Those seen within the last `lasting` seconds; the others are forgotten."""
        for key, (at, _, line) in tuple(self._noted.items()):
            if now - at <= lasting:
                yield line
            else:
                del self._noted[key]
