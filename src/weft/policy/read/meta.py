"""What all documents have: what they are, and what they are called."""

from __future__ import annotations

import re

import msgspec

from weft.documents.field import Field, said
from weft.policy.read.labels import read_labels

_SERVER = ("uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "managedFields", "ownerReferences")
"""What an API server adds to what a user wrote: it may be there, and says nothing."""

_DNS_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_DNS_LABEL)
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_DNS_LABEL}(\.{_DNS_LABEL})*")


class Meta(msgspec.Struct, frozen=True):
    """`namespace`: "" where there is none."""

    name: str
    namespace: str
    labels: dict[str, str]


def read_meta(document: Field) -> Meta:
    field = document["metadata"].required()
    field.of("name", "namespace", "labels", "annotations", "finalizers", *_SERVER)
    for annotation in field["annotations"].names():
        field["annotations"][annotation].text()
    field["finalizers"].each(Field.text)
    name = field["name"].matching(
        _NAME, "a name has up to 253 of a-z, 0-9, '-', '.', beginning and ending with a letter or digit"
    )
    namespace = field["namespace"]
    if namespace and namespace.text():
        namespace.matching(_NAMESPACE, "a namespace's name has up to 63 of a-z, 0-9, '-'")
    return Meta(name, namespace.text(), read_labels(field["labels"]))


def without_namespace(document: Field) -> Meta:
    meta = read_meta(document)
    if meta.namespace:
        document["metadata"]["namespace"].refuse(f"{said(meta.namespace)}: this kind is in no namespace")
    return meta


def as_written(document: Field) -> dict[str, object]:
    """Without what an API server added."""
    written = {name: value for name, value in document.value.items() if name != "status"}
    metadata = {name: value for name, value in written["metadata"].items() if name not in _SERVER}
    return {**written, "metadata": metadata}
