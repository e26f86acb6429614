"""What the store says, kept: one table for each kind of record, all in the same way.

Changes come from the store's watch, from listings, and from writes of our own, which are taken over at once, before or
after the watch tells them. Whatever the order of arrival, a key ends as its highest revision says. Who subscribes is told
the records that really changed.

This node's own endpoints and leases are its own to remove. Where the store has one no more and this node did not remove it,
it is `lost`: what it said still counts here, so that what runs goes on, until `weft.endpoints.evidence` has found out what
happened and either writes it back or obeys. Those that the store was never told of are lost in the same way, and `held`.
What this node removed without the store is `renounced`: what the store still says of it does not count.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol, Self, TypeVar

from weft.base import events
from weft.base.errors import WeftError
from weft.cluster.changes import Changed, Listener, Subscribers
from weft.cluster.kinds import KINDS
from weft.cluster.tables import Table
from weft.model import keys, newer, records
from weft.model.record import Follow, Record
from weft.store.protocol import Change, Item

log = logging.getLogger(__name__)

DELETIONS = 10_000
"""So many of the last deletions are remembered at least: what was said before one may arrive after it."""

K = TypeVar("K", bound=tuple[str, ...])
V = TypeVar("V")


class Derived(Protocol):
    """What is made of what is known here, and kept as it changes."""

    def update(self, changed: Changed) -> None: ...


D = TypeVar("D", bound=Derived)
Place = tuple[Table[Any, Any], Any]
"""Where a store key belongs: its kind's table, and what the key says."""


