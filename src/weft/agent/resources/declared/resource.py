"""The API's operations about what is declared, as documents (`weft.api.operations`).

Documents are read, compared with what there is, and checked, all of them, before anything is changed. Then the changes are
made, one after the other; where one fails, what was made stays, the rest is not tried, and both are told: the same documents
once more finish it. Each change is guarded by what was there when it was compared: of two who change the same thing at once,
one is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources.bgp import Bgp
from weft.agent.resources.declared.bgp import PeersPart, SettingsPart
from weft.agent.resources.declared.floating import FloatingPart
from weft.agent.resources.declared.networks import NetworksPart
from weft.agent.resources.declared.part import Change, Part, Plan
from weft.agent.resources.declared.policies import PoliciesPart
from weft.agent.resources.declared.pools import PoolsPart
from weft.agent.resources.declared.services import ServicesPart
from weft.agent.resources.enforcing import Enforcing
from weft.agent.resources.network_changes import NetworkChanges
from weft.agent.resources.networks import Networks
from weft.agent.resources.policies import Policies
from weft.agent.resources.pools import Pools
from weft.api import declared as d
from weft.base.errors import Conflict, Invalid, NotFound, Unavailable, WeftError
from weft.base.nearby import meant_of, unknown
from weft.declared import bgp as bgp_form
from weft.declared import network as networks_form
from weft.declared import policies as policies_form
from weft.declared import table
from weft.declared.item import Item
from weft.declared.read import read
from weft.documents.document import Document
from weft.policy.objects import store_key

IDLE = ("unchanged", "waits")
AT_ONCE = 20
"""Documents that are looked at before other tasks have their turn."""

DECLARED = ("networks/", "services/", "policies/", "tiers/", "namespaces/", "network-sets/", "bgp/")
"""What keys in the store begin with."""

T = TypeVar("T")


class Declared:
    def __init__(
        self,
        parts: Parts,
        networks: Networks,
        changes: NetworkChanges,
        pools: Pools,
        bgp: Bgp,
        policies: Policies,
        enforcing: Enforcing,
    ) -> None:
        self._agent, self._enforcing = parts, enforcing
        self._pools = PoolsPart(parts, pools)
        self._parts: tuple[Part, ...] = (
            SettingsPart(parts, bgp),
            PeersPart(parts, bgp),
            NetworksPart(parts, networks, changes, pools),
            self._pools,
            PoliciesPart(parts, policies),
            ServicesPart(parts, networks),
            FloatingPart(parts),
        )
        self._of = {kind: part for part in self._parts for kind in part.kinds}

    # The API's operations.

    async def declared(self, refs: str = "", network: str = "", labels: str = "") -> d.Declared:
        """`refs`: KIND, KIND/NAME, KIND/NETWORK/NAME. Raises Invalid; NotFound where one means nothing, or there is no such
        network."""
        self._agent.ready()
        if network and network not in self._agent.view.networks:
            raise NotFound(unknown("network", network, self._agent.view.networks, "weft network ls"))
        there = [item for part in self._parts for item in await part.there()]
        chosen = [item for item in there if _is_of(item, network) and _has(item, _pairs(labels))]
        wanted = [ref for ref in refs.split(",") if ref]
        found = [item for item in chosen if not wanted or any(_meant(ref, item) for ref in wanted)]
        for ref in wanted:
            if not any(_meant(ref, item) for item in chosen):
                found += self._unusual(ref)
        return d.Declared(
            documents=tuple(_written(item) for item in sorted(found, key=table.order)),
            notes=(*_secrets(found), *(self._unreadable() if not wanted else ())),
        )

    async def apply(self, request: d.Apply) -> d.Applied:
        self._agent.ready()
        found = await asyncio.to_thread(read, [Document(s.place, s.document) for s in request.documents])
        if found.faults:
            return d.Applied(faults=found.faults, notes=found.notes)
        plan = await self._compared(found.items, request.prune)
        faults = [fault async for fault in self._faults(plan)]
        if faults:
            return d.Applied(faults=tuple(faults), notes=found.notes)
        if request.dry_run:
            changes = [_told(change, change.what, change.waits, whole=True) for change in plan.changes]
            return d.Applied(changes=tuple(changes), notes=(*found.notes, *plan.notes))
        changes = await self._made(plan)
        about = [change for change in plan.changes if change.item.kind in policies_form.NAMES]
        plan.written.seen(store_key(change.after.spec) for change in about if change.after)
        late = await self._enforcing.late(plan.written) if about and request.wait else ()
        return d.Applied(changes=tuple(changes), notes=(*found.notes, *plan.notes, *late))

    # What they consist of.

    def _unreadable(self) -> Iterator[str]:
        for key, reason in sorted(self._agent.view.broken.items()):
            if key.startswith(DECLARED):
                yield f"{key} is left out: its record in the store cannot be read: {reason}"

    def _unusual(self, ref: str) -> list[Item]:
        """What is meant by a name that nothing declared has. Raises NotFound, Invalid."""
        kind, _, name = ref.lower().partition("/")
        known = [known.lower() for known in table.BY_NAME]
        if kind not in known:
            raise Invalid(f"'{kind}' is no kind of document: {meant_of(kind, known)}")
        found = [item for part in self._parts for item in part.undeclared() if _meant(ref, item)]
        if name and not found:
            raise NotFound(f"there is no {ref}: `weft export {kind}` shows those there are")
        return found

    async def _compared(self, items: Sequence[Item], prune: dict[str, str]) -> Plan:
        changes = []
        async for item in _politely(sorted(items, key=table.order)):
            part = self._of[item.kind]
            found = await part.find(item)
            changes.append(Change(before=found, after=_placed(part.settled(item, found), found)))
        plan = Plan(self._agent, changes)
        if not prune:
            return plan
        gone = [Change(before=item, after=None) async for item in self._beside(plan, prune)]
        wanted = [item for item in items if item.kind == networks_form.NAME and _has(item, prune)]
        gone += [change for item in wanted for change in self._pools.surplus(item, plan)]
        return Plan(self._agent, [*changes, *sorted(gone, key=lambda c: table.order(c.item), reverse=True)])

    async def _beside(self, plan: Plan, labels: dict[str, str]) -> AsyncIterator[Item]:
        """What has these labels and is in no document."""
        for part in self._parts:
            for item in await part.there():
                if table.of(item).labelled and _has(item, labels) and item.id not in plan.by_id:
                    yield item

    async def _faults(self, plan: Plan) -> AsyncIterator[str]:
        async for change in _politely(plan.changes):
            if change.what == "unchanged":
                continue
            try:
                await self._of[change.item.kind].check(change, plan)
            except Unavailable:
                raise
            except WeftError as error:
                place = change.after.place if change.after else "--prune"
                yield f"{place}: {error}"

    async def _made(self, plan: Plan) -> list[d.DeclaredChange]:
        told = {change.item.id: _told(change, change.what, change.waits) for change in plan.changes}
        steps = list(_steps([change for change in _in_order(plan.changes) if change.what not in IDLE], self._of))
        for number, step in enumerate(steps):
            try:
                await self._step(step, plan)
            except WeftError as error:
                told |= {c.item.id: _told(c, "failed", str(error)) for c in step}
                rest = [change for later in steps[number + 1 :] for change in later]
                told |= {c.item.id: _told(c, "not-tried", f"{step[0].item.id} failed before") for c in rest}
                break
        return list(told.values())

    async def _step(self, step: Sequence[Change], plan: Plan) -> None:
        """Raises what its part raises."""
        part = self._of[step[0].item.kind]
        for change in step:
            found = await part.find(change.item)
            if change.before is not None and (found is None or not found.same(change.before)):
                raise Conflict(f"{change.item.id} was just changed by someone else: look, and apply again")
            if change.before is None and found is not None and part is not self._pools:  # a network comes with pools
                raise Conflict(f"{change.item.id} was just made by someone else: look, and apply again")
        await part.make(step, plan)


async def _politely(some: Iterable[T]) -> AsyncIterator[T]:
    """One after the other, and the agent's other tasks in between."""
    for number, one in enumerate(some):
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
        yield one


