"""Tests in here change links, routes and rules, all of them in network namespaces of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.namespaces import Home, home


@pytest.fixture
def netns() -> Iterator[Home]:
    """The test runs inside this fresh network namespace (so do the commands and threads it starts); `netns.new()` makes
    more. All end with the test."""
    with home() as found:
        yield found
