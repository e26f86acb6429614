"""Tests in here change links, routes and rules, all of them in network namespaces of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.namespaces import Home, home, unmount_programs


@pytest.fixture(scope="session", autouse=True)
def _nothing_stays_mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield
    unmount_programs(tmp_path_factory.getbasetemp())


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[Home]:
    """The test runs inside this fresh network namespace (so do the commands and threads it starts); `netns.new()` makes
    more. All end with the test."""
    with home() as found:
        yield found
    unmount_programs(tmp_path)
