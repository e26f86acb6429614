"""Tests in here change links, routes and rules, all of them in network namespaces of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support.namespaces import Home


@pytest.fixture
def netns() -> Iterator[Home]:
    """The test runs inside this fresh network namespace (so do the commands and threads it starts); `netns.new()` makes
    more. All end with the test."""
    if os.geteuid() != 0:
        pytest.skip("needs root, also that of a user namespace: unshare -Urnm")
    home = Home()
    try:
        with home.entered():
            yield home
    finally:
        home.close()
