"""Pages whose commands run in the reference lab, on the embedded store."""

from __future__ import annotations

import pytest

from support.documents import Page
from support.scenarios import Stage, play, standing_on


@pytest.mark.parametrize("page", standing_on("reference"), ids=str)
def test_it_shows_what_its_commands_print(page: Page, stage: Stage) -> None:
    play(page, stage)
