"""What policies rest on: tiers, namespaces, network sets."""

from __future__ import annotations

from typing import Literal

from weft.documents.field import Field, said
from weft.policy.model import NAME_LABEL, TIERS, Namespace, NetworkSet, Tier
from weft.policy.read.meta import read_meta, without_namespace
from weft.policy.read.parts import read_cidr

_DEFAULTS: dict[str, Literal["deny", "pass"]] = {"Deny": "deny", "Pass": "pass"}
_NETS = 10_000
"""CIDRs of one network set."""


def read_tier(document: Field) -> Tier:
    meta, spec = without_namespace(document), document["spec"].required().of("order", "defaultAction")
    if meta.name in {tier.name for tier in TIERS}:
        document["metadata"]["name"].refuse(f"tier {meta.name} is always there, and is as it is: choose another name")
    return Tier(
        name=meta.name,
        order=spec["order"].number(),
        default=_DEFAULTS[spec["defaultAction"].choice(tuple(_DEFAULTS), "Deny")],
        labels=meta.labels,
    )


def read_namespace(document: Field) -> Namespace:
    """Its labels are all that counts."""
    meta = without_namespace(document)
    labels = dict(meta.labels)
    if labels.pop(NAME_LABEL, meta.name) != meta.name:
        document["metadata"]["labels"][NAME_LABEL].refuse(f"of every namespace it is its name, {said(meta.name)}")
    return Namespace(name=meta.name, labels=labels)


def read_network_set(document: Field) -> NetworkSet:
    meta, spec = read_meta(document), document["spec"].required().of("nets")
    nets = spec["nets"].each(read_cidr, _NETS)
    return NetworkSet(name=meta.name, namespace=meta.namespace, labels=meta.labels, cidrs=tuple(dict.fromkeys(nets)))
