"""A lab for all pages of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.reach import NODES
from support.scenarios import Stage
from weft.lab import Lab


@pytest.fixture
def stage(lab: Lab, tmp_path: Path) -> Iterator[Stage]:
    """The module's lab with nothing in it."""
    made = Stage(lab, tmp_path, NODES)
    yield made
    made.clear()
