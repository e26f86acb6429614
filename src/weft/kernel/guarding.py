"""Rules are made before the devices that they guard, and taken away after these. Pure.

All of nftables is changed in one transaction, since elements of a set must not overlap even for a moment. But a rule that goes
before its device leaves that device unguarded meanwhile; so what is only removed is put off until the devices are gone, but
for what stands in the way of something new.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from errno import ENODEV

from weft.base.errors import WeftError
from weft.base.net import covers, parse_network
from weft.hoststate import Key, Link, NftChain, NftElement, NftSet
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Create, Failure, Op, Remove
from weft.reconcile.relations import guards_of


def put_off(ops: Sequence[Op]) -> list[Op]:
    """Of the operations on nftables those that can wait for the end."""
    if not any(isinstance(op, Remove) for op in ops):
        return []
    new = [op.new if isinstance(op, Change) else op.obj for op in ops if not isinstance(op, Remove)]
    made = {obj.key for obj in new}
    elements: dict[Key, list[NftElement]] = {}
    for obj in new:
        if isinstance(obj, NftElement):
            elements.setdefault(obj.holder, []).append(obj)
    return [op for op in ops if isinstance(op, Remove) and not _in_the_way(op, made, elements)]


def wait(ops: Sequence[Op], failed: Set[Key]) -> list[Failure]:
    """Of `ops` the devices that are not made, because a rule that guards them could not be."""
    found: list[Failure] = []
    for op in ops if failed else ():
        if isinstance(op, Create) and (lacking := [key for key in guards_of(op.obj) if key in failed]):
            found.append(Failure(op.obj.key, f"waits for {describe(lacking[0])}, which guards it", ENODEV))
    return found


def stay(ops: Sequence[Op], run: Sequence[Op], failed: Set[Key]) -> list[Failure]:
    """Of a run of `ops` that is only removals, what has to stay: a device that was to be removed before is still there."""
    if not all(isinstance(op, Remove) for op in run):
        return []
    gone = [op.obj for op in ops if isinstance(op, Remove) and isinstance(op.obj, Link)]
    stuck = {link.ns: link.key for link in gone if link.key in failed}
    rules = [op.obj for op in run if isinstance(op, Remove) and op.obj.ns in stuck]
    return [Failure(obj.key, f"stays as long as {describe(stuck[obj.ns])} cannot be removed") for obj in rules]


def _in_the_way(op: Remove, made: set[Key], elements: dict[Key, list[NftElement]]) -> bool:
    match op.obj:
        case NftSet():
            return op.obj.key in made
        case NftElement():
            holder = op.obj.holder
            return holder in made or any(_overlap(op.obj, other) for other in elements.get(holder, ()))
        case NftChain():
            return not op.obj.sets.isdisjoint(made)
    return False


def _overlap(one: NftElement, other: NftElement) -> bool:
    pairs = zip(one.value.split(" . "), other.value.split(" . "), strict=True)
    return all(a == b or _prefixes_overlap(a, b) for a, b in pairs)


def _prefixes_overlap(one: str, other: str) -> bool:
    try:
        a, b = parse_network(one), parse_network(other)
    except WeftError:
        return False
    return covers(a, b) or covers(b, a)
