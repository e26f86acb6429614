"""Documents as they stand in files: which there are, and what each is called in a message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from weft.documents.field import Bad, Field, Log, said

MOST = 10_000
"""Documents that are read at once."""


class Document(NamedTuple):
    """`place`: where it stands, for messages: a file and a line."""

    place: str
    value: Any


def flat(documents: Iterable[Document], log: Log) -> Iterator[Document]:
    """The items of lists, such as kubectl writes, instead of the lists. What is empty is left out. `log` is told of too many
    documents, and of a list that is none."""
    for number, document in enumerate(_flat(documents, log)):
        if number == MOST:
            log.faults.append(f"{document.place}: there are more than {MOST} documents: apply them in several parts")
            break
        yield document


def _flat(documents: Iterable[Document], log: Log) -> Iterator[Document]:
    for place, value in documents:
        if not _is_list(value):
            if value is not None:
                yield Document(place, value)
            continue
        try:
            items = Field(value, "", log)["items"].items(MOST)
        except Bad as bad:
            log.faults.append(f"{place}: {value['kind']}: {bad}")
            continue
        for item in items:
            yield Document(f"{place}: {item.path}", _with_kind(item.value, value))


def _is_list(value: Any) -> bool:
    kind = value.get("kind") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind.endswith("List")


def _with_kind(item: Any, of: dict[str, Any]) -> Any:
    """In a list of one kind the items need not say of which."""
    kind = of["kind"].removesuffix("List")
    if not isinstance(item, dict) or not kind:
        return item
    return {"apiVersion": of.get("apiVersion"), "kind": kind, **item}


def called(value: Any) -> str:
    """A document, in a message."""
    if not isinstance(value, dict):
        return "document"
    metadata = value.get("metadata")
    names = [metadata.get(name) for name in ("namespace", "network", "name")] if isinstance(metadata, dict) else []
    kind = value.get("kind")
    shown = "/".join(said(name).strip("'") for name in names if isinstance(name, str))
    return f"{said(kind).strip(chr(39)) if isinstance(kind, str) else 'document'} {shown}".rstrip()
