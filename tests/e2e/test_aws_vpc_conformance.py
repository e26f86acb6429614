"""Driver aws-vpc, put to the checks that every driver has to pass, in a VPC of two subnets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.conformance import CHECKS, Case, Check, build, line
from support.vpc import cloud


@pytest.fixture(scope="module")
def case(lab_base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    directory = tmp_path_factory.mktemp("aws")
    with pytest.MonkeyPatch.context() as environment, cloud("aws-conf", directory, environment) as found:
        yield build(found.lab, line("aws-vpc"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(case: Case, check: Check) -> None:
    check(case)
