"""Pages that make labs, or start agents, themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.documents import Page
from support.reach import NODES
from support.scenarios import Stage, play, standing_on
from weft.lab import Lab


@pytest.mark.parametrize("page", standing_on("machine"), ids=str)
def test_what_is_typed_on_the_machine(page: Page, lab_base: str, tmp_path: Path) -> None:
    stage = Stage(None, tmp_path)
    play(page, stage)
    stage.clear()


@pytest.mark.parametrize(
    ("store", "page"),
    [(store, page) for store in ("sqlite", "etcd", "mesh") for page in standing_on("bare", store)],
    ids=str,
)
def test_what_is_typed_on_hosts_without_agents(store: str, page: Page, lab_base: str, tmp_path: Path) -> None:
    with Lab.up(name="bare", store=store, agents=False) as lab:
        play(page, Stage(lab, tmp_path, NODES))
