from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.lab import Lab, state, take_down


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Labs of a test are kept in a folder of its own (with a short name: sockets are in it), and none survives it."""
    path = Path(tempfile.mkdtemp(prefix="wl-"))
    monkeypatch.setenv(state.BASE_VARIABLE, str(path / "labs"))
    yield path / "labs"
    for name in state.names():
        take_down(name)
    shutil.rmtree(path)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """The reference lab without agents."""
    with Lab.up(agents=False) as lab:
        yield lab
