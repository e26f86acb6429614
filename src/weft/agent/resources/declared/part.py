"""What each part has to know: what there is of its kinds, what of a change would be refused, and how it is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources.enforcing import UpTo
from weft.base.errors import NotFound
from weft.declared import network as networks
from weft.declared.item import Item
from weft.model import Network


class Change(msgspec.Struct, kw_only=True):
    """From what is there to what is to be there; None: nothing. `waits`: why it cannot be made yet, and is no fault."""

    before: Item | None
    after: Item | None
    waits: str = ""

    @property
    def item(self) -> Item:
        found = self.after or self.before
        assert found is not None, "a change from nothing to nothing"
        return found

    @property
    def what(self) -> str:
        if self.waits:
            return "waits"
        if self.after is None:
            return "removed"
        return "created" if self.before is None else "changed" if self.before != self.after else "unchanged"


class Plan:
    """All changes of one call."""

    def __init__(self, parts: Parts, changes: Iterable[Change]) -> None:
        self._parts, self.changes = parts, list(changes)
        self.by_id = {change.item.id: change for change in self.changes}
        self.written = UpTo(parts.view)
        """Of policy."""
        self.notes: list[str] = []
        """What users should know of it."""
        self._by_kind: dict[str, list[Change]] = {}
        for change in self.changes:
            self._by_kind.setdefault(change.item.kind, []).append(change)

    def of(self, kind: str) -> Sequence[Change]:
        return self._by_kind.get(kind, ())

    def wants(self, id: str) -> bool:
        """Whether one of the documents is about it."""
        change = self.by_id.get(id)
        return change is not None and change.after is not None

    def removes(self, id: str) -> bool:
        change = self.by_id.get(id)
        return change is not None and change.after is None

    def network(self, name: str) -> Network:
        """As it is, or as it will be. Raises NotFound."""
        change = self.by_id.get(f"network/{name}")
        found = self._parts.view.networks.get(name)
        if change is not None and change.after is None:
            raise NotFound(f"network {name} is to be removed: give its document, or leave this one out")
        if found is None and change is not None and change.after is not None:
            return networks.to_network(change.after)
        if found is None:
            raise NotFound(f"there is no network {name}: give its document as well, or `weft network create` it")
        return found

    def networks(self, but: str) -> list[Network]:
        """All that will be there beside one."""
        there = [n for n in self._parts.view.networks.values() if not self.removes(f"network/{n.name}")]
        coming = [networks.to_network(c.after) for c in self.of(networks.NAME) if c.after and c.before is None]
        return [network for network in (*there, *coming) if network.name != but]


class Part(Protocol):
    """`kinds`: of documents. `at_once`: how many changes are made in one transaction."""

    kinds: frozenset[str]
    at_once: int

    async def there(self) -> list[Item]:
        """All there is of its kinds. Raises Unavailable."""

    def undeclared(self) -> Iterable[Item]:
        """What is there and is no document of anybody's, but can be shown as one."""

    async def find(self, item: Item) -> Item | None:
        """What there is of it. Raises Unavailable."""

    def settled(self, wanted: Item, found: Item | None) -> Item:
        """With what it leaves to Weft as that is now."""

    async def check(self, change: Change, plan: Plan) -> None:
        """Raises a WeftError for what would be refused."""

    async def make(self, changes: Sequence[Change], plan: Plan) -> None:
        """At most `at_once`, all of them or none. Raises a WeftError; Conflict where something else than `before` is there."""
