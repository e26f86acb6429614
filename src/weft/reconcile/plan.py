"""Desired against actual, as operations in the order in which they do no harm. Pure.

1. Devices that cannot be turned into what is wanted (another VNI, another peer) are removed, and with them goes all
   that stands on them.
2. What is missing is made and what differs is changed, in the order of `relations.in_order`. What stood on a device
   that is made anew is made anew.
3. What nobody wants any more is removed, in reverse order: add before delete. What goes with its device is not told.

What cannot be done is a failure known in advance: a device of somebody else's under our name, a namespace that is gone,
and whatever would stand on a device that is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Set
from errno import EEXIST, ENODEV, ENOENT

import msgspec

from weft.hoststate import HOST, Key, Object
from weft.reconcile.kinds.kind import namespace_key
from weft.reconcile.kinds.table import CARRIERS, KINDS, describe, kind_of
from weft.reconcile.protocol import Change, Create, Failure, Op, Reading, Remove
from weft.reconcile.relations import (
    carriers_of,
    fall,
    fits,
    guards_of,
    hosts_of,
    in_order,
    in_place,
    left,
    losing,
    needs,
    stands,
    twin_of,
)


class Plan(msgspec.Struct, frozen=True):
    ops: tuple[Op, ...] = ()
    failures: tuple[Failure, ...] = ()


def plan(
    desired: Mapping[Key, Object],
    reading: Reading,
    namespaces: Set[str],
    *,
    held: Set[Key] = frozenset(),
    remove: bool = True,
) -> Plan:
    """What turns `reading` into `desired` in these namespaces. Nothing is done to the keys in `held`; without `remove`
    nothing is removed, neither for good nor to be made anew."""
    actual = reading.objects
    namespaces = namespaces | {HOST} if any(namespace_key(ns) in desired for ns in reading.gone) else namespaces
    differing = [
        key
        for key, want in desired.items()
        if key[1] in namespaces
        and (have := actual.get(key)) is not want
        and have != want
        and (not left(want) if have is None else not fits(have, want))
    ]
    differing += [key for key in actual if key not in desired and key[1] in namespaces]
    return _Arrangement(differing, desired, reading, held, remove).plan() if differing else Plan()


def changes(
    keys: Iterable[Key],
    desired: Mapping[Key, Object],
    known: dict[Key, Object],
    *,
    held: Set[Key] = frozenset(),
    remove: bool = True,
) -> Plan:
    """The same for some keys only, against what is `known` instead of a reading."""
    differing = []
    for key in keys:
        want, have = desired.get(key), known.get(key)
        if want is not have and (want is None or (not left(want) if have is None else not stands(have, want))):
            differing.append(key)
    return _Arrangement(differing, desired, Reading(known), held, remove).plan() if differing else Plan()


class _Arrangement:
    """One diff on its way to a plan. `wanted`: to be made or changed; `surplus`: to be removed for good; `doomed`: to
    be removed first; `fallen`: what then is gone, and counts as absent."""

    def __init__(
        self, differing: Collection[Key], desired: Mapping[Key, Object], reading: Reading, held: Set[Key], remove: bool
    ) -> None:
        self.desired, self.actual = desired, reading.objects
        self.foreign, self.held, self.remove = reading.foreign, held, remove
        self.gone = {ns for ns in reading.gone if namespace_key(ns) not in desired}  # ours are only to be made
        self.failures: list[Failure] = []
        self.wanted = {key: want for key in differing if (want := desired.get(key)) is not None}
        waiting = {key for key in held if key not in desired}  # what goes with these waits with them
        self.surplus = {
            key: self.actual[key]
            for key in differing
            if key not in self.wanted
            and key in self.actual
            and remove
            and key not in held
            and waiting.isdisjoint(hosts_of(self.actual[key]))
        }

    def plan(self) -> Plan:
        self._block()
        self._doom()
        self._renew()
        ops: list[Op] = [Remove(obj) for obj in self._roots({key: self.actual[key] for key in self.doomed})]
        ops += [self._make(want) for want in in_order(self.wanted.values())]
        ops += self._removals()
        return Plan(tuple(ops), tuple(self.failures))

    def _block(self) -> None:
        """Take out of `wanted` what cannot be had now; those who need it come later in the order and so follow."""
        missing = {key for key in self.surplus if key[0] in CARRIERS}
        for want in in_order(self.wanted.values()):
            key = want.key
            failure = None if key in self.held else self._obstacle(want, missing)
            if failure:
                self.failures.append(failure)
            if failure or key in self.held:
                del self.wanted[key]
                if key[0] in CARRIERS and key not in self.actual:
                    missing.add(key)

    def _obstacle(self, want: Object, missing: Set[Key]) -> Failure | None:
        key = want.key
        kind = kind_of(want)
        for ns in kind.namespaces(want):
            if ns in self.gone:
                return Failure(key, f"network namespace {ns} is gone", ENOENT)
        if kind.clash is not None and key in self.foreign and not self._other_end_of_ours(want):
            return Failure(key, kind.clash(want), EEXIST)
        for need in needs(want):
            if need in missing:
                return Failure(key, f"waits for {describe(need)}", ENODEV)
        for guard in guards_of(want):  # rules come first in the order
            if guard in self.desired and guard not in self.actual and guard not in self.wanted:
                return Failure(key, f"waits for {describe(guard)}, which guards it", ENODEV)
        return None

    def _other_end_of_ours(self, want: Object) -> bool:
        """The end that is made along with the other carries no mark until its own turn has come."""
        return twin_of(self.actual.get(twin_of(want) or ())) == want.key

    def _doom(self) -> None:
        self.doomed: set[Key] = set()
        claimed: set[Key] = set()
        for key, want in list(self.wanted.items()):
            have = self.actual.get(key)
            if have is not None and not in_place(have, want):
                if not self.remove:
                    del self.wanted[key]
                    continue
                self.doomed.add(key)
            if have is None or key in self.doomed:
                kind = KINDS[key[0]]
                if (claim := kind.excludes(want)) is not None:
                    claimed.add(claim)
                if self.remove:
                    self.doomed.update(other.key for other in kind.brings(want) if other.key in self.actual)
        if claimed:
            self.doomed.update(key for key, have in self.surplus.items() if kind_of(have).excludes(have) in claimed)

    def _renew(self) -> None:
        self.fallen = fall(self.doomed, self.actual) if self.doomed else set()
        made = {key for key, want in self.wanted.items() if key[0] in CARRIERS and self._made_with_more(key, want)}
        if not (self.doomed or made):
            return
        desired = dict(self.desired)  # at one stroke: its owner may go on changing it
        self.fallen |= fall(self.doomed | made, desired)
        for key in self.fallen:
            if key in desired and key not in self.held and key[1] not in self.gone:
                self.wanted[key] = desired[key]
        for key in losing(self.fallen, desired):
            self.wanted.setdefault(key, desired[key])

    def _made_with_more(self, key: Key, want: Object) -> bool:
        """Whether it is missing, and what was thought to be there is made anew with it: all that is in a namespace, the
        other end of a pair."""
        if key in self.actual:
            return False
        kind = KINDS[key[0]]
        others = (other.key for other in kind.brings(want))
        return kind.opens is not None or any(key in self.desired and key not in self.wanted for key in others)

    def _make(self, want: Object) -> Op:
        have = None if want.key in self.fallen else self.actual.get(want.key)
        if have is None:
            return Create(want)
        have = losing(self.fallen, {want.key: have}).get(want.key, have) if self.fallen else have
        return Change(have, want)

    def _removals(self) -> list[Op]:
        left = {key: obj for key, obj in self.surplus.items() if key not in self.fallen}
        return [Remove(obj) for obj in reversed(self._roots(left))]

    def _roots(self, objects: Mapping[Key, Object]) -> list[Object]:
        """Without those that go with another of them, or whose other end is to stay."""
        going = {key for key, obj in objects.items() if key[0] in CARRIERS and not self._other_end_stays(obj)}
        roots: dict[Key, Object] = {}
        covered: set[Key] = set()
        for obj in in_order(objects[key] for key in going):
            if covered.isdisjoint(hosts_of(obj)):
                roots[obj.key] = obj
            covered.add(obj.key)
        rest = [obj for key, obj in objects.items() if key[0] not in CARRIERS and going.isdisjoint(carriers_of(obj))]
        return in_order([*roots.values(), *rest])

    def _other_end_stays(self, obj: Object) -> bool:
        other = twin_of(obj) or ()
        have, want = self.actual.get(other), self.desired.get(other)
        return (
            have is not None
            and want is not None
            and twin_of(want) == obj.key
            and in_place(have, want)
            and other not in self.fallen
        )
