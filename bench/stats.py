"""Medians, percentiles, and ratios of measurements that were taken in pairs. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import median

from weft.base.errors import Invalid

RESAMPLES = 2_000
CONFIDENCE = 0.95


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that is not exceeded by `share` (0 to 1) of them (nearest rank)."""
    if not samples:
        raise Invalid("no samples: nothing was measured")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratios(values: Sequence[float], references: Sequence[float]) -> list[float]:
    """Pair by pair: what disturbs the machine disturbs both of a pair that ran one after the other."""
    if len(values) != len(references) or not values:
        raise Invalid(f"{len(values)} values and {len(references)} references: they are taken in pairs")
    return [value / reference for value, reference in zip(values, references, strict=True)]


def interval(samples: Sequence[float], of: Callable[[Sequence[float]], float] = median) -> tuple[float, float]:
    """Where the median lies with 95 % confidence, by the percentile bootstrap. The same samples give the same answer."""
    chance = random.Random(len(samples))
    estimates = [of(chance.choices(samples, k=len(samples))) for _ in range(RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    return percentile(estimates, tail), percentile(estimates, 1 - tail)
