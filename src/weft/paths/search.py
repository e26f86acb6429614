"""The largest packet that passes by a way on which those of full size get lost: halved, until the rest is not worth it.

What passes is told by the other host, with what it heard. A size is too large when several probes of it stayed unheard,
while the other host told of other things meanwhile.
"""

from __future__ import annotations

LEAST = 576
"""What is taken to pass where anything does (RFC 791)."""
FIRST = 1280
"""What is asked first: IPv6 needs it (RFC 8200)."""
NEAR = 4
TRIES = 5
AGAIN = 40
"""Rounds after which the search begins anew."""


class Search:
    __slots__ = ("_answers", "_first", "_high", "_low", "_rounds", "_tries", "full", "known", "trial")

    def __init__(self, full: int) -> None:
        self.full = full
        self.known = min(FIRST, full)
        """What to go by: the largest that passes, as far as the last search went to its end, or found less. Containers
        remember for ten minutes what is too large, so nobody is told of each step."""
        self._begin()

    def _begin(self) -> None:
        self._low, self._high, self._rounds = min(LEAST, self.full), self.full, 0
        self._try(FIRST if self._low < FIRST < self._high else (self._low + self._high) // 2)

    def _try(self, size: int) -> None:
        self.trial, self._first, self._tries, self._answers = size, 0, 0, 0

    @property
    def done(self) -> bool:
        return self._high - self._low <= NEAR

    def send(self, number: int) -> int:
        """The size of the probe that would have this number; 0: none is needed. Called once a round."""
        if self.done:
            self._rounds += 1
            if self._rounds < AGAIN:
                return 0
            self._begin()
        self._first = self._first or number
        self._tries += 1
        return self.trial

    def told(self, heard: int) -> None:
        """The other host's last probe says that this was the last number that it heard."""
        if self.done or not self._tries:
            return
        self._answers += 1
        if heard >= self._first:
            self._low = self.trial
        elif self._tries >= TRIES and self._answers >= TRIES:
            self._high = self.trial
            self.known = self.known if self.known < self.trial else self._low
        else:
            return
        self._try((self._low + self._high) // 2)
        if self.done:
            self.known = self._low
