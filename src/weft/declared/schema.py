"""JSON Schema of the documents, for editors that complete and check them while they are written."""

from __future__ import annotations

from typing import Any

from weft.declared.item import Kind, Spec
from weft.declared.table import KINDS
from weft.model.codec import schemas

_TEXT = {"type": "string"}
_LABELS = {"type": "object", "additionalProperties": _TEXT}


def schema() -> dict[str, Any]:
    """Of one document (JSON Schema 2020-12). Of policy only the kinds: what they say is described elsewhere."""
    own = [kind for kind in KINDS if kind.spec is not None]
    specs: list[type[Spec]] = [kind.spec for kind in own if kind.spec is not None]
    refs, components = schemas(specs)
    said = {kind.name: ref for kind, ref in zip(own, refs, strict=True)}
    closed = {name: {**found, "additionalProperties": False} for name, found in components.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What Weft can be told by weft apply",
        "oneOf": [_document(kind, said.get(kind.name)) for kind in KINDS],
        "components": {"schemas": closed},
    }


def _document(kind: Kind, spec: dict[str, Any] | None) -> dict[str, Any]:
    names = ["name", *([kind.scope] if kind.scope else []), *(["labels"] if kind.labelled else [])]
    metadata: dict[str, Any] = {
        "type": "object",
        "properties": {name: _LABELS if name == "labels" else _TEXT for name in names},
        "required": [] if kind.name == "BgpSettings" else ["name", *(["network"] if kind.scope == "network" else [])],
        "additionalProperties": spec is None,
    }
    return {
        "title": kind.name,
        "type": "object",
        "properties": {
            "apiVersion": {"const": kind.version},
            "kind": {"const": kind.name},
            "metadata": metadata,
            "spec": spec or {"type": "object"},
        },
        "required": ["apiVersion", "kind", *(["metadata"] if metadata["required"] else [])],
        "additionalProperties": spec is None,
    }
