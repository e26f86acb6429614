"""Links of all Markdown lead somewhere, also README's, and those to pages that the code names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "packaging/ansible/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)
_NAMED = re.compile(r"(?<!/)\bdocs/[a-z0-9/_-]+\.md\b")


def anchors(page: Path) -> set[str]:
    """Of its headings, as a forge makes them: lower case, without marks, - for a blank."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", h)).strip().lower().replace(" ", "-")
        for h in headings
    }


def dead(page: Path, text: str) -> list[str]:
    """Those that lead nowhere. Addresses elsewhere are not asked."""
    found = list[str]()
    for link in _LINK.findall(_FENCED.sub("", text)):
        place, _, anchor = link.partition("#")
        if "://" in place or place.startswith("mailto:"):
            continue
        there = (page.parent / place).resolve() if place else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert dead(page, page.read_text()) == []


def test_a_dead_link_is_found() -> None:
    text = "[a](docs/none.md) [b](docs/policy.md#nowhere) [c](docs/policy.md) [d](https://example.org/x)"
    assert dead(ROOT / "README.md", text) == ["docs/none.md", "docs/policy.md#nowhere"]


def test_pages_that_the_code_names_are_there() -> None:
    named = {name for path in (ROOT / "src").rglob("*.py") for name in _NAMED.findall(path.read_text())}
    assert len(named) > 10
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
