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

from weft.hoststate import HOST, Key, Link, Netns, NftSet, Object, Sysctl, TargetObject, Veth, Vxlan, describe
from weft.reconcile.protocol import Change, Create, Failure, Op, Reading, Remove
from weft.reconcile.relations import (
    HOSTS,
    carriers_of,
    fall,
    fits,
    guards_of,
    hosts_of,
    in_order,
    needs,
    outside,
    peer_of,
    same_type,
    stands,
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
    namespaces = namespaces | {HOST} if any(("netns", HOST, ns) in desired for ns in reading.gone) else namespaces
    differing = [
        key
        for key, want in desired.items()
        if key[1] in namespaces
        and (have := actual.get(key)) is not want
        and have != want
        and (have is None or not fits(have, want))
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
        if want is not have and (want is None or have is None or not stands(have, want)):
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
        self.gone = {ns for ns in reading.gone if ("netns", HOST, ns) not in desired}  # ours are only to be made
        self.failures: list[Failure] = []
        self.wanted = {key: desired[key] for key in differing if key in desired}
        waiting = {key for key in held if key not in desired}  # what goes with these waits with them
        self.surplus = {
            key: self.actual[key]
            for key in differing
            if key not in desired and remove and key not in held and waiting.isdisjoint(hosts_of(self.actual[key]))
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
        missing = {key for key in self.surplus if key[0] in HOSTS}
        for want in in_order(self.wanted.values()):
            key = want.key
            failure = None if key in self.held else self._obstacle(want, missing)
            if failure:
                self.failures.append(failure)
            if failure or key in self.held:
                del self.wanted[key]
                if key[0] in HOSTS and key not in self.actual:
                    missing.add(key)

    def _obstacle(self, want: Object, missing: Set[Key]) -> Failure | None:
        key = want.key
        if want.ns in self.gone:
            return Failure(key, f"network namespace {want.ns} is gone", ENOENT)
        if isinstance(want, TargetObject) and key in self.foreign:
            return Failure(key, f"{describe(key)} exists and is not Weft's: remove it", EEXIST)
        if isinstance(want, Netns) and key in self.foreign:
            return Failure(
                key, f"a network namespace {want.path} exists and is not Weft's: rename or remove it", EEXIST
            )
        if isinstance(want, Link):
            if key in self.foreign and not self._other_end_of_ours(want):
                reason = f"device {want.name} exists and is not Weft's: rename or remove it"
                return Failure(key, reason, EEXIST)
            if isinstance(want.type, Veth) and want.type.peer_ns in self.gone:
                return Failure(key, f"network namespace {want.type.peer_ns} is gone", ENOENT)
        for need in needs(want):
            if need in missing:
                return Failure(key, f"waits for {describe(need)}", ENODEV)
        for guard in guards_of(want):  # rules come first in the order
            if guard in self.desired and guard not in self.actual and guard not in self.wanted:
                return Failure(key, f"waits for {describe(guard)}, which guards it", ENODEV)
        return None

    def _other_end_of_ours(self, want: Link) -> bool:
        """The end that is made along with the other carries no mark until its own turn has come."""
        return peer_of(self.actual.get(peer_of(want) or ())) == want.key

    def _doom(self) -> None:
        self.doomed: set[Key] = set()
        vnis: set[tuple[str, int]] = set()
        for key, want in list(self.wanted.items()):
            have = self.actual.get(key)
            if have is not None and not _changeable(have, want):
                if not self.remove:
                    del self.wanted[key]
                    continue
                self.doomed.add(key)
            if isinstance(want, Link) and (have is None or key in self.doomed):
                if isinstance(want.type, Vxlan):
                    vnis.add((outside(want), want.type.vni))
                peer = peer_of(want)
                if isinstance(want.type, Veth) and want.type.primary and peer and peer in self.actual and self.remove:
                    self.doomed.add(peer)
        # Two VXLAN devices cannot share a VNI even for a moment (EEXIST).
        self.doomed.update(
            key
            for key, have in self.surplus.items()
            if isinstance(have, Link) and isinstance(have.type, Vxlan) and (outside(have), have.type.vni) in vnis
        )

    def _renew(self) -> None:
        self.fallen = fall(self.doomed, self.actual) if self.doomed else set()
        made = {
            key
            for key, want in self.wanted.items()
            if isinstance(want, Link)
            and isinstance(want.type, Veth)
            and want.type.primary
            and key not in self.actual
            and (peer := peer_of(want)) in self.desired
            and peer not in self.wanted
        } | {key for key in self.wanted if key[0] == "netns" and key not in self.actual}
        if not (self.doomed or made):
            return
        self.fallen |= fall(self.doomed | made, self.desired)
        for key in self.fallen:
            if key in self.desired and key not in self.held and key[1] not in self.gone:
                self.wanted[key] = self.desired[key]
        for key, want in self.desired.items():
            if isinstance(want, Link) and want.master and ("link", want.ns, want.master) in self.fallen:
                self.wanted.setdefault(key, want)

    def _make(self, want: Object) -> Op:
        have = None if want.key in self.fallen else self.actual.get(want.key)
        if have is None:
            return Create(want)
        if isinstance(have, Link) and have.master and ("link", have.ns, have.master) in self.fallen:
            have = msgspec.structs.replace(have, master="")
        return Change(have, want)

    def _removals(self) -> list[Op]:
        left = {key: obj for key, obj in self.surplus.items() if key not in self.fallen}
        return [Remove(obj) for obj in reversed(self._roots(left))]

    def _roots(self, objects: Mapping[Key, Object]) -> list[Object]:
        """Without those that go with another of them, or whose other end is to stay. Old sysctl values are put back all
        the same: they are remembered outside the kernel."""
        going = {key for key, obj in objects.items() if key[0] in HOSTS and not self._other_end_stays(obj)}
        roots: dict[Key, Object] = {}
        covered: set[Key] = set()
        for obj in in_order(objects[key] for key in going):
            if covered.isdisjoint(hosts_of(obj)):
                roots[obj.key] = obj
            covered.add(obj.key)
        rest = [
            obj
            for key, obj in objects.items()
            if key[0] not in HOSTS and ((isinstance(obj, Sysctl) and obj.lasting) or going.isdisjoint(carriers_of(obj)))
        ]
        return in_order([*roots.values(), *rest])

    def _other_end_stays(self, obj: Object) -> bool:
        other = peer_of(obj) or ()
        have, want = self.actual.get(other), self.desired.get(other)
        return (
            isinstance(have, Link)
            and isinstance(want, Link)
            and isinstance(want.type, Veth)
            and peer_of(want) == obj.key
            and same_type(have, want)
            and other not in self.fallen
        )


def _changeable(have: Object, want: Object) -> bool:
    if isinstance(have, Link) and isinstance(want, Link):
        return same_type(have, want)
    return not isinstance(have, NftSet)
