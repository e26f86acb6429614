"""Pictures in README and in the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import pictures

ROOT = Path(__file__).parents[3]
PICTURES = sorted((ROOT / "docs/assets").glob("*.svg"))


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_a_picture_loads_nothing(picture: Path) -> None:
    said = picture.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert re.findall(r"https?://|@import|url\((?!#)", said) == []


def test_readme_shows_pictures_that_are_there() -> None:
    shown = re.findall(r"!\[[^]]+\]\((.+?)\)", (ROOT / "README.md").read_text())
    assert sorted(Path(path).stem for path in shown) == ["demo", "trace"]
    assert [path for path in shown if not (ROOT / path).is_file()] == []


def test_a_terminal_is_drawn_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "ASSETS", tmp_path)
    pictures.draw("some", "a title", "\x1b[1mbold\x1b[0m and \x1b[31mred <text>\x1b[0m\n")
    drawn = (tmp_path / "some.svg").read_text()
    assert "font-weight: bold" in drawn
    assert "red&#160;&lt;text&gt;" in drawn
    assert "rgb" in drawn or "#f2777a" in drawn


def test_what_is_shown_while_one_waits_is_not_in_a_picture() -> None:
    lab = pictures.Lab("/nowhere")
    assert lab.run("weft", "version", "--help").count("\r") == 0
    waiting = "\x1b[?25l⠋ pinging ...\r\x1b[2K⠙ pinging ...\n\x1b[?25h\r\x1b[1A\x1b[2K"
    assert pictures.PROGRESS.sub("", f"before\n{waiting}after") == "before\nafter"
