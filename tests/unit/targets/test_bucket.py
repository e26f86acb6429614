"""So many calls a second, and a few more at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.clouds import busiest
from weft.targets.bucket import Bucket


class Time:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_one_by_one() -> None:
    time = Time()
    bucket = Bucket(2.0, 3, time)
    for _ in range(3):
        assert bucket.wait() == 0
        bucket.take()
    assert bucket.wait() == pytest.approx(0.5)
    time.now += 0.5
    assert bucket.wait() == 0
    bucket.take()
    assert bucket.wait() == pytest.approx(0.5)


def test_a_pause_holds_everything_and_no_burst_follows() -> None:
    time = Time()
    bucket = Bucket(2.0, 10, time)
    bucket.hold(30)
    assert bucket.wait() == bucket.held() == 30
    time.now += 30
    assert bucket.wait() == 0
    bucket.take()
    assert bucket.wait() == pytest.approx(0.5) and bucket.held() == 0


@given(
    st.floats(0.1, 100),
    st.integers(1, 20),
    st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_never_more_than_the_rate_allows(rate: float, burst: int, idle: list[float]) -> None:
    time = Time()
    bucket = Bucket(rate, burst, time)
    calls = []
    for pause in idle:
        time.now += pause
        while (wait := bucket.wait()) > 0:
            time.now += wait
        bucket.take()
        calls.append(time.now)
    for seconds in (1.0, 5.0):
        assert busiest(calls, seconds) <= burst + rate * seconds + 1e-3