def _in_order(changes: Sequence[Change]) -> list[Change]:
    """What goes makes room first, and the other way round than it was made; but policy goes last, and comes first."""
    gone = sorted((c for c in changes if c.after is None), key=lambda c: table.order(c.item), reverse=True)
    made = sorted((c for c in changes if c.after is not None), key=lambda c: table.order(c.item))
    policy = [change for change in gone if change.item.kind in policies_form.NAMES]
    others = [change for change in gone if change.item.kind not in policies_form.NAMES]
    return [*others, *made, *policy]


def _steps(changes: Sequence[Change], parts: Mapping[str, Part]) -> Iterator[list[Change]]:
    """As many as a part makes at once, of those that follow each other."""
    step: list[Change] = []
    for change in changes:
        part = parts[change.item.kind]
        if step and (parts[step[0].item.kind] is not part or len(step) == part.at_once):
            yield step
            step = []
        step.append(change)
    if step:
        yield step


def _placed(item: Item, found: Item | None) -> Item:
    """The very item that was found, where it is the same."""
    return found if found is not None and item.same(found) else item


def _told(change: Change, what: str, reason: str = "", *, whole: bool = False) -> d.DeclaredChange:
    """`whole`: with the documents, where they differ."""
    shown = whole and what not in IDLE
    before, after = (_written(side) if shown and side else None for side in (change.before, change.after))
    return d.DeclaredChange(id=change.item.id, change=what, reason=reason, before=before, after=after)


def _written(item: Item) -> dict[str, Any]:
    """As JSON already: else the names of its fields would be sorted on the way, and people write `name` before `labels`."""
    return cast(dict[str, Any], msgspec.Raw(msgspec.json.encode(table.document(item))))


def _has(item: Item, labels: dict[str, str]) -> bool:
    return labels.items() <= item.labels.items()


def _is_of(item: Item, network: str) -> bool:
    if not network:
        return True
    return network == (item.name if item.kind == networks_form.NAME else item.scope)


def _meant(ref: str, item: Item) -> bool:
    """KIND, KIND/NAME, KIND/NETWORK/NAME; a pool's name has a "/" itself."""
    kind, _, name = ref.partition("/")
    return kind.lower() == item.kind.lower() and name in ("", item.name, f"{item.scope}/{item.name}")


def _pairs(labels: str) -> dict[str, str]:
    """Raises Invalid."""
    found = {}
    for text in filter(None, labels.split(",")):
        key, equals, value = text.partition("=")
        if not equals:
            raise Invalid(f"'{text}' is not KEY=VALUE")
        found[key] = value
    return found


def _secrets(items: Iterable[Item]) -> Iterator[str]:
    for item in items:
        if item.kind == bgp_form.PEER and item.spec.keep_password:
            yield f"bgp peer {item.name}: its password is not shown: elsewhere, give spec.passwordFile, not keepPassword"
