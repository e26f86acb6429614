"""A kernel in memory that behaves like the real one where it matters to the reconciler, and fails on demand.

What is modelled for every kind, from what `weft.reconcile.kinds` says of it: a device takes along what stands on it and the
other end of a veth; what something needs or names must be there, and what is named cannot be removed; what is made anew must
not exist; a namespace of ours takes along what is in it; some go without notice when their device goes; other people's
objects lie beside ours; namespaces vanish. What is peculiar to a kind, its own module says (`Kind.refuses`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from errno import EBUSY, EEXIST, ENODEV, ENOENT

import msgspec

from weft.hoststate import HOST, Key, Link, Object
from weft.kernel.guarding import wait
from weft.reconcile.kinds.kind import namespace_key, within
from weft.reconcile.kinds.table import CARRIERS, KINDS, is_ours, kind_of
from weft.reconcile.protocol import Change, Create, Disturbed, Event, Failure, Gone, Op, Reading, Remove, Seen, Unread
from weft.reconcile.relations import fall, hosts_of, losing, needs


class Killed(BaseException):
    """The process ends here: no handler of ordinary errors may see it."""


class FakeWatcher:
    def __init__(self, forget: Callable[[FakeWatcher], None]) -> None:
        self._forget = forget
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._events: list[Event] = []

    def fileno(self) -> int:
        return self._fd

    def drain(self) -> list[Event]:
        events, self._events = self._events, []
        if events:
            os.eventfd_read(self._fd)
        return events

    def close(self) -> None:
        self._forget(self)
        os.close(self._fd)

    def put(self, event: Event) -> None:
        self._events.append(event)
        os.eventfd_write(self._fd, 1)

    def lose(self, namespaces: Iterable[str]) -> None:
        """As after ENOBUFS: what was queued is lost, and that is told."""
        self.drain()
        for ns in namespaces:
            self.put(Disturbed(ns, "events were lost"))


class FakeKernel:
    """`unreadable`: parts of namespaces that cannot be read now. `fault`: given the number of an op (from 0, over all calls)
    and the op, the errno it shall fail with, or 0. `kill_at`: the number of the op before which the process is killed.
    `log`: every op that was carried out."""

    def __init__(self, namespaces: Iterable[str] = ()) -> None:
        self.objects: dict[Key, Object] = {}
        self.namespaces: set[str] = {HOST, *namespaces}
        self.log: list[Op] = []
        self.unreadable: list[Unread] = []
        self.fault: Callable[[int, Op], int] | None = None
        self.kill_at: int | None = None
        self._number = 0
        self._watchers: list[FakeWatcher] = []
        self._before: dict[Key, Object | None] = {}

    # ---------------------------------------------------------------------------------------------- as a Kernel

    def read(self, desired: Mapping[Key, Object], namespaces: Set[str]) -> Reading:
        objects: dict[Key, Object] = {}
        foreign: set[Key] = set()
        unread = tuple(u for u in self.unreadable if u.ns in namespaces)
        for key, obj in self.objects.items():
            if key[1] not in namespaces or any(u.covers(key) for u in unread):
                continue
            kind = kind_of(obj)
            if self._ours(obj) or (not kind.marked and key in desired):
                objects[key] = obj
            elif kind.clash is not None:
                foreign.add(key)
        return Reading(objects, frozenset(foreign), frozenset(namespaces - self.namespaces), unread)

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        failures: list[Failure] = []
        for op in ops:
            if self._number == self.kill_at:
                raise Killed(f"before op {self._number}")
            obj = op.new if isinstance(op, Change) else op.obj
            waits = wait([op], {failure.key for failure in failures}) if failures else []
            code = 0 if waits else (self.fault(self._number, op) if self.fault else 0) or self._carry_out(op)
            self._number += 1
            if waits:
                failures += waits
            elif code:
                failures.append(Failure(obj.key, os.strerror(code), code))
            else:
                self.log.append(op)
        return failures

    def watch(self) -> FakeWatcher:
        watcher = FakeWatcher(lambda me: self._watchers.remove(me))
        self._watchers.append(watcher)
        return watcher

    def close(self) -> None:
        for watcher in list(self._watchers):
            watcher.close()

    # ------------------------------------------------------------------------------------- what others do to it

    def plant(self, *objects: Object) -> None:
        """Put these there, as someone else would, ours or not, without a check."""
        for obj in objects:
            self._put(obj)

    def destroy(self, key: Key) -> None:
        """Remove one object by hand, with what goes along."""
        self._drop(key)

    def vanish(self, ns: str) -> None:
        """A network namespace ends, and with it its devices and the other ends of its veths."""
        for key in [key for key in self.objects if key[1] == ns and key[0] in CARRIERS]:
            self._drop(key)
        self.objects = {key: obj for key, obj in self.objects.items() if key[1] != ns}
        self.namespaces.discard(ns)
        if named := self.objects.get(namespace_key(ns)):
            self._vanish(named, told=True)
        self._tell(Disturbed(ns, "the namespace is gone"))

    def set_up(self, key: Key, up: bool) -> None:
        """`ip link set … up|down`, by someone else, on a device of ours or not."""
        link = self.objects[key]
        assert isinstance(link, Link)
        self._put(msgspec.structs.replace(link, up=up))
        self._tell(Disturbed(link.ns, f"{link.name} went {'up' if up else 'down'}"))

    def lose_events(self) -> None:
        for watcher in self._watchers:
            watcher.lose(sorted(self.namespaces))

    def ours(self) -> dict[Key, Object]:
        return {key: obj for key, obj in self.objects.items() if self._ours(obj)}

    def others(self) -> dict[Key, Object]:
        return {key: obj for key, obj in self.objects.items() if not self._ours(obj)}

    # --------------------------------------------------------------------------------------------------- inside

    def _ours(self, obj: Object) -> bool:
        return is_ours(obj) if kind_of(obj).marked else obj.key in self._before

    def _carry_out(self, op: Op) -> int:
        """0 or an errno."""
        if isinstance(op, Remove):
            return self._remove(op.obj)
        obj = op.new if isinstance(op, Change) else op.obj
        if obj.ns not in self.namespaces:
            return ENOENT
        there = self.objects.get(obj.key)
        kind, making = kind_of(obj), isinstance(op, Create)
        if code := self._lacking(obj) or self._taken(obj, making) or kind.refuses(obj, making, self.objects):
            return code
        obj = kind.becomes(obj, op.old if isinstance(op, Change) else None, there)
        if there is None:
            for other in kind.brings(obj):
                self._put(other)
        if not kind.marked:
            self._before.setdefault(obj.key, there)
        self._put(obj)
        return 0

    def _lacking(self, obj: Object) -> int:
        """The errno for what it stands on, needs or names and is not there. (Namespaces need not be ours.)"""
        kind = kind_of(obj)
        if not self.namespaces.issuperset(kind.namespaces(obj)):
            return ENOENT
        missing = [key for key in needs(obj) if key not in self.objects and KINDS[key[0]].opens is None]
        if missing:
            return ENODEV if missing[0][0] == "link" else ENOENT
        return 0 if kind.names is None or kind.names(obj) <= self.objects.keys() else ENOENT

    def _taken(self, obj: Object, making: bool) -> int:
        opens = kind_of(obj).opens
        return EEXIST if making and opens is not None and opens(obj) in self.namespaces else 0

    def _remove(self, obj: Object) -> int:
        key = obj.key
        if key not in self.objects:
            return 0
        if self._in_use(key):
            return EBUSY
        if kind_of(obj).marked:
            self._drop(key)
        elif key in self._before:
            before = self._before.pop(key)
            self._put(before) if before is not None else self._drop(key)
        return 0

    def _in_use(self, key: Key) -> bool:
        """Whether another one names it. Nothing names what names nothing itself, or stands on more than its namespace, and
        carries nothing: most there is."""
        kind = KINDS[key[0]]
        if not kind.carries and (kind.names is None or kind.hosts is not within):
            return False
        return any(key in names(o) for o in self.objects.values() if (names := kind_of(o).names) and o.key != key)

    def _put(self, obj: Object) -> None:
        before = self.objects.get(obj.key)
        self.objects[obj.key] = obj
        kind = kind_of(obj)
        if kind.opens is not None:
            self.namespaces.add(kind.opens(obj))
        if before is not None and (dropped := kind.drops(before, obj)):
            on_it = [o for o in self.objects.values() if o.kind in dropped and obj.key in hosts_of(o)]
            for each in on_it:
                self._vanish(each, told=not kind_of(each).silent(each))
        if obj != before:
            self._announce(obj, Seen(obj))

    def _drop(self, key: Key) -> None:
        gone = fall({key}, self.objects)
        for rest in losing(gone, {k: obj for k, obj in self.objects.items() if k not in gone}).values():
            self._put(rest)
        for each in sorted(gone):
            if obj := self.objects.get(each):
                self._vanish(obj, told=each == key or not kind_of(obj).silent(obj))

    def _vanish(self, obj: Object, *, told: bool) -> None:
        del self.objects[obj.key]
        self._before.pop(obj.key, None)
        if (opens := kind_of(obj).opens) is not None:
            self.namespaces.discard(opens(obj))
        if told:
            self._announce(obj, Gone(obj.key))

    def _announce(self, obj: Object, event: Event) -> None:
        told = kind_of(obj).told
        if told == "each":
            if is_ours(obj):
                self._tell(event)
        elif told == "namespace":
            self._tell(Disturbed(obj.ns, "rules were changed"))

    def _tell(self, event: Event) -> None:
        for watcher in self._watchers:
            watcher.put(event)
