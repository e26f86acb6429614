"""All that is written about policy, as `weft.policy.read` reads it: the document stays the user's own."""

from __future__ import annotations

from typing import Any

from weft.declared.item import Item, Kind
from weft.documents.field import Field
from weft.policy.model import Policy
from weft.policy.objects import Object, document, labels
from weft.policy.read import KINDS as READERS
from weft.policy.read import read_object


def from_object(found: Object) -> Item:
    return Item(
        kind=found.kind if isinstance(found, Policy) else type(found).__name__,
        name=found.name,
        scope=getattr(found, "namespace", ""),
        labels=labels(found),
        spec=found,
    )


def _read(field: Field) -> Item:
    return from_object(read_object(field))


def _write(item: Item) -> dict[str, Any]:
    return document(item.spec)


KINDS = tuple(
    Kind(
        name=name,
        version=version,
        read=_read,
        write=_write,
        rank=5 if name.endswith("Policy") else 4,
        scope="namespace" if name in ("Policy", "NetworkPolicy", "NetworkSet") else "",
        labelled=True,
    )
    for version, name in READERS
)
NAMES = frozenset(kind.name for kind in KINDS)
