"""Keeps a host's kernel at the desired state, and knows what it could not do.

Two ways lead there. `resync` reads what the kernel has and puts it right: at the start, in intervals, after events
were lost, and to try again what failed. `update` and `repair` carry over single changes, of the model or by someone
else in the kernel, against what was `known` last, without reading. What fails in the second way is tried again in the
first. What cannot be read is left as it is, and told; everything else goes on.

Blocking, and to be called from one thread at a time (attributes may be read from any). Kernel events of our own making
must come in one piece: drain the watcher after a call, not during one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Set

import msgspec

from weft.hoststate import HOST, Key, Object
from weft.reconcile.kinds.kind import namespace_key
from weft.reconcile.kinds.table import CARRIERS, KINDS
from weft.reconcile.known import Known
from weft.reconcile.plan import Plan, changes, plan
from weft.reconcile.protocol import (
    Change,
    Create,
    Disturbed,
    Event,
    Failure,
    Gone,
    Kernel,
    Op,
    Reading,
    Remove,
    Seen,
    UplinkChanged,
)
from weft.reconcile.relations import fits, guards_of, in_order, needs
from weft.reconcile.trouble import Trouble, Troubles


class Report(msgspec.Struct, frozen=True):
    """One run. `ops`: what was done, in order; `failures`: what could not be, also in advance; `seconds` it took."""

    ops: tuple[Op, ...] = ()
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0

    def counts(self) -> Counter[tuple[str, str]]:
        """How many, by ("create" | "change" | "remove", kind)."""
        return Counter((type(op).__name__.lower(), key_of(op)[0]) for op in self.ops)


class Drift(msgspec.Struct):
    """What events ask for: `keys` to `repair`, `namespaces` to `resync`; `uplink`: the facts are to be learned anew."""

    keys: set[Key] = msgspec.field(default_factory=set)
    namespaces: set[str] = msgspec.field(default_factory=set)
    uplink: bool = False


class KindCount(msgspec.Struct):
    desired: int = 0
    actual: int = 0
    failed: int = 0


def key_of(op: Op) -> Key:
    return op.new.key if isinstance(op, Change) else op.obj.key


class Reconciler:
    """`desired` is somebody else's to change (`Union.desired`); the keys that changed are then given to `update`.
    `clock`: seconds, monotonic. Nothing is removed until `complete` is set: as long as only a part of the model is
    known, what is not desired may be so in a moment. `always`: the namespaces that are looked at whatever is desired."""

    def __init__(
        self,
        kernel: Kernel,
        desired: Mapping[Key, Object],
        clock: Callable[[], float],
        always: Set[str] = frozenset({HOST}),
        *,
        postpone: bool = False,
    ) -> None:
        """`postpone`: what can be done without (`Kind.optional`) and is only to be made is left for `carry_on`."""
        self.kernel = kernel
        self._postpone = postpone
        self.postponed: set[Key] = set()
        self.desired = desired
        self._always = always
        self.complete = False
        self.known = Known()
        self._foreign: frozenset[Key] = frozenset()
        self.waived: dict[Key, str] = {}
        """What others decided in containers' namespaces (`Reading.waived`): it counts as being there."""
        self.later: set[Key] = set()
        """What was to be done, and has to wait for its turn (`Failure.later`)."""
        self.altered: dict[Key, str] = {}
        """Devices that are lent and have been given this other MAC address."""
        self._clock = clock
        self._troubles = Troubles(clock)
        self._unsure: set[str] = set()
        self._unread = Troubles(clock)
        """By (part, namespace): what could not be read."""

    # ------------------------------------------------------------------------------------------------------ status

    @property
    def failures(self) -> Mapping[Key, Trouble]:
        return self._troubles.by_key

    @property
    def unread(self) -> Mapping[Key, Trouble]:
        """By (part, namespace), in words and as a path."""
        return self._unread.by_key

    def counts(self) -> dict[str, KindCount]:
        """By kind; the kernel's first, in their order."""
        counts = defaultdict(KindCount, {kind: KindCount() for kind in KINDS})
        for key in list(self.desired):
            counts[key[0]].desired += 1
        for key in list(self.known):
            counts[key[0]].actual += 1
        for key in list(self.failures):
            counts[key[0]].failed += 1
        return counts

    def namespaces(self) -> set[str]:
        """All that have to do with us."""
        seen = (*list(self.desired), *list(self.known), *list(self.failures))
        return {*self._always} | {key[1] for key in seen} | self._unsure

    # ------------------------------------------------------------------------------------------------ with a reading

    def dry_run(self, namespaces: Set[str] | None = None) -> Plan:
        """What `resync` would do if nothing were held back."""
        desired = dict(self.desired)
        chosen = self.namespaces() if namespaces is None else namespaces
        reading = self._read(desired, chosen)
        hidden = _hidden(reading, desired)
        found = plan(desired, reading, chosen, held=hidden.keys(), remove=self.complete)
        unknown = tuple(Failure(key, reason) for key, reason in hidden.items() if key in desired)
        return Plan(found.ops, found.failures + unknown)

    def forecast(self) -> Plan:
        """The same by what was found last: for what is slow to be asked, or must not be asked often. Of what could not be read
        nothing is said."""
        unread = {ns for _, ns in list(self.unread)}
        known = Reading(dict(self.known), self._foreign)
        return plan(dict(self.desired), known, self.namespaces() - unread, remove=self.complete)

    def resync(self, namespaces: Set[str] | None = None) -> Report:
        """Read these namespaces (None: all) and put right what is not as desired."""
        start = self._clock()
        desired = dict(self.desired)  # at one stroke: its owner may go on changing it
        chosen = self.namespaces() if namespaces is None else namespaces
        reading = self._read(desired, chosen)
        hidden = _hidden(reading, desired).keys()
        todo = plan(desired, reading, chosen, held=self._troubles.held() | hidden, remove=self.complete)
        if self._note_changed_back(todo, desired):
            todo = plan(desired, reading, chosen, held=self._troubles.held() | hidden, remove=self.complete)
        self._note_unread(reading, chosen)
        self.known.become(reading.objects)
        self._foreign = reading.foreign | {key for key in self._foreign if key[1] not in chosen}
        self._unsure -= chosen
        self._forgive(todo, desired, chosen)
        return self._carry_out(todo, start)

    def due(self, now: float) -> set[str]:
        """The namespaces that hold something to be tried again."""
        return {key[1] for key in self._troubles.due(now) | self._unread.due(now)} | self._unsure

    def next_try(self) -> float | None:
        """When `due` will name the next."""
        if self._unsure:
            return self._clock()
        return min((t for t in (self._troubles.next_try(), self._unread.next_try()) if t is not None), default=None)

    def retry(self) -> Report:
        namespaces = self.due(self._clock())
        return self.resync(namespaces) if namespaces else Report()

    def carry_on(self, most: int) -> Report:
        """Of what was left for later so much, in the order of making."""
        wanted = in_order(obj for key in self.postponed if (obj := self.desired.get(key)) is not None)
        some = {obj.key for obj in wanted[:most]}
        self.postponed = {obj.key for obj in wanted} - some
        start = self._clock()
        todo = changes(some, self.desired, self.known, held=self._troubles.held(), remove=self.complete)
        return self._carry_out(todo, start, postpone=False)

    # --------------------------------------------------------------------------------------------- without a reading

    def update(self, keys: Iterable[Key]) -> Report:
        """Carry over what is desired now for `keys`, whose desired object changed."""
        wanted = list(keys)
        # Nobody wants any more what failed: whether a part of it was made only a reading tells.
        self._unsure.update(key[1] for key in wanted if key in self.failures and key not in self.desired)
        for key in wanted:
            self._troubles.forget(key)
        return self.repair(wanted)

    def repair(self, keys: Iterable[Key]) -> Report:
        """The same for keys that someone else changed in the kernel. Costs what these keys cost, however much else is desired
        and known."""
        start = self._clock()
        todo = changes(keys, self.desired, self.known, held=self._troubles.held(), remove=self.complete)
        return self._carry_out(todo, start)

    def observe(self, events: Iterable[Event]) -> Drift:
        """Take note of what happened in the kernel; of several events about one object the last one counts."""
        drift = Drift()
        latest: dict[Key, Object | None] = {}
        lost: set[Key] = set()
        for event in events:
            match event:
                case Seen(obj):
                    latest[obj.key] = obj
                case Gone(key):
                    latest[key] = None
                    if key[0] in CARRIERS and key in self.known:
                        lost.add(key)
                case Disturbed(ns):
                    drift.namespaces.add(ns)
                case UplinkChanged():
                    drift.uplink = True
        self._troubles.disturbed(drift.namespaces)
        # What went with a device is not always told (IPv4 routes are not), even if the device is back already.
        silent = self.known.fall(lost).difference(latest) if lost else set()
        for key, found in latest.items():
            if self._drifted(key, found):
                drift.keys.add(key)
                if self._was_right(key, self.desired):
                    self._troubles.changed_back(key)
            self._note(key, found)
        for key in silent:
            self._note(key, None)
        drift.keys |= {key for key in silent if key in self.desired}
        return drift

    # -------------------------------------------------------------------------------------------------------- inside

    def _drifted(self, key: Key, found: Object | None) -> bool:
        want = self.desired.get(key)
        return found is not want and (found is None or want is None or not fits(found, want))

    def _note(self, key: Key, found: Object | None) -> None:
        if (want := self.desired.get(key)) is not None:
            self._note_altered(want, found)
        if found is None:
            self.known.pop(key, None)
        elif self._drifted(key, found):
            self.known[key] = found
        else:
            self.known[key] = self.desired[key]
            self._troubles.clear(key)

    def _was_right(self, key: Key, desired: Mapping[Key, Object]) -> bool:
        return self.known.get(key) == desired.get(key)

    def _note_changed_back(self, todo: Plan, desired: Mapping[Key, Object]) -> bool:
        """Whether something has so often been put right in vain that it is left alone now."""
        if not self.known:
            return False  # the first time: nothing was known to be right
        keys = {key for key in map(key_of, todo.ops) if self._was_right(key, desired)}
        left_alone = [key for key in keys if self._troubles.changed_back(key)]
        return bool(left_alone)

    def _note_unread(self, reading: Reading, namespaces: Set[str]) -> None:
        parts = {(u.what, u.ns): u.reason for u in reading.unread}
        for part in [part for part in self._unread.by_key if part[1] in namespaces and part not in parts]:
            self._unread.clear(part)
        for part, reason in parts.items():
            self._unread.add(part, reason, tried=True)

    def _read(self, desired: Mapping[Key, Object], namespaces: Set[str]) -> Reading:
        """What is in these namespaces, and what is known of the others and of what could not be read. Equal objects are kept
        once, as desired's."""
        reading = self.kernel.read(desired, namespaces)
        found = reading.objects
        objects = {key: obj for key, obj in self.known.items() if key[1] not in namespaces}
        for key, want in desired.items():
            have = found.get(key, want if key in reading.waived else None)
            if have is not None:
                objects[key] = want if have == want or fits(have, want) else have
            if key[1] in namespaces:
                self._note_altered(want, have)
        objects.update((key, obj) for key, obj in found.items() if key not in desired)
        if reading.unread:
            unread = {key for key in self.known if any(u.covers(key) for u in reading.unread)}
            objects.update((key, self.known[key]) for key in unread)
        self.waived = {k: why for k, why in self.waived.items() if k[1] not in namespaces} | reading.waived
        for ns in reading.gone:
            objects.pop(namespace_key(ns), None)
        return Reading(objects, reading.foreign, reading.gone, reading.unread)

    def _note_altered(self, want: Object, have: Object | None) -> None:
        if (altered := _ALTERED.get(want.kind)) is None:
            return
        if have is not None and (what := altered(want, have)):
            self.altered[want.key] = what
        else:
            self.altered.pop(want.key, None)

    def _forgive(self, todo: Plan, desired: Mapping[Key, Object], namespaces: Set[str]) -> None:
        """Drop the troubles that the reading shows to be over, and put off those that still wait for another's end."""
        self._troubles.tidy()
        tackled = {failure.key for failure in todo.failures} | set(map(key_of, todo.ops))
        now = self._clock()
        for key, trouble in list(self.failures.items()):
            if key[1] not in namespaces or key in tackled:
                continue
            if self._was_right(key, desired):
                self._troubles.clear(key)
            elif trouble.next_try <= now:
                self._troubles.add(key, trouble.reason, tried=trouble.tried)

    def _carry_out(self, todo: Plan, start: float, *, postpone: bool = True) -> Report:
        if self._postpone and postpone:
            todo = self._without_optional(todo)
        refused = self.kernel.apply(todo.ops) if todo.ops else []
        failed = {failure.key for failure in refused}
        affected = self._fell(todo, failed)
        self._remember(todo, failed)
        done = tuple(op for op in todo.ops if key_of(op) not in failed)
        for key in {key_of(op) for op in done}:
            self._troubles.clear(key)
        for key in affected:
            if key not in self.failures.keys() | self.postponed and not self._was_right(key, self.desired):
                self._troubles.add(key, "what it stands on was removed, or was not", tried=False)
        self.later = {failure.key for failure in refused if failure.later}
        self._unsure.update(key[1] for key in self.later)
        refused = [failure for failure in refused if not failure.later]
        for tried, failures in ((False, todo.failures), (True, refused)):
            for failure in failures:
                self._troubles.add(failure.key, failure.reason, tried=tried)
        self._hurry({key_of(op) for op in done if not isinstance(op, Remove)})
        return Report(done, (*todo.failures, *refused), self._clock() - start)

    def _without_optional(self, todo: Plan) -> Plan:
        """Unless something of it is exchanged or removed: that goes together."""
        optional = [op for op in todo.ops if KINDS[key_of(op)[0]].optional]
        if not optional or not all(isinstance(op, Create) for op in optional):
            return todo
        self.postponed.update(map(key_of, optional))
        return Plan(tuple(op for op in todo.ops if key_of(op) not in self.postponed), todo.failures)

    def _fell(self, todo: Plan, failed: Set[Key]) -> set[Key]:
        """Take out of `known` what went with something that was removed (what then could not be made anew counts as
        removed). The keys, those of ports that lost their bridge, and of what should have gone and did not."""
        anew = {op.obj.key for op in todo.ops if isinstance(op, Create)}
        keys = {op.obj.key for op in todo.ops if isinstance(op, Remove) and op.obj.key[0] in CARRIERS}
        removed = {key for key in keys if key not in failed or key in anew}
        if not keys:
            return set()
        stuck = self.known.fall(keys - removed) - keys
        fallen = self.known.fall(removed)
        for key in fallen:
            self.known.pop(key, None)
        left = self.known.losing(removed)
        self.known.update(left)
        return fallen.union(left, stuck)

    def _remember(self, todo: Plan, failed: Set[Key]) -> None:
        for op in todo.ops:
            match op:
                case Change(new=obj) if obj.key not in failed:
                    self.known[obj.key] = obj
                case Create(obj) if obj.key not in failed:
                    self.known[obj.key] = obj
                    self.altered.pop(obj.key, None)
                case Create(obj):
                    self.known.pop(obj.key, None)
                case Remove(obj) if obj.key not in failed:
                    self.known.pop(obj.key, None)

    def _hurry(self, made: Set[Key]) -> None:
        """What failed for want of something that now is there."""
        if not (made and self.failures):
            return
        waiting = [(key, self.desired.get(key)) for key in self.failures]
        self._troubles.hurry(
            key for key, obj in waiting if obj is not None and not made.isdisjoint((*needs(obj), *guards_of(obj)))
        )


_ALTERED = {name: kind.altered for name, kind in KINDS.items() if kind.altered is not None}


def _hidden(reading: Reading, desired: Mapping[Key, Object]) -> dict[Key, str]:
    """The keys of which nothing is known, because their part of a namespace could not be read; and why."""
    if not reading.unread:
        return {}
    keys = desired.keys() | reading.objects.keys()
    return {key: f"{u.what} cannot be read: {u.reason}" for u in reading.unread for key in keys if u.covers(key)}
