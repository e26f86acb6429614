"""Documents, as users write them, into the model (`weft.policy.model`).

A *document* is plain: mappings, lists, texts and numbers, as `weft.documents.text` makes them of YAML. Whatever is wrong is
told with its place, of all documents at once; who applies policies takes either all documents or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from weft.documents.document import Document, called, flat
from weft.documents.field import Bad, Field, Log, said
from weft.policy.model import Policy
from weft.policy.objects import Object, ident
from weft.policy.read.cluster_policy import read_cluster_policy
from weft.policy.read.meta import as_written
from weft.policy.read.network_policy import read_network_policy
from weft.policy.read.others import read_namespace, read_network_set, read_tier
from weft.policy.read.own import read_policy

_OWN = "weft/v1"
KINDS: dict[tuple[str, str], Callable[[Field], Object]] = {
    ("networking.k8s.io/v1", "NetworkPolicy"): read_network_policy,
    ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"): read_cluster_policy,
    (_OWN, "Policy"): read_policy,
    (_OWN, "Tier"): read_tier,
    (_OWN, "NetworkSet"): read_network_set,
    ("v1", "Namespace"): read_namespace,
}


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
    for document in flat(documents, log):
        for item in _read(document, log):
            if found.setdefault(ident(item), (item, document))[0] is not item:
                log.faults.append(f"{document.place}: {called(document.value)} is there twice")
    objects, sources = zip(*found.values(), strict=True) if found else ((), ())
    return Reading(tuple(objects), tuple(sources), tuple(log.faults), tuple(log.notes))


def _read(document: Document, log: Log) -> Iterator[Object]:
    """One, or none if it is bad."""
    own = Log()
    try:
        found = _known(Field(document.value, "", own))
    except Bad as bad:
        own.faults.append(str(bad))
    else:
        if not own.faults:
            yield found
    place = f"{document.place}: {called(document.value)}"
    log.faults += [f"{place}: {fault}" for fault in own.faults]
    log.notes += [f"{place}: {note}" for note in own.notes]


def _known(field: Field) -> Object:
    field.names()
    version, kind = field["apiVersion"].required().text(), field["kind"].required().text()
    if (version, kind) not in KINDS:
        known = ", ".join(f"{kind} ({version})" for version, kind in KINDS)
        field["kind"].refuse(f"{said(kind)} of {said(version)} is none of {known}")
    field.of("apiVersion", "kind", "metadata", "spec", "status")
    return read_object(field)


def read_object(field: Field) -> Object:
    """A whole document of one of the `KINDS`. Raises Bad."""
    found = KINDS[field["apiVersion"].text(), field["kind"].text()](field)
    if field.log.faults or not isinstance(found, Policy):
        return found
    return msgspec.structs.replace(found, document=_json(as_written(field)))


def _json(document: dict[str, object]) -> str:
    try:
        return msgspec.json.encode(document).decode()
    except (TypeError, ValueError) as error:  # what stands in a kind of peer that is not known here
        raise Bad(f"it cannot be written as JSON: {error}") from None
