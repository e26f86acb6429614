"""About a minute of random operations and faults; docs/chaos.md says what has to hold. `./dev chaos` takes longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.run import Run
from chaos.world import World

SEED = 8
STEPS = 10
"""About so many as take a minute on an idle machine. On a slow one the same steps take longer."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_minute_of_chaos(lab_base: str, tmp_path: Path) -> None:
    world, told = World.up("chaos", tmp_path), list[str]()
    try:
        run = Run(world, SEED, tmp_path, told.append)
        held = run.go(lambda done: done >= STEPS, short=True, without=())
    finally:
        world.lab.down()
    again = f"again: ./dev chaos --short --seed {SEED} --steps {run.steps_done}; evidence: {tmp_path}"
    assert held, "\n".join([*told, *run.violations, again])
