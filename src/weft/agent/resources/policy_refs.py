"""What users wrote about policy, as the view has it, and which of it is meant by a name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.base.errors import Invalid, NotFound
from weft.base.nearby import unknown
from weft.cluster.view import View
from weft.policy import record
from weft.policy.model import TIERS, Namespace, NetworkSet, Policy, Tier
from weft.policy.objects import Object, ident


class Written:
    def __init__(self, view: View) -> None:
        self._view = view

    def policies(self) -> list[Policy]:
        return list(self._view.table(record.POLICIES).by("id").values())

    def tiers(self) -> list[Tier]:
        """But for those that are always there."""
        return list(self._view.table(record.TIERS).by("name").values())

    def namespaces(self) -> list[Namespace]:
        return list(self._view.table(record.NAMESPACES).by("name").values())

    def network_sets(self) -> list[NetworkSet]:
        there = self._view.table(record.NETWORK_SETS).by("namespace", "name")
        return [found for within in there.values() for found in within.values()]

    def all(self) -> Iterator[Object]:
        yield from self.policies()
        yield from self.tiers()
        yield from self.network_sets()
        yield from self.namespaces()

    def like(self, item: Object) -> Object | None:
        """What there is under the same name."""
        namespace = getattr(item, "namespace", "") or "-"
        match item:
            case Policy():
                at = record.OfKind(item.id.partition("/")[0], namespace, item.name)
                return self._view.table(record.POLICIES).get(at)
            case Tier():
                return self._view.table(record.TIERS).by("name").get(item.name)
            case Namespace():
                return self._view.table(record.NAMESPACES).by("name").get(item.name)
        return self._view.table(record.NETWORK_SETS).get(record.Scoped(namespace, item.name))

    def meant(self, ref: str, among: Iterable[Object]) -> Object:
        """`ref`: NAME, NAMESPACE/NAME, KIND/NAME or KIND/NAMESPACE/NAME. A policy is meant first. Raises NotFound, Invalid."""
        among = list(among)
        found = [item for item in among if _is(ref.lower(), item)]
        found = [item for item in found if isinstance(item, Policy)] or found
        if not found:
            raise NotFound(_none(ref, among))
        if len(found) > 1:
            listed = ", ".join(sorted(map(ident, found)))
            raise Invalid(f"'{ref}' is {listed}: name one of these")
        return found[0]


def _is(ref: str, item: Object) -> bool:
    kind, namespace, name = ident(item).split("/")
    return ref in (name, f"{namespace}/{name}", f"{kind}/{name}", f"{kind}/{namespace}/{name}")


def _none(ref: str, among: Iterable[Object]) -> str:
    if ref.removeprefix("tier/") in {tier.name for tier in TIERS}:
        return f"tier {ref.removeprefix('tier/')} is always there, and cannot be removed"
    known = [text for item in among for text in (item.name, ident(item))]
    return unknown("policy", ref, known, "weft policy ls")
