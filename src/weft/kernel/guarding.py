"""Rules are made before the devices that they guard, and taken away after these. Pure.

All of nftables is changed in one transaction, since elements of a set must not overlap even for a moment. But a rule that goes
before its device leaves that device unguarded meanwhile; so what is only removed is put off until the devices are gone, but
for what stands in the way of something new.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from errno import ENODEV

from weft.base.errors import WeftError
from weft.base.net import IPNetwork, covers, parse_network
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
    elements: dict[Key, Elements] = {}
    for obj in new:
        if isinstance(obj, NftElement):
            elements.setdefault(obj.holder, Elements()).add(obj.value)
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


def _in_the_way(op: Remove, made: set[Key], elements: dict[Key, Elements]) -> bool:
    match op.obj:
        case NftSet():
            return op.obj.key in made
        case NftElement():
            holder = op.obj.holder
            return holder in made or (holder in elements and elements[holder].overlap(op.obj.value))
        case NftChain():
            return not op.obj.sets.isdisjoint(made)
    return False


Bits = tuple[int, int, int]
"""Of a prefix: the family, its length, and so many bits."""


class Elements:
    """Elements of one set, in which those are found that overlap another one without a look at all of them: by the first
    part that is an address or a prefix."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._wide = False
        self._by_length: dict[tuple[int, int], dict[int, list[str]]] = {}
        """Family and length → bits → those whose prefix is that."""
        self._below: dict[tuple[int, int], dict[int, list[str]]] = {}
        """The same, those whose prefix begins so: made as lengths are asked for."""

    def add(self, value: str) -> None:
        self._values.add(value)
        if (found := _first_prefix(value)) is not None:
            fam, length, bits = found
            self._by_length.setdefault((fam, length), {}).setdefault(bits, []).append(value)
        self._wide |= "/" in value
        self._below.clear()

    def overlap(self, value: str) -> bool:
        if value in self._values:
            return True
        if not self._wide and "/" not in value:
            return False
        return any(_overlap(value, other) for other in self._near(value))

    def _near(self, value: str) -> Iterator[str]:
        found = _first_prefix(value)
        if found is None:
            return
        fam, length, bits = found
        for (family, shorter), by_bits in self._by_length.items():
            if family == fam and shorter < length:
                yield from by_bits.get(bits >> (length - shorter), ())
        yield from self._beginning(fam, length).get(bits, ())

    def _beginning(self, fam: int, length: int) -> dict[int, list[str]]:
        if (fam, length) not in self._below:
            below = self._below[fam, length] = {}
            for (family, longer), by_bits in self._by_length.items():
                for bits, values in by_bits.items() if family == fam and longer >= length else ():
                    below.setdefault(bits >> (longer - length), []).extend(values)
        return self._below[fam, length]


def _first_prefix(value: str) -> Bits | None:
    for part in value.split(" . "):
        if (found := _prefix(part)) is not None:
            return found.version, found.prefixlen, int(found.network_address) >> (found.max_prefixlen - found.prefixlen)
    return None


def _overlap(one: str, other: str) -> bool:
    pairs = zip(one.split(" . "), other.split(" . "), strict=True)
    return all(a == b or _prefixes_overlap(a, b) for a, b in pairs)


def _prefixes_overlap(one: str, other: str) -> bool:
    a, b = _prefix(one), _prefix(other)
    return a is not None and b is not None and (covers(a, b) or covers(b, a))


def _prefix(text: str) -> IPNetwork | None:
    if "." not in text and ":" not in text:
        return None
    try:
        return parse_network(text)
    except WeftError:
        return None
