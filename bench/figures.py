"""A measured figure with its reference and its goal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

import msgspec

from bench.stats import interval, ratios

Verdict = Literal["met", "missed", "unclear", ""]
"""`unclear`: the goal lies within what the samples' scatter leaves open. "": there is no goal."""


class Goal(msgspec.Struct, frozen=True):
    """`least` or `most` is what is asked, of the ratio to the reference or of the value itself."""

    of: Literal["ratio", "value"]
    least: float | None = None
    most: float | None = None

    def verdict(self, low: float, best: float, high: float) -> Verdict:
        """`best`: the estimate; `low` to `high`: where it lies for all that is known."""
        if self._holds(best):
            return "met"
        return "unclear" if self._holds(high if self.least is not None else low) else "missed"

    def _holds(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """`value` and `reference` in `unit`; `ratio` is value to reference, `between` where it lies with 95 % confidence.
    `samples`: all that was measured, by what it is."""

    group: str
    name: str
    unit: str
    value: float
    reference: float | None = None
    against: str = ""
    ratio: float | None = None
    between: tuple[float, float] | None = None
    goal: Goal | None = None
    verdict: Verdict = ""
    samples: dict[str, Sequence[float]] = {}


class Named(msgspec.Struct, frozen=True):
    """What a figure is called. `against`: its reference, "" where it has none."""

    group: str
    name: str
    unit: str
    against: str = ""


def paired(named: Named, values: Sequence[float], references: Sequence[float], goal: Goal | None = None) -> Figure:
    """From measurements that were taken in turns: the median of the ratios pair by pair."""
    each = ratios(values, references)
    best, between = median(each), interval(each)
    return Figure(
        group=named.group,
        name=named.name,
        unit=named.unit,
        against=named.against,
        value=median(values),
        reference=median(references),
        ratio=best,
        between=between,
        goal=goal,
        verdict=_verdict(goal, (between[0], best, between[1]), median(values)),
        samples={"value": values, "reference": references},
    )


def single(named: Named, value: float, samples: Sequence[float], goal: Goal | None = None) -> Figure:
    """A figure that stands by itself; `value` is made from `samples`."""
    return Figure(
        group=named.group,
        name=named.name,
        unit=named.unit,
        value=value,
        goal=goal,
        verdict=_verdict(goal, None, value),
        samples={"value": samples},
    )


def beside(
    named: Named,
    value: tuple[float, Sequence[float]],
    reference: tuple[float, Sequence[float]],
    goal: Goal | None = None,
) -> Figure:
    """Each a figure with the samples it was made from, measured in the same run though not in pairs."""
    ratio = value[0] / reference[0]
    return Figure(
        group=named.group,
        name=named.name,
        unit=named.unit,
        against=named.against,
        value=value[0],
        reference=reference[0],
        ratio=ratio,
        goal=goal,
        verdict=_verdict(goal, (ratio, ratio, ratio), value[0]),
        samples={"value": value[1], "reference": reference[1]},
    )


def _verdict(goal: Goal | None, ratio: tuple[float, float, float] | None, value: float) -> Verdict:
    if goal is None:
        return ""
    if goal.of == "ratio" and ratio:
        return goal.verdict(*ratio)
    return goal.verdict(value, value, value)
