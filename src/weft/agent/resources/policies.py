"""The API's operations about what users write of policy (`weft.api.operations`): policies, tiers, network sets, namespaces."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from weft.agent.parts import Parts
from weft.agent.resources.enforcing import Enforcing, UpTo
from weft.agent.resources.policy_refs import Written
from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound
from weft.cluster import records
from weft.compile.policy import identity_of, policies
from weft.documents.document import Document
from weft.model import Endpoint, encode, keys
from weft.policy.model import TIERS, Policy, Tier
from weft.policy.objects import Object, document, ident, rank, same, store_key
from weft.policy.read import Reading, read
from weft.policy.record import POLICY
from weft.store.protocol import Delete, Guard, NothingNewer, Op, Put

AT_ONCE = 64
"""Objects of one transaction: each needs a guard, and each may need another one for its tier."""


Pair = tuple[Object | None, Object | None]
"""What is there, and what is to be there instead; None: nothing."""


class Policies:
    def __init__(self, parts: Parts, enforcing: Enforcing) -> None:
        self._parts, self._cluster, self._enforcing = parts, parts.cluster, enforcing
        self._written = Written(parts.view)

    async def policies(self, endpoint: str = "") -> t.PolicyList:
        """`endpoint`: its id, for the policies that select it."""
        self._parts.ready()
        self._parts.as_of.look()
        written = self._written
        chosen = await self._selecting(endpoint) if endpoint else written.policies()
        used = Counter(policy.tier for policy in written.policies())
        tiers = sorted((*TIERS, *written.tiers()), key=lambda tier: (tier.order, tier.name))
        place = {tier.name: n for n, tier in enumerate(tiers)}

        def position(policy: Policy) -> tuple[float, float, str]:
            return (
                place.get(policy.tier, math.inf),
                math.inf if policy.order is None else policy.order,
                policy.id,
            )

        return t.PolicyList(
            policies=tuple(_info(policy) for policy in sorted(chosen, key=position)),
            tiers=tuple(_tier(tier, used[tier.name]) for tier in tiers),
            network_sets=tuple(
                t.NetworkSetInfo(id=ident(s), name=s.name, namespace=s.namespace, labels=s.labels, cidrs=len(s.cidrs))
                for s in sorted(written.network_sets(), key=ident)
            ),
            namespaces=tuple(
                t.NamespaceInfo(name=n.name, labels=n.labels)
                for n in sorted(written.namespaces(), key=lambda n: n.name)
            ),
        )

    async def _selecting(self, id: str) -> list[Policy]:
        """Raises NotFound."""
        listing = await self._parts.store.list(keys.ENDPOINTS)
        found = await asyncio.to_thread(records.readable, Endpoint, listing.items)
        endpoint = next((e for e in found if e.id == id), None)
        if endpoint is None:
            raise NotFound(f"no endpoint with the id {id}: `weft endpoint ls -o json` shows those there are")
        return list(policies(self._parts.view).world.selecting(identity_of(endpoint)))

    async def policy(self, ref: str) -> t.PolicyDocument:
        self._parts.ready()
        self._parts.as_of.look()
        found = self._written.meant(ref, (*self._written.all(), *TIERS))
        return t.PolicyDocument(id=ident(found), document=document(found))

    async def apply_policies(self, request: t.ApplyPolicies) -> t.PolicyChanges:
        self._parts.ready()
        found, written = await _read(request.documents), UpTo(self._parts.view)

        async def attempt() -> tuple[t.PolicyChange, ...]:
            self.check_tiers(found.objects)
            changes = [(item, self._written.like(item)) for item in found.objects]
            if not request.dry_run:
                wanted = [item for item, old in changes if old is None or not same(old, item)]
                await self._commit(written, sorted(wanted, key=rank), self._put)
            return tuple(_applied(item, old, request.dry_run) for item, old in changes)

        changes = await self._cluster.change(attempt, "policies")
        written.seen(map(store_key, found.objects))
        late = await self._enforcing.late(written) if request.wait and not request.dry_run else ()
        return t.PolicyChanges(changes=changes, notes=(*found.notes, *late))

    async def remove_policies(self, request: t.RemovePolicies) -> t.PolicyChanges:
        self._parts.ready()
        found, written = await _read(request.documents), UpTo(self._parts.view)
        named = [self._written.meant(ref, self._written.all()) for ref in request.refs]
        doomed = {ident(item): item for item in (*named, *found.objects)}

        async def attempt() -> tuple[t.PolicyChange, ...]:
            there = [old for item in doomed.values() if (old := self._written.like(item)) is not None]
            guards = await self._unused([item.name for item in there if isinstance(item, Tier)], doomed)
            if not request.dry_run:
                gone = sorted(there, key=rank, reverse=True)
                await self._commit(written, gone, lambda item: Delete(store_key(item)), guards)
            known = {ident(item): item for item in there}
            return tuple(_removed(id, known.get(id), request.dry_run) for id in doomed)

        changes = await self._cluster.change(attempt, "policies")
        late = await self._enforcing.late(written) if request.wait and not request.dry_run else ()
        return t.PolicyChanges(changes=changes, notes=late)

    # What they consist of.

    async def replace(self, pairs: Sequence[Pair], written: UpTo) -> None:
        """What is there of each, and what is to be there instead: all of them in one transaction, or none, which `written` is
        told. At most `AT_ONCE`.
        Raises Conflict where something else is there by now, Unavailable."""
        items = [either(pair) for pair in pairs]
        ops: list[Op] = [self._put(new) if new else Delete(store_key(either((old, new)))) for old, new in pairs]
        gone = [old for old, new in pairs if old and new is None]

        async def attempt() -> None:
            for (old, _), item in zip(pairs, items, strict=True):
                self._check_as_before(old, item)
            tiers = [item.name for item in gone if isinstance(item, Tier)]
            unused = await self._unused(tiers, [ident(item) for item in gone])
            revision = await self._cluster.commit([*unused, *self._guards(items, ops)], ops)
            written.at(revision, map(store_key, items))

        await self._cluster.change(attempt, "policies")

    def _check_as_before(self, old: Object | None, item: Object) -> None:
        """Raises Conflict."""
        found = self._written.like(item)
        if found is old or (found is not None and old is not None and same(found, old)):
            return
        raise Conflict(f"{ident(item)} was just changed by someone else: look, and try again")

    # ---------------------------------------------------------------------------------------------------------- writing

    async def _commit(
        self, written: UpTo, items: Sequence[Object], op: Callable[[Object], Op], guards: Sequence[Guard] = ()
    ) -> None:
        """In one transaction where they fit; more are written in an order in which nothing stands on what is missing."""
        for start in range(0, len(items), AT_ONCE):
            some = items[start : start + AT_ONCE]
            ops = [op(item) for item in some]
            revision = await self._cluster.commit([*guards, *self._guards(some, ops)], ops)
            written.at(revision, map(store_key, some))

    def _guards(self, items: Iterable[Object], ops: Iterable[Op]) -> list[Guard]:
        """Each is as it was seen, and so are the tiers in which policies are put."""
        written = {op.key for op in ops if isinstance(op, Put | Delete)}
        puts = any(isinstance(op, Put) for op in ops)
        names = {item.tier for item in items if isinstance(item, Policy)} - {tier.name for tier in TIERS}
        tiers = {store_key(Tier(name=name, order=0)) for name in names} if puts else set()
        return [
            *(self._cluster.as_seen(key) for key in sorted(written)),
            *(self._cluster.unchanged(key) for key in sorted(tiers - written)),
        ]

    def _put(self, item: Object) -> Op:
        return Put(store_key(item), encode(item))

    def check_tiers(self, items: Collection[Object], gone: Collection[str] = ()) -> None:
        """`gone`: tiers that will not be there. Raises Invalid where a policy is in a tier that is not there."""
        new = {item.name for item in items if isinstance(item, Tier)}
        there = {tier.name for tier in (*TIERS, *self._written.tiers())} - set(gone) | new
        for item in items:
            if isinstance(item, Policy) and item.tier not in there:
                raise Invalid(
                    f"{ident(item)}: spec.tier: there is no tier {item.tier}: make it first, or choose one of "
                    f"{', '.join(sorted(there))}"
                )

    async def _unused(self, tiers: Sequence[str], doomed: Iterable[str]) -> list[Guard]:
        """What keeps it so. Raises Conflict."""
        if not tiers:
            return []
        listing = await self._parts.store.list(POLICY.root)
        for policy in records.readable(Policy, listing.items):
            if policy.tier in tiers and policy.id not in doomed:
                raise Conflict(f"tier {policy.tier} has policies ({policy.id}): remove these first")
        return [NothingNewer(POLICY.root, listing.revision)]


def either(pair: Pair) -> Object:
    """What the pair is about."""
    found = pair[1] or pair[0]
    assert found is not None, "a pair of nothing and nothing"
    return found


async def _read(sources: Iterable[t.PolicySource]) -> Reading:
    """Raises Invalid where there is any fault."""
    documents = [Document(source.place, source.document) for source in sources]
    found = await asyncio.to_thread(read, documents)
    if found.faults:
        more = len(found.faults) - 1
        raise Invalid(found.faults[0] + (f" (and {more} more faults)" if more else ""))
    return found


def _applied(item: Object, old: Object | None, dry_run: bool) -> t.PolicyChange:
    change = "created" if old is None else "unchanged" if same(old, item) else "changed"
    if not dry_run:
        return t.PolicyChange(id=ident(item), change=change)
    return t.PolicyChange(
        id=ident(item), change=change, before=None if old is None else document(old), after=document(item)
    )


def _removed(id: str, old: Object | None, dry_run: bool) -> t.PolicyChange:
    before = document(old) if dry_run and old is not None else None
    return t.PolicyChange(id=id, change="missing" if old is None else "removed", before=before)


def _info(policy: Policy) -> t.PolicyInfo:
    subject = policy.subject
    return t.PolicyInfo(
        id=policy.id,
        kind=policy.kind,
        name=policy.name,
        namespace=policy.namespace,
        tier=policy.tier,
        order=policy.order,
        selector=subject.selector if subject else "",
        namespaces=subject.namespaces if subject else None,
        networks=subject.networks if subject else (),
        hosts=policy.hosts,
        ingress=None if policy.ingress is None else len(policy.ingress),
        egress=None if policy.egress is None else len(policy.egress),
    )


def _tier(tier: Tier, policies: int) -> t.TierInfo:
    return t.TierInfo(name=tier.name, order=tier.order, default=tier.default, policies=policies)