class Replica:
    def __init__(self, me: str, kinds: Iterable[Record[Any, Any]] = KINDS) -> None:
        """`me`: this node's name."""
        self.me = me
        self._tables: dict[Record[Any, Any], Table[Any, Any]] = {kind: Table(kind) for kind in kinds}
        self._by_head: dict[str, list[Table[Any, Any]]] = {}
        """By what stands before the first slash of their keys."""
        for kind, table in self._tables.items():
            self._by_head.setdefault(kind.pattern.root.partition("/")[0], []).append(table)
        self._subscribers = Subscribers()
        self._derived: dict[Callable[..., Any], Any] = {}
        self.revisions: dict[str, int] = {}
        self._deleted: dict[str, int] = {}
        """Key → revision of its deletion, in order of arrival."""
        self.broken: dict[str, str] = {}
        """Store keys whose value cannot be read, with the reason."""
        self.newer: dict[str, bytes] = {}
        """Store keys whose value says more than this version of Weft knows, with the value."""
        self.lost: dict[str, int] = {}
        """Key → the revision of its deletion; 0 where the store was found without it."""
        self.held: set[str] = set()
        """Keys of those that are lost because the store has not been told of them yet, as far as is known."""
        self._insisted: set[str] = set()
        """Those of them that have changed since the store may have been told of them, for all that is known."""
        self.renounced: set[str] = set()
        """Keys of own records that this node removed, and the store does not know of that yet."""
        self.on_loss: Callable[[], None] = lambda: None
        self.on_orphans: Callable[[list[Any]], None] = lambda _: None
        """Told the records that were `held` and have no network any more."""
        self.kept: set[str] = set()
        """Keys, none of them this node's own, that a store which was put back has no more. They still count."""
        self._removing: Counter[str] = Counter()
        self.unregistered = 0
        """The revision that deleted this node's own record last."""

    @property
    def kinds(self) -> Collection[Record[Any, Any]]:
        return self._tables.keys()

    def table(self, kind: Record[K, V]) -> Table[K, V]:
        return self._tables[kind]

    def subscribe(self, name: str, listener: Listener, kinds: Collection[Record[Any, Any]] | None = None) -> None:
        """From now on `listener` is told what changes, of these kinds or of all. `name`: what it is called where it fails."""
        self._subscribers.add(name, listener, kinds)

    def derived(self, make: Callable[[Self], D]) -> D:
        """What `make` made of all this when it was asked for first. It is told of each change before those who subscribe, so
        that whoever hears of a change finds it as it is now."""
        if make not in self._derived:
            self._derived[make] = derived = make(self)
            self._subscribers.add(make.__name__, derived.update, None, first=True)
        return self._derived[make]  # type: ignore[no-any-return] # as it was put

    def tell_again(self) -> None:
        """Who failed over a change hears of it again."""
        self._subscribers.again()

    def problems(self) -> Iterator[str]:
        """Who could not deal with a change, a line each."""
        return self._subscribers.problems()

    def prefixes(self) -> tuple[str, ...]:
        """What every node follows in the store, none of them under another."""
        found = dict.fromkeys(prefix for kind in self._tables if (prefix := kind.prefix(self.me)))
        return tuple(p for p in found if not any(p != other and p.startswith(other) for other in found))

    def listed(self, prefixes: Iterable[str], items: Iterable[Item], revision: int, *, careful: bool = False) -> None:
        """All there is under `prefixes` at `revision`: what is not among `items` no longer exists. `careful`: the store was put
        back. What is missing is kept, and of what is this node's own the store's older word does not count."""
        items = tuple(items)
        present = {item.key for item in items}
        known = [key for key in self.revisions if key.startswith(tuple(prefixes)) and key not in present]
        if careful:
            items = tuple(item for item in items if not self._is_outdated(item))
            self.kept.update(key for key in known if self._is_others(key))
            known = [key for key in known if key not in self.kept]
        missing = [Change(key, None, revision) for key in known]
        self.apply(missing + [Change(item.key, item.value, item.revision) for item in items])
        self.lost.update((key, 0) for key in (self.lost if careful else known) if key in self.lost)

    def _is_outdated(self, item: Item) -> bool:
        """An own record that says something else than the view: then it is lost, and the revision is the older one's."""
        if self._own(item.key) is None or self._is_as_own(item.key, item.value):
            return False
        self.revisions[item.key] = item.revision
        self.lost[item.key] = 0
        return True

    def _is_others(self, key: str) -> bool:
        """A record that is not this node's, and that its writer does not lose all the time."""
        place = self._place(key)
        if place is None:
            return True
        kind = place[0].record
        return not kind.passing and not kind.mine(place[1], self.me)

    def presume(self, items: Iterable[Item]) -> None:
        """What was known before the agent's restart, for a careful listing to be compared with."""
        known = Changed()
        for item in items:
            try:
                self._put(item.key, item.value, known)
            except WeftError as error:
                log.warning("%s, which was known here, cannot be read: %s", item.key, error)
                continue
            self.revisions[item.key] = -1
        self._tell(known)

    def contradicted(self, items: Iterable[Item], revision: int) -> str:
        """The key of which a listing at `revision` says less than was known by then, as only a store does that was put back;
        "" if there is none."""
        for item in items:
            known = max(self.revisions.get(item.key, -1), self._deleted.get(item.key, -1))
            if item.revision < known <= revision:
                return item.key
        return ""

    def let_go(self) -> None:
        """What was kept is gone for good."""
        gone, self.kept = self.kept, set()
        changed = Changed()
        for key in gone:
            self.revisions.pop(key, None)
            self._put(key, None, changed)
        self._tell(changed)

    def present_now(self, item: Item) -> None:
        """One key as it was just read."""
        self.apply([Change(item.key, item.value, item.revision)])

    def apply(self, changes: Iterable[Change]) -> None:
        """What was committed, in any order; from the watch, or by ourselves."""
        changed, orphans = Changed(), list[Any]()
        for change in changes:
            if self._is_news(change):
                self._take(change, changed)
        if self.lost:
            networks = self._tables[records.NETWORKS].by("network")
            gone = [key for key in self.lost if self._network_of(key) not in networks]
            orphans = [self._own(key) for key in gone if key in self.held]
            self._drop(gone, changed)
        self._tell(changed)
        if orphans:
            self.on_orphans(orphans)
        if self.lost:
            self.on_loss()

    def _tell(self, changed: Changed) -> None:
        if changed:
            self._subscribers.tell(changed)

    # Own records that the store has no more.

    def recall(self, items: Iterable[Item]) -> None:
        """What this node held before its agent's restart: lost, unless the store says otherwise."""
        for item in items:
            if self._is_own(item.key):
                try:
                    self._put(item.key, item.value, Changed())
                    self.lost[item.key] = 0
                    self.held.add(item.key)
                except WeftError as error:
                    log.warning("%s, which this node held, cannot be read: %s", item.key, error)

    def hold(self, items: Iterable[Item]) -> None:
        """Own records that the store is yet to be told of."""
        changed = Changed()
        for item in items:
            self._put(item.key, item.value, changed)
            self.lost[item.key] = 0
            if item.key in self.held:
                self._insisted.add(item.key)
            self.held.add(item.key)
        self._tell(changed)
        self.on_loss()

    def renounce(self, keys: Iterable[str]) -> None:
        """This node has removed these, and the store is yet to be told."""
        changed = Changed()
        for key in keys:
            self.renounced.add(key)
            self._no_more_lost(key)
            self.revisions.pop(key, None)
            self._put(key, None, changed)
        self._tell(changed)
        self.on_loss()

    def forgive(self, key: str) -> None:
        """The store has it no more: what it says from now on counts."""
        self.renounced.discard(key)

    def _no_more_lost(self, key: str) -> None:
        self.lost.pop(key, None)
        self.held.discard(key)
        self._insisted.discard(key)

    @contextmanager
    def removing(self, removed: Iterable[str]) -> Iterator[None]:
        """Within, this node itself takes these keys out of the store."""
        some = list(removed)
        self._removing.update(some)
        try:
            yield
        finally:
            self._removing.subtract(some)
            self._removing += Counter()

    def obey(self, lost: Iterable[str]) -> None:
        """They are gone for good."""
        changed = Changed()
        self._drop([key for key in lost if key in self.lost], changed)
        self._tell(changed)

    def _drop(self, lost: Iterable[str], changed: Changed) -> None:
        for key in lost:
            self._no_more_lost(key)
            self.revisions.pop(key, None)  # whatever the store says of it counts again
            self._put(key, None, changed)

    def _is_own(self, key: str) -> bool:
        place = self._place(key)
        return place is not None and place[0].record.held and place[0].record.mine(place[1], self.me)

    def _own(self, key: str) -> Any:
        """The record of this node's own under a key, as it is known here; None where there is none."""
        place = self._place(key)
        return place[0].get(place[1]) if place is not None and self._is_own(key) else None

    def _network_of(self, key: str) -> str:
        """Of an own record that was lost."""
        place = self._place(key)
        return getattr(place[1], "network", "") if place else ""

    def rewound(self, prefixes: Iterable[str] = ("",)) -> None:
        """The store was put back to an earlier state: what the next listing of these says counts, whatever its revisions."""
        some = tuple(prefixes)
        self.revisions.update((key, -1) for key in self.revisions if key.startswith(some))
        for key in [key for key in self._deleted if key.startswith(some)]:
            del self._deleted[key]

    # What is followed on demand.

    def follows(self, kind: Record[Any, Any], name: str) -> bool:
        """Whether the records of a kind are followed whose keys have this name first."""
        return name in self._tables[kind].parts

    def open(self, kind: Record[Any, Any], name: str) -> None:
        """They are followed from now on."""
        self._tables[kind].parts.add(name)
        changed = Changed()
        changed.note_part(kind, name)
        self._tell(changed)

    def close(self, kind: Record[Any, Any], name: str) -> None:
        """They are not known any more."""
        self._tables[kind].parts.discard(name)
        prefix, changed = kind.pattern.under(name), Changed()
        for key in [key for key in self.revisions if key.startswith(prefix)]:
            del self.revisions[key]
            self.kept.discard(key)
            self.broken.pop(key, None)
            self._put(key, None, changed)
        changed.note_part(kind, name)
        self._tell(changed)

    def _is_news(self, change: Change) -> bool:
        return change.revision > max(self.revisions.get(change.key, -1), self._deleted.get(change.key, -1))

    def _take(self, change: Change, changed: Changed) -> None:
        """Keep one value, and note it where it differs from the one before."""
        key = change.key
        self._deleted.pop(key, None)
        self.kept.discard(key)
        if key in self.renounced:
            if change.value is None:
                self._remember_deleted(change)
            return
        if change.value is None:
            self.revisions.pop(key, None)
            self._remember_deleted(change)
            if key == keys.node(self.me):
                self.unregistered = change.revision
            if not self._removing[key] and self._own(key) is not None:
                self.lost.setdefault(key, change.revision)
                return
        else:
            self.revisions[key] = change.revision
            if key in self._insisted and not self._is_as_own(key, change.value):
                return
        self._no_more_lost(key)
        self.broken.pop(key, None)
        try:
            self._put(key, change.value, changed)
        except WeftError as error:
            self.broken[key] = str(error)
            log.warning("%s in the store cannot be read: %s", key, error, extra=events.RECORD_BROKEN)
            self._put(key, None, changed)

    def _remember_deleted(self, change: Change) -> None:
        if len(self._deleted) >= 2 * DELETIONS:
            self._deleted = dict(islice(self._deleted.items(), DELETIONS, None))
        self._deleted[change.key] = change.revision

    def _place(self, key: str) -> Place | None:
        """None where nothing here is kept under such a key: it is of no kind that is known, or another node's matter."""
        for table in self._by_head.get(key.partition("/")[0], ()):
            kind = table.record
            if (at := kind.pattern.parse(key)) is not None:
                return (table, at) if kind.follow is not Follow.OWN or kind.mine(at, self.me) else None
        return None

    def _put(self, key: str, value: bytes | None, changed: Changed) -> None:
        """Raises Invalid where it cannot be read."""
        place = self._place(key)
        if place is None:
            return
        table, at = place
        before = table.get(at)
        found = None if value is None else table.record.read(at, value)
        self._note_newer(key, value, found)
        if table.put(at, found):
            changed.note(table.record, at, before)

    def _is_as_own(self, key: str, value: bytes) -> bool:
        """Whether a value says of this node's own record what is known of it here."""
        place = self._place(key)
        try:
            return place is not None and place[0].record.read(place[1], value) == self._own(key)
        except WeftError:
            return False

    # What newer versions of Weft say.

    def _note_newer(self, key: str, value: bytes | None, found: Any) -> None:
        """`found`: what this version reads of it."""
        if value is not None and (whole := newer.unknown(value, found)):
            self.newer[key] = whole
        elif self.newer:
            self.newer.pop(key, None)

    def carried(self, key: str, value: bytes) -> bytes:
        """A new value of a key, with what the former one says and this version does not know."""
        if (former := self.newer.get(key)) is None or (place := self._place(key)) is None:
            return value
        return newer.carried(former, place[0].record.read(place[1], former), value)

    def not_understood(self) -> dict[tuple[str, str], int]:
        """Of what users write: (kind of record, field) that this version does not know, and how many records have it."""
        found = Counter[tuple[str, str]]()
        for key, value in self.newer.items():
            place = self._place(key)
            if place is None or place[0].record.held or place[0].record in (records.NODES, records.LOCATIONS):
                continue
            table, at = place
            found.update((table.record.kind, name) for name in newer.fields(value, table.record.read(at, value)))
        return dict(found)

    # What it says.

    def revision(self, key: str) -> int:
        return self.revisions.get(key, 0)
