"""Pages whose commands run in the reference lab, on the stores of a cluster."""

from __future__ import annotations

import pytest

from support.documents import Page
from support.scenarios import Stage, play, standing_on

_PAGES = [(store, page) for store in ("etcd", "mesh") for page in standing_on("reference", store)]


@pytest.mark.parametrize(("lab", "page"), _PAGES, ids=str, indirect=["lab"], scope="module")
def test_it_shows_what_its_commands_print(page: Page, stage: Stage) -> None:
    play(page, stage)
