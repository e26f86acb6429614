"""Every driver, put to the same checks: the table and the checks are in `support.conformance`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.conformance import CHECKS, HERE, TABLE, Case, Check, Line, build, clear
from weft.datapaths.registry import DRIVERS
from weft.lab import Lab

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module", params=HERE, ids=lambda line: line.driver)
def case(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Case]:
    """One driver after the other, in the reference lab."""
    line: Line = request.param
    try:
        yield build(lab, line)
    finally:
        clear(lab)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(case: Case, check: Check) -> None:
    check(case)


def test_every_driver_is_in_the_table() -> None:
    assert {line.driver for line in TABLE} == set(DRIVERS)
    for line in TABLE:
        if line.elsewhere:
            assert f'"{line.driver}"' in (TESTS / line.elsewhere).read_text(), line
