"""Whole labs with real agents."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from weft.lab import Lab, reference, state, take_down


@pytest.fixture(scope="module")
def lab_base() -> Iterator[str]:
    """Labs of a module are kept in a folder of its own (with a short name: sockets are in it), and none survives it."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    path = tempfile.mkdtemp(prefix="we-")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(state.BASE_VARIABLE, f"{path}/labs")
        yield path
        for name in state.names():
            take_down(name)
        shutil.rmtree(path)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, lab_base: str) -> Iterator[Lab]:
    """The reference lab with an agent on each node. Another store than SQLite for a whole module:
    `pytestmark = pytest.mark.parametrize("lab", ["etcd"], indirect=True, scope="module")`."""
    kind: str = getattr(request, "param", "sqlite")
    with Lab.up(
        reference(), name=f"{request.module.__name__.rpartition('.')[2]}-{kind}"[:24].strip("-_"), store=kind
    ) as lab:
        yield lab
