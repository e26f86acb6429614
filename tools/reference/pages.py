"""All pages of the reference."""

from __future__ import annotations

from pathlib import Path

from tools.reference import api, commands, drivers, errors, events, files, index, metrics, ports, settings, variables

FOLDER = "reference"
MADE = "<!-- Made from the code by `python -m tools.reference`: change it there. -->\n\n"
MAKERS = (index, commands, drivers, settings, api, metrics, events, errors, ports, variables, files)


def all_pages() -> dict[str, str]:
    """Text by path below docs/reference/."""
    return {path: MADE + text.rstrip("\n") + "\n" for maker in MAKERS for path, text in maker.pages().items()}


def write(docs: Path, pages: dict[str, str]) -> None:
    folder = docs / FOLDER
    for path in out_of_date(docs, pages):
        if path in pages:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(pages[path])
        else:
            (folder / path).unlink()


def out_of_date(docs: Path, pages: dict[str, str]) -> list[str]:
    """Pages whose file is missing or says something else, and files that are no page."""
    folder = docs / FOLDER
    there = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.md")}
    return sorted(path for path in {*pages, *there} if pages.get(path) != there.get(path))
