"""Where `weft policy` finds documents: files, directories, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import typer

from weft.api import types as t
from weft.base.errors import Invalid
from weft.cli.output import complain
from weft.policy.objects import rank
from weft.policy.read import Document, Reading, read
from weft.policy.read.text import LARGEST, documents

STDIN = "-"
SUFFIXES = (".yaml", ".yml", ".json")
"""Of those files of a directory that are read."""
PART = 250_000
"""Octets of documents that are sent at once; what is more goes in several parts."""


def found(places: Sequence[str], *, last_first: bool = False) -> tuple[t.PolicySource, ...]:
    """All documents of these places, in the order in which they can be applied, or removed. Whatever is wrong with any of them
    is told, a line each, and ends the command."""
    faults: list[str] = []
    reading: Reading = read(_documents(places, faults))
    faults += reading.faults
    for fault in faults:
        complain(fault)
    if faults:
        raise typer.Exit(Invalid.exit_status)
    if not reading.objects:
        raise Invalid(f"{', '.join(places)}: there are no documents in it")
    pairs = sorted(zip(reading.objects, reading.documents, strict=True), key=lambda p: rank(p[0]), reverse=last_first)
    return tuple(t.PolicySource(place=document.place, document=document.value) for _, document in pairs)


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


def _documents(places: Iterable[str], faults: list[str]) -> Iterator[Document]:
    for place in places:
        for name, path in _files(place):
            try:
                yield from documents(_text(name, path), name)
            except Invalid as error:
                faults.append(str(error))


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
        if path is not None and _leads_nowhere(path):
            reason = f"it is a link to {path.readlink()}, which is not there"
        raise Invalid(f"{name}: {reason}") from None
