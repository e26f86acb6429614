"""Each page says the same on a forge, which reads GitHub's Markdown, and on the site, which is made by Python-Markdown."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import markdown
import pytest
from markdown_it import MarkdownIt
from mkdocs.config import load_config

ROOT = Path(__file__).parents[3]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
_TAG = re.compile(r"<(li|tr|pre|h[1-6])\b")


def counted(html: str) -> Counter[str]:
    return Counter(_TAG.findall(html))


@pytest.fixture(scope="module")
def as_site() -> markdown.Markdown:
    config = load_config(str(ROOT / "mkdocs.yml"))
    return markdown.Markdown(extensions=config["markdown_extensions"], extension_configs=config["mdx_configs"])


def differences(text: str, site: markdown.Markdown) -> dict[str, tuple[int, int]]:
    """Lists' items, tables' rows, blocks of code and headings whose numbers differ: on a forge, on the site."""
    forge = counted(MarkdownIt("commonmark").enable("table").render(text))
    there = counted(site.reset().convert(text))
    return {tag: (forge[tag], there[tag]) for tag in forge | there if forge[tag] != there[tag]}


def test_every_page_has_the_same_parts_on_a_forge_and_on_the_site(as_site: markdown.Markdown) -> None:
    found = {page.relative_to(ROOT).as_posix(): differences(page.read_text(), as_site) for page in PAGES}
    assert {page: parts for page, parts in found.items() if parts} == {}


def test_a_list_that_only_a_forge_takes_for_one_is_found(as_site: markdown.Markdown) -> None:
    assert differences("Here is\n- a list\n", as_site) == {"li": (1, 0)}
