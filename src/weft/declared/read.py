"""Documents into items: all of them, or what is wrong with each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NoReturn

import msgspec

from weft.base.nearby import meant_of
from weft.declared.item import Item, Kind
from weft.declared.table import KINDS, READERS
from weft.documents.document import Document, called, flat
from weft.documents.field import Bad, Field, Log, said


class Reading(msgspec.Struct, frozen=True):
    """`faults`, `notes`: a line each, with the place of the document. Where there are faults, `items` are not all."""

    items: tuple[Item, ...]
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read(documents: Iterable[Document]) -> Reading:
    log = Log()
    found: dict[str, Item] = {}
    for document in flat(documents, log):
        for item in _read(document, log):
            if (first := found.setdefault(item.id, item)) is not item:
                log.faults.append(f"{document.place}: {called(document.value)} is there twice: first at {first.place}")
    return Reading(tuple(found.values()), tuple(log.faults), tuple(log.notes))


def _read(document: Document, log: Log) -> Iterator[Item]:
    """One, or none if it is bad."""
    own = Log()
    field = Field(document.value, "", own)
    try:
        item = _kind(field).read(field)
    except Bad as bad:
        own.faults.append(str(bad))
    else:
        if not own.faults:
            yield msgspec.structs.replace(item, place=document.place)
    place = f"{document.place}: {called(document.value)}"
    log.faults += [f"{place}: {fault}" for fault in own.faults]
    log.notes += [f"{place}: {note}" for note in own.notes]


def _kind(field: Field) -> Kind:
    """Raises Bad."""
    field.names()
    version, name = field["apiVersion"].required().text(), field["kind"].required().text()
    kind = READERS.get((version, name))
    if kind is None:
        _unknown(field, version, name)
    field.of("apiVersion", "kind", "metadata", "spec", "status")
    return kind


def _unknown(field: Field, version: str, name: str) -> NoReturn:
    versions = [kind.version for kind in KINDS if kind.name == name]
    if versions:
        field["apiVersion"].refuse(f"{said(version)}: a {name} is of {' or '.join(versions)}")
    field["kind"].refuse(f"{said(name)} is no kind of document: {meant_of(name, (kind.name for kind in KINDS))}")
