"""Pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_QUOTED = re.compile(r"(`[^`]*`)")
_SPECIAL = re.compile(r"([<*_\[\]])")


def text(said: str) -> str:
    """Plain text of the code's: what Markdown would take for markup is escaped, but for what is between backticks."""
    parts = _QUOTED.split(said)
    return "".join(part if part.startswith("`") else _SPECIAL.sub(r"\\\1", part) for part in parts)


def paragraphs(said: str | None) -> str:
    """Lines that the code broke are joined again."""
    found = [" ".join(text(paragraph).split()) for paragraph in (said or "").split("\n\n")]
    return "\n\n".join(found) + "\n" if any(found) else ""


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Of cells that are Markdown. "" without rows."""
    lines = [["---"] * len(titles), *map(list, rows)]
    return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in [list(titles), *lines]) if lines[1:] else ""


def _cell(markdown: str) -> str:
    """In one line; a bar would end the cell, also within code."""
    return " ".join(markdown.split()).replace("|", "\\|")


def code(said: str) -> str:
    return f"`{said}`" if said else ""


def block(said: str, language: str = "text") -> str:
    return f"```{language}\n{said.rstrip()}\n```\n"


def join(*parts: str) -> str:
    """With an empty line between them; empty parts are left out."""
    return "\n".join(part.rstrip("\n") + "\n" for part in parts if part)


def page(title: str, *parts: str) -> str:
    return join(f"# {title}", *parts)
