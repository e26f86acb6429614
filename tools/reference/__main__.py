"""Writes the pages, and removes those that are no longer made."""

from __future__ import annotations

from pathlib import Path

from tools.reference.pages import all_pages, write

DOCS = Path(__file__).parents[2] / "docs"

if __name__ == "__main__":
    write(DOCS, all_pages())
