"""Documents, as users write them, into the model (`weft.policy.model`).

A *document* is plain: mappings, lists, texts and numbers, as `weft.policy.read.text` makes them of YAML. Whatever is wrong is
told with its place, of all documents at once; who applies policies takes either all documents or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from weft.policy.model import Policy
from weft.policy.objects import Object, ident
from weft.policy.read.cluster_policy import read_cluster_policy
from weft.policy.read.field import Bad, Field, Log, said
from weft.policy.read.meta import as_written
from weft.policy.read.network_policy import read_network_policy
from weft.policy.read.others import read_namespace, read_network_set, read_tier
from weft.policy.read.own import read_policy

_OWN = "weft/v1"
_KINDS: dict[tuple[str, str], Callable[[Field], Object]] = {
    ("networking.k8s.io/v1", "NetworkPolicy"): read_network_policy,
    ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"): read_cluster_policy,
    (_OWN, "Policy"): read_policy,
    (_OWN, "Tier"): read_tier,
    (_OWN, "NetworkSet"): read_network_set,
    ("v1", "Namespace"): read_namespace,
}
MOST = 10_000
"""Documents that are read at once."""


class Document(NamedTuple):
    """`place`: where it stands, for messages: a file and a line."""

    place: str
    value: Any


class Reading(msgspec.Struct, frozen=True):
    """`documents`: what each of the `objects` was read from. `faults`, `notes`: a line each. Where there are faults, `objects`
    are not all."""

    objects: tuple[Object, ...]
    documents: tuple[Document, ...] = ()
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read(documents: Iterable[Document]) -> Reading:
    found: dict[str, tuple[Object, Document]] = {}
    log = Log()
    for number, document in enumerate(_flat(documents, log)):
        if number == MOST:
            log.faults.append(f"{document.place}: there are more than {MOST} documents: apply them in several parts")
            break
        for item in _read(document, log):
            if found.setdefault(ident(item), (item, document))[0] is not item:
                log.faults.append(f"{document.place}: {_called(document.value)} is there twice")
    objects, sources = zip(*found.values(), strict=True) if found else ((), ())
    return Reading(tuple(objects), tuple(sources), tuple(log.faults), tuple(log.notes))


def _flat(documents: Iterable[Document], log: Log) -> Iterator[Document]:
    """The items of lists, such as kubectl writes, instead of the lists. What is empty is left out."""
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


def _read(document: Document, log: Log) -> Iterator[Object]:
    """One, or none if it is bad."""
    own = Log()
    try:
        found = _object(Field(document.value, "", own))
    except Bad as bad:
        own.faults.append(str(bad))
    else:
        if not own.faults:
            yield found
    place = f"{document.place}: {_called(document.value)}"
    log.faults += [f"{place}: {fault}" for fault in own.faults]
    log.notes += [f"{place}: {note}" for note in own.notes]


def _object(field: Field) -> Object:
    field.names()
    version, kind = field["apiVersion"].required().text(), field["kind"].required().text()
    reader = _KINDS.get((version, kind))
    if reader is None:
        known = ", ".join(f"{kind} ({version})" for version, kind in _KINDS)
        field["kind"].refuse(f"{said(kind)} of {said(version)} is none of {known}")
    field.of("apiVersion", "kind", "metadata", "spec", "status")
    found = reader(field)
    if field.log.faults or not isinstance(found, Policy):
        return found
    return msgspec.structs.replace(found, document=_json(as_written(field)))


def _json(document: dict[str, object]) -> str:
    try:
        return msgspec.json.encode(document).decode()
    except (TypeError, ValueError) as error:  # what stands in a kind of peer that is not known here
        raise Bad(f"it cannot be written as JSON: {error}") from None


def _called(value: Any) -> str:
    """A document, in a message."""
    if not isinstance(value, dict):
        return "document"
    metadata = value.get("metadata")
    names = [metadata.get(name) for name in ("namespace", "name")] if isinstance(metadata, dict) else []
    kind = value.get("kind")
    shown = "/".join(said(name).strip("'") for name in names if isinstance(name, str))
    return f"{said(kind).strip(chr(39)) if isinstance(kind, str) else 'document'} {shown}".rstrip()
