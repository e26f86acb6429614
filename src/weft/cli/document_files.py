"""Where commands find documents: files, directories, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import typer

from weft.api import types as t
from weft.base.errors import Invalid
from weft.cli.output import complain
from weft.documents.document import Document
from weft.documents.text import LARGEST, documents

STDIN = "-"
SUFFIXES = (".yaml", ".yml", ".json")
"""Of those files of a directory that are read."""
PART = 250_000
"""Octets of documents that are sent at once where they need not be together."""


def found(places: Iterable[str], faults: list[str]) -> Iterator[tuple[Path, Document]]:
    """All documents of these places, each with the folder where its file is. What cannot be read is added to `faults`."""
    for place in places:
        for name, path in _files(place):
            try:
                for document in documents(_text(name, path), name):
                    yield path.parent if path else Path(), document
            except Invalid as error:
                faults.append(str(error))


def end_with(faults: Iterable[str]) -> None:
    """A line each, if there are any, and the command ends."""
    told = list(faults)
    for fault in told:
        complain(fault)
    if told:
        raise typer.Exit(Invalid.exit_status)


def parts(sources: Iterable[t.PolicySource]) -> Iterator[tuple[t.PolicySource, ...]]:
    """As many as one request takes; all at once where they are not more."""
    part: list[t.PolicySource] = []
    size = 0
    for source in sources:
        more = len(msgspec.json.encode(source.document))
        if part and size + more > PART:
            yield tuple(part)
            part, size = [], 0
        part.append(source)
        size += more
    if part:
        yield tuple(part)


def _files(place: str) -> Iterator[tuple[str, Path | None]]:
    """What each is called, and where it is. Raises Invalid."""
    if place == STDIN:
        yield "standard input", None
        return
    path = Path(place)
    if not path.is_dir():
        yield place, path
        return
    files = sorted(
        file for file in path.iterdir() if file.suffix in SUFFIXES and (file.is_file() or _leads_nowhere(file))
    )
    if not files:
        raise Invalid(f"directory {place} has no files *{', *'.join(SUFFIXES)}")
    for file in files:
        yield str(file), file


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _text(name: str, path: Path | None) -> str:
    """Not more than is read anyway. Raises Invalid."""
    try:
        if path is None:
            return sys.stdin.read(LARGEST + 1)
        with path.open(encoding="utf-8") as file:
            return file.read(LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        if isinstance(error, FileNotFoundError):
            reason = "there is no such file: name one that is there, a folder, or - for what comes in"
        if path is not None and _leads_nowhere(path):
            reason = f"it is a link to {path.readlink()}, which is not there"
        raise Invalid(f"{name}: {reason}") from None
