from __future__ import annotations

import random
from statistics import median

import pytest

from bench.stats import interval, percentile, ratios
from weft.base.errors import Invalid


@pytest.mark.parametrize(
    ("samples", "share", "expected"),
    [
        ([3, 1, 2], 0.5, 2),
        (range(1, 101), 0.99, 99),
        (range(1, 101), 0.5, 50),
        (range(1, 21), 0.99, 20),
        ([7], 0.0, 7),
        ([7, 8], 1.0, 8),
    ],
)
def test_percentile_is_the_nearest_rank(samples: list[float], share: float, expected: float) -> None:
    assert percentile(samples, share) == expected


def test_no_samples_are_refused() -> None:
    with pytest.raises(Invalid, match="nothing was measured"):
        percentile([], 0.5)


def test_a_disturbance_of_the_whole_machine_leaves_ratios_alone() -> None:
    calm, slow = [10.0, 10.0, 10.0], [10.0, 2.0, 5.0]
    values = [0.9 * a for a in slow]
    assert ratios(values, slow) == pytest.approx([0.9, 0.9, 0.9])
    assert median(ratios(values, calm)) != pytest.approx(0.9)


def test_ratios_want_pairs() -> None:
    with pytest.raises(Invalid, match="2 values and 1 references"):
        ratios([1, 2], [1])


def test_the_interval_holds_the_median_and_narrows_with_more_samples() -> None:
    chance = random.Random(1)
    few = [chance.gauss(1, 0.1) for _ in range(10)]
    many = [chance.gauss(1, 0.1) for _ in range(200)]
    low, high = interval(few)
    assert low <= median(few) <= high
    assert high - low > interval(many)[1] - interval(many)[0]
    assert interval(few) == (low, high)


def test_what_always_came_out_the_same_is_certain() -> None:
    assert interval([2.0] * 5) == (2.0, 2.0)
