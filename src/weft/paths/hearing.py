"""What comes to this host by one channel of one other host, and whether that direction is up.

That a probe was lost is known by its number: the other host tells with each probe, on whatever way it comes, how many it
has sent on every one. So the ways are measured against each other. Where nothing comes by any of them, the host may be
busy, or its agent may be stopped: that is no reason to say that a way is down, and nothing would be won by it.

Down quickly, up slowly: a direction comes up after some probes without a gap, and after twice as many each time where it
keeps falling.
"""

from __future__ import annotations

from weft.paths.channels import LOST, MOST_WELL, PARDONED, PATIENCE, STEADY, WELL
from weft.paths.probe import DOUBT, DOWN, UP


class Hearing:
    __slots__ = ("_falls", "_rose", "good", "heard", "last", "need", "overdue", "sent", "sure", "up")

    def __init__(self, tick: int = 0, up: bool = True) -> None:
        self.up = up
        self.sure = False
        """Whether a probe ever came by it, since the other host began."""
        self.heard = self.sent = 0
        """The highest number that came, and the highest that the other host told."""
        self.last = tick
        """When a probe came."""
        self.overdue: int | None = None
        """The tick in which one was first known to be missing, of those that are missing now."""
        self.good, self.need = 0, WELL
        """While it is down: probes that came since the last gap; how many it takes."""
        self._falls, self._rose = 0, -STEADY
        """How often it fell without having stood for long in between."""

    def begin(self, sent: int, tick: int) -> None:
        """The other host began anew, and has sent so many by now."""
        self.heard = self.sent = sent
        self.last, self.overdue, self.sure = tick, None, False

    def tell(self, sent: int, tick: int) -> None:
        """The other host says that it has sent so many."""
        if sent > self.sent:
            self.sent = sent
            if self.overdue is None and sent > self.heard:
                self.overdue = tick

    def come(self, number: int, tick: int) -> None:
        self.heard, self.last, self.sure = number, tick, True
        self.sent = max(self.sent, number)
        if self.heard == self.sent:
            self.overdue = None
        if not self.up:
            self.good += 1
            if self.good >= self.need:
                self.up, self._rose = True, tick

    def missing(self, tick: int) -> int:
        """Probes in a row that were lost. What was told of within this tick or the last may still be on its way."""
        return self.sent - self.heard if self.overdue is not None and tick - self.overdue > 1 else 0

    def judge(self, tick: int) -> None:
        if self.missing(tick) < LOST:
            return
        if not self.up:
            self.good = 0
        elif self.overdue is not None and tick - self.overdue >= PATIENCE:
            self.fall(tick)

    def fall(self, tick: int) -> None:
        if self.up:
            self.up, self.good = False, 0
            self._falls = 1 if tick - self._rose >= STEADY else self._falls + 1
            self.need = min(WELL << max(self._falls - PARDONED, 0), MOST_WELL)

    def standing(self, tick: int) -> int:
        if not self.up:
            return DOWN
        return DOUBT if self.missing(tick) else UP
