"""What a fault has cost the untouched, against what it may cost, and what went where nothing may go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from chaos.faults import Cost
from chaos.probes import INTERVAL, Probe

_UNDER_WAY = 0.05
"""Seconds: what was sent just before the fault may still have been on its way."""


@dataclass(frozen=True)
class Span:
    """A fault that was on from `start` to `end` (time.monotonic) at `hosts`. `slack`: how many times slower than promised
    the machine may be."""

    name: str
    cost: Cost
    hosts: frozenset[str]
    start: float
    end: float
    slack: float

    def concerns(self, probe: Probe) -> bool:
        return bool(probe.hosts & self.hosts) and (not self.cost.drivers or probe.driver in self.cost.drivers)

    def excuses(self, probe: Probe, sent: float) -> bool:
        """Whether a ping that was sent then may be lost, or, where none may be answered, answered."""
        cost = self.cost
        if not (cost.during or cost.after) or not self.concerns(probe) or (not probe.wanted and not cost.leaks):
            return False
        return self.start - _UNDER_WAY <= sent <= self.end + cost.after * self.slack


@dataclass
class Account:
    """`worst`: by fault, the longest time in seconds that one flow was silent."""

    worst: dict[str, float] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)

    def settle(self, probes: list[Probe], start: float, end: float, span: Span) -> Iterator[str]:
        """What was lost, or passed, from `start` to `end` without an excuse."""
        self.times[span.name] = self.times.get(span.name, 0) + 1
        for probe in probes:
            odd = probe.unanswered(start, end) if probe.wanted else probe.answered(start, end)
            if probe.wanted and odd:
                silent = odd[-1] - odd[0] + INTERVAL
                self.worst[span.name] = max(self.worst.get(span.name, 0.0), silent)
                self.lost[span.name] = self.lost.get(span.name, 0) + len(odd)
            bad = [sent for sent in odd if not span.excuses(probe, sent)]
            if bad:
                what = "were lost" if probe.wanted else "were answered, which must not be"
                yield (
                    f"{probe.name} ({probe.address}): {len(bad)} pings {what}, from {bad[0] - span.start:+.2f} s to "
                    f"{bad[-1] - span.start:+.2f} s after the begin of '{span.name}', "
                    f"which ended at {span.end - span.start:+.2f} s; allowed: {_allowed(span.cost)}"
                )

    def table(self) -> Iterator[str]:
        for name in sorted(self.times):
            lost = self.lost.get(name, 0)
            cost = f"{lost} pings lost, longest silence {self.worst[name]:.1f} s" if lost else "nothing lost"
            yield f"  {self.times[name]:3d} × {name}: {cost}"


def _allowed(cost: Cost) -> str:
    if not cost.during and not cost.after:
        return "none"
    return f"while it lasts and {cost.after:g} s after" + (f", {'/'.join(cost.drivers)} only" if cost.drivers else "")
