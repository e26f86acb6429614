"""What the summary of figures says is in the tables that it leads to."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
_ROW = re.compile(
    r"^\| (?P<what>.+?) \| (?P<weft>.+?) \| (?P<beside>.*?) \| \[(?P<ratio>.+?)\]\(figures\.md#(?P<at>.+?)\)"
)


def sections() -> dict[str, str]:
    """The tables by anchor, made as forges make it."""
    parts = re.split(r"(?m)^## (.+)$", (DOCS / "figures.md").read_text())
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-"): text
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_each_row_of_the_summary_is_in_its_table() -> None:
    there = sections()
    rows = [m for line in (DOCS / "performance.md").read_text().splitlines() if (m := _ROW.match(line))]
    assert len(rows) >= 30
    for row in rows:
        text = there[row["at"]]
        beside = row["beside"].rpartition(": ")[2]
        for said in (row["weft"], beside, row["ratio"].removeprefix("more")):
            assert said in text, f"{row['what']}: {said} is not in {row['at']}"
