"""What was done with documents, or would be: a line each, or the lines in which they differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import unified_diff
from typing import Any, Protocol

from weft.cli.output import listed
from weft.cli.table import Page


class Change(Protocol):
    """Of the API's replies."""

    @property
    def id(self) -> str: ...
    @property
    def change(self) -> str: ...
    @property
    def before(self) -> dict[str, Any] | None: ...
    @property
    def after(self) -> dict[str, Any] | None: ...


_SAID = {"missing": "is not there", "not-tried": "not tried"}
_WOULD = {
    "created": "would be created",
    "changed": "would be changed",
    "unchanged": "would stay",
    "removed": "would be removed",
    "missing": "are not there",
    "waits": "would wait",
}


def done(page: Page, changes: Iterable[Change]) -> Iterator[str]:
    for change in changes:
        reason = getattr(change, "reason", "")
        yield f"{change.id} {_SAID.get(change.change, change.change)}{f': {reason}' if reason else ''}"


def would_be(page: Page, changes: Iterable[Change]) -> Iterator[str]:
    counts: dict[str, int] = {}
    for change in changes:
        counts[change.change] = counts.get(change.change, 0) + 1
        if reason := getattr(change, "reason", ""):
            yield f"{change.id} {change.change}: {reason}"
        for line in _lines_that_differ(change) if change.before != change.after else ():
            style = {"+": "good", "-": "bad"}.get(line[:1], "dim" if line.startswith("@@") else "")
            yield page.paint(line, style)
    yield f"nothing was changed: {listed(f'{n} {_WOULD[what]}' for what, n in counts.items())}"


def _lines_that_differ(change: Change) -> Iterator[str]:
    before, after = (lines(side) if side is not None else [] for side in (change.before, change.after))
    names = "/dev/null" if change.before is None else change.id, "/dev/null" if change.after is None else change.id
    return unified_diff(before, after, *names, lineterm="")


def lines(document: dict[str, Any]) -> list[str]:
    """Without what a terminal would obey."""
    from weft.documents.text import text

    return text(document).splitlines()
