"""What is written of policy: as many changes as go in one transaction are made at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weft.agent.parts import Parts
from weft.agent.resources.declared.part import Change, Plan
from weft.agent.resources.policies import AT_ONCE, Policies
from weft.agent.resources.policy_refs import Written
from weft.base.errors import Conflict
from weft.declared import policies as form
from weft.declared.item import Item
from weft.policy.model import Tier
from weft.policy.objects import same


class PoliciesPart:
    kinds = form.NAMES
    at_once = AT_ONCE

    def __init__(self, parts: Parts, policies: Policies) -> None:
        self._written, self._policies = Written(parts.view), policies

    async def there(self) -> list[Item]:
        return [form.from_object(found) for found in self._written.all()]

    def undeclared(self) -> Iterable[Item]:
        return ()

    async def find(self, item: Item) -> Item | None:
        found = self._written.like(item.spec)
        return None if found is None else form.from_object(found)

    def settled(self, wanted: Item, found: Item | None) -> Item:
        """The order of a document's fields says nothing."""
        return found if found is not None and same(found.spec, wanted.spec) else wanted

    async def check(self, change: Change, plan: Plan) -> None:
        tiers = [c for c in plan.of("Tier") if c.after is not None]
        gone = [c.item.name for c in plan.of("Tier") if c.after is None]
        if change.after is not None:
            self._policies.check_tiers([*(c.item.spec for c in tiers), change.after.spec], gone)
        elif isinstance(change.item.spec, Tier):
            self._check_unused(change.item.name, plan)

    def _check_unused(self, tier: str, plan: Plan) -> None:
        """Raises Conflict."""
        for policy in self._written.policies():
            if policy.tier == tier and not plan.by_id.get(form.from_object(policy).id):
                raise Conflict(
                    f"tier {tier} has policies ({policy.id}): remove these first, or leave it in the documents"
                )

    async def make(self, changes: Sequence[Change], plan: Plan) -> None:
        pairs = [(c.before.spec if c.before else None, c.after.spec if c.after else None) for c in changes]
        await self._policies.replace(pairs, plan.written)
