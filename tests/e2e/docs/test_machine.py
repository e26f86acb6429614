"""Pages that make labs themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.documents import Page
from support.scenarios import Stage, play, standing_on


@pytest.mark.parametrize("page", standing_on("machine"), ids=str)
def test_what_is_typed_on_the_machine(page: Page, lab_base: str, tmp_path: Path) -> None:
    stage = Stage(None, tmp_path)
    play(page, stage)
    stage.clear()
