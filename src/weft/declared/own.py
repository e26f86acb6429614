"""What documents of Weft's own kinds have alike: `apiVersion: weft/v1`, a name, the network that it is in, labels, a spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from weft.base.errors import WeftError
from weft.base.names import check_name, check_texts
from weft.declared import form
from weft.declared.item import OWN, Item, Kind, Scope, Spec
from weft.documents.field import Field, said

Settle = Callable[[Item], Item]
"""The same item in its normal form, if what it says can be; else it raises a WeftError."""


def own(
    name: str, spec: type[Spec], settle: Settle, *, rank: int, scope: Scope = "", labelled: bool = False, only: str = ""
) -> Kind:
    """`only`: what its one item is called, where a cluster has one; its name may be left out then."""

    def read(document: Field) -> Item:
        metadata = document["metadata"]
        if not only:
            metadata.required()
        called = Field(only, metadata.path, metadata.log) if only and not metadata["name"] else metadata["name"]
        if only and called.text() != only:
            called.refuse(f"{said(called.value)}: there is one {name} in a cluster, and it is called {only}")
        _check_metadata(metadata, name, scope, labelled)
        item = Item(
            kind=name,
            name=called.required().text(),
            scope=metadata["network"].required().as_said(_network) if scope else "",
            labels=_labels(metadata["labels"]),
            spec=form.read(spec, document["spec"].required() if _needs(spec) else _or_empty(document["spec"])),
        )
        found: Item = form.built(lambda: settle(item), Field(None, "", document.log))
        return found

    return Kind(name=name, read=read, write=write, rank=rank, scope=scope, labelled=labelled, spec=spec)


def write(item: Item) -> dict[str, Any]:
    network = {"network": item.scope} if item.scope else {}
    labels = {"labels": dict(sorted(item.labels.items()))} if item.labels else {}
    spec = form.write(item.spec)
    document = {"apiVersion": OWN, "kind": item.kind, "metadata": {"name": item.name, **network, **labels}}
    return {**document, **({"spec": spec} if spec else {})}


def _check_metadata(metadata: Field, kind: str, scope: Scope, labelled: bool) -> None:
    if metadata["network"] and not scope:
        metadata["network"].refuse(f"a {kind} is in no network: leave it out")
    if metadata["labels"] and not labelled:
        metadata["labels"].refuse(f"a {kind} has no labels: leave them out")
    metadata.of("name", *((scope,) if scope else ()), *(("labels",) if labelled else ()))


def _network(name: str) -> str:
    return check_name("network", name)


def _labels(field: Field) -> dict[str, str]:
    labels = {name: field[name].text() for name in field.names()}
    try:
        check_texts("labels", labels)
    except WeftError as error:
        field.refuse(str(error))
    return labels


def _needs(spec: type[Spec]) -> bool:
    """Whether something has to be said."""
    return any(field.required for field in msgspec.structs.fields(spec))


def _or_empty(field: Field) -> Field:
    return field if field else Field({}, field.path, field.log)
