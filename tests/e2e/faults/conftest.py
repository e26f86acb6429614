"""Faults are tried in labs with real agents, one lab for each module, while traffic runs through it.

Times are printed: `pytest -s tests/e2e/faults` shows them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support.cluster import PATHS, Cluster
from support.traffic import Traffic


@pytest.fixture(scope="package", autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, also that of a user namespace: unshare -Urnm")


@pytest.fixture
def traffic(tmp_path: Path) -> Callable[..., Traffic]:
    """Traffic along some of `PATHS` (all of them if none is named), or along other such."""

    def make(cluster: Cluster, *paths: tuple[str, str, int]) -> Traffic:
        return Traffic(tmp_path, [cluster.pair(*path) for path in paths or PATHS])

    return make
