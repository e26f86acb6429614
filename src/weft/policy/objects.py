"""All that users write about policy, under one roof: how it is called, where it lies, and as a document."""

from __future__ import annotations

from typing import Any

import msgspec

from weft.model import decode
from weft.policy import record
from weft.policy.model import Namespace, NetworkSet, Policy, Tier

Object = Policy | Tier | Namespace | NetworkSet


def ident(item: Object) -> str:
    """Unique among all: "KIND/NAMESPACE/NAME" in lower case, as `weft policy ls` shows it."""
    if isinstance(item, Policy):
        return item.id
    namespace = item.namespace if isinstance(item, NetworkSet) else ""
    return f"{type(item).__name__.lower()}/{namespace}/{item.name}"


def store_key(item: Object) -> str:
    match item:
        case Policy():
            return record.policy_key(item)
        case Tier():
            return record.TIER.key(item.name)
        case Namespace():
            return record.NAMESPACE.key(item.name)
    return record.network_set_key(item)


def rank(item: Object) -> int:
    """What has a lower one is made first and removed last: policies stand on the tiers in which they are."""
    return 1 if isinstance(item, Policy) else 0


def labels(item: Object) -> dict[str, str]:
    """By which it is chosen itself; of a policy, as its document says."""
    if isinstance(item, Policy):
        return dict(document(item).get("metadata", {}).get("labels") or {})
    return item.labels


def document(item: Object) -> dict[str, Any]:
    """As a user could have written it; of a policy, as one has."""
    match item:
        case Policy():
            return decode(dict[str, Any], item.document.encode()) if item.document else msgspec.to_builtins(item)
        case Tier():
            order = int(item.order) if float(item.order).is_integer() else item.order
            spec = {"order": order, "defaultAction": item.default.capitalize()}
            return _document("weft/v1", "Tier", {"name": item.name, "labels": item.labels}, spec)
        case Namespace():
            return _document("v1", "Namespace", {"name": item.name, "labels": item.labels}, {})
    metadata = {"name": item.name, "namespace": item.namespace, "labels": item.labels}
    return _document("weft/v1", "NetworkSet", metadata, {"nets": [str(cidr) for cidr in item.cidrs]})


def same(one: Object, other: Object) -> bool:
    """Whether nothing changes where one takes the other's place. The order of a document's fields says nothing."""
    if isinstance(one, Policy) and isinstance(other, Policy):
        bare = (msgspec.structs.replace(item, document="") for item in (one, other))
        return next(bare) == next(bare) and document(one) == document(other)
    return one == other


def _document(version: str, kind: str, metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    said = {name: value for name, value in metadata.items() if value}
    return {"apiVersion": version, "kind": kind, "metadata": said, **({"spec": spec} if spec else {})}
