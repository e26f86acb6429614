"""What is in Weft's nftables tables of one namespace, and what operations change of it. Pure.

Finding the change looks up what the operations are about, and nothing else: it does not depend on how much there is. An
exception is a set that is to be of another type while rules name it. Such a table is made anew as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast

import msgspec

from weft.hoststate import Key, NftChain, NftElement, NftFlowDevice, NftFlowtable, NftSet
from weft.hoststate.firewall import Table, same_rules
from weft.kernel.kinds.nft_wire import FAMILIES
from weft.reconcile.protocol import Change, Create, Op, Remove

NftObject = NftSet | NftElement | NftFlowtable | NftFlowDevice | NftChain
Whole = NftSet | NftFlowtable | NftChain
"""What stands in a table by a name of its own."""
TABLES = tuple(map(Table, FAMILIES))
MANY = 1000
"""So many elements, and `nft` would take long over their text."""


Named = tuple[Table, str]
"""A set, flowtable or chain of one namespace. (Its key is longer to make, and an element has one of its own.)"""


class Content(msgspec.Struct):
    """Chains, sets and flowtables by table and name, elements by set and value, devices by flowtable and name."""

    chains: dict[Named, NftChain] = {}
    sets: dict[Named, NftSet] = {}
    elements: dict[Named, dict[str, NftElement]] = {}
    flowtables: dict[Named, NftFlowtable] = {}
    devices: dict[Named, dict[str, NftFlowDevice]] = {}
    adding: dict[Named, NftChain] = {}
    """Those chains that add to flowtables."""

    def put(self, objects: Iterable[NftObject]) -> None:
        for obj in objects:
            if isinstance(obj, NftElement):
                holder = obj.table, obj.set
                if holder in self.elements:
                    self.elements[holder][obj.value] = obj
                else:
                    self.elements[holder] = {obj.value: obj}
            elif isinstance(obj, NftSet):
                self.sets[obj.table, obj.name] = obj
            elif isinstance(obj, NftFlowtable):
                self.flowtables[obj.table, obj.name] = obj
            elif isinstance(obj, NftFlowDevice):
                self.devices.setdefault((obj.table, obj.flowtable), {})[obj.dev] = obj
            else:
                self._put_chain(obj)

    def _put_chain(self, chain: NftChain) -> None:
        name = chain.table, chain.name
        self.chains[name] = chain
        self.adding.pop(name, None)
        if any(rule.flowtables for rule in chain.rules):
            self.adding[name] = chain

    def find(self, obj: NftObject) -> NftObject | None:
        """What is there under the key of `obj`."""
        if isinstance(obj, NftElement):
            some = self.elements.get((obj.table, obj.set))
            return some.get(obj.value) if some else None
        if isinstance(obj, NftFlowDevice):
            return self.devices.get((obj.table, obj.flowtable), {}).get(obj.dev)
        name = obj.table, obj.name
        if isinstance(obj, NftFlowtable):
            return self.flowtables.get(name)
        return self.sets.get(name) if isinstance(obj, NftSet) else self.chains.get(name)

    def objects(self) -> dict[Key, NftObject]:
        found: dict[Key, NftObject] = {obj.key: obj for obj in self.sets.values()}
        for some in self.elements.values():
            found.update((element.key, element) for element in some.values())
        found.update((flowtable.key, flowtable) for flowtable in self.flowtables.values())
        for listed in self.devices.values():
            found.update((device.key, device) for device in listed.values())
        found.update((chain.key, chain) for chain in self.chains.values())
        return found

    def copy(self) -> Content:
        elements = {name: dict(some) for name, some in self.elements.items()}
        devices = {name: dict(some) for name, some in self.devices.items()}
        flowtables, adding = dict(self.flowtables), dict(self.adding)
        return Content(dict(self.chains), dict(self.sets), elements, flowtables, devices, adding)

    def of(self, table: Table) -> Iterator[Whole]:
        yield from (obj for obj in self.sets.values() if obj.table == table)
        yield from (flowtable for flowtable in self.flowtables.values() if flowtable.table == table)
        yield from (chain for chain in self.chains.values() if chain.table == table)


class Delta(msgspec.Struct, kw_only=True):
    """What one transaction changes. `stale`: elements that go, also those that then lead elsewhere; `dead_…`: what goes (not
    the devices of a flowtable that goes); the rest is new, or new in this form. `anew`: tables that have to be made anew.
    `emptied`: those that go with the last that is in them."""

    stale: list[NftElement] = []
    sets: list[NftSet] = []
    elements: list[NftElement] = []
    flowtables: list[NftFlowtable] = []
    devices: list[NftFlowDevice] = []
    chains: list[NftChain] = []
    dead_chains: list[NftChain] = []
    dead_devices: list[NftFlowDevice] = []
    dead_flowtables: list[NftFlowtable] = []
    dead_sets: list[NftSet] = []
    anew: frozenset[Table] = frozenset()
    emptied: tuple[Table, ...] = ()

    def __bool__(self) -> bool:
        come = self.sets, self.elements, self.flowtables, self.devices, self.chains
        return any((*come, self.stale, self.dead_chains, self.dead_devices, self.dead_flowtables, self.dead_sets))

    @property
    def textual(self) -> bool:
        """Whether chains change, which are left to `nft`: it compiles rules."""
        dead = (chain for chain in self.dead_chains if chain.table not in self.emptied)
        return bool(self.anew or self.chains) or next(dead, None) is not None

    def early(self) -> Delta | None:
        """Of a change of chains as well as of many elements, what can come before it in a transaction of its own: sets
        and elements that only come, and which new rules then find complete. What a verdict leads to has to be there first."""
        if self.anew or not self.textual or len(self.elements) < MANY:
            return None
        crossed = {(element.table, element.set) for element in self.stale}
        crossed |= {(e.table, e.set) for e in self.elements if e.chains}
        plain = [e for e in self.elements if (e.table, e.set) not in crossed]
        sets = [obj for obj in self.sets if (obj.table, obj.name) not in crossed]
        return Delta(sets=sets, elements=plain) if plain or sets else None


def alike(one: NftObject | None, other: NftObject | None) -> bool:
    """A rule is what its mark says."""
    if isinstance(one, NftChain) and isinstance(other, NftChain):
        return same_rules(one, other)
    return one == other


def delta(content: Content, ops: Sequence[Op]) -> Delta:
    """What is to be done, where `content` is what there is."""
    found = Delta()
    removed: list[NftElement] = []
    again: dict[Named, NftSet] = {}
    for op in ops:
        obj = cast("NftObject", op.new if isinstance(op, Change) else op.obj)
        have = content.find(obj)
        if isinstance(op, Remove):
            _note_gone(found, have, removed)
        elif have is None:
            _note_new(found, obj, None)
        elif isinstance(obj, NftSet) and (have != obj or have in found.dead_sets):
            again[obj.table, obj.name] = obj
        elif not alike(have, obj):
            _note_new(found, obj, have)
    if again:
        _note_again(found, content, ops, again)
    dead = {(obj.table, obj.name) for obj in found.dead_sets}
    found.stale += [e for e in removed if (e.table, e.set) not in dead]
    found.stale += [e for name in dead for e in content.elements.get(name, {}).values()]
    going = {(obj.table, obj.name) for obj in found.dead_flowtables}
    found.dead_devices = [d for d in found.dead_devices if (d.table, d.flowtable) not in going]
    if found.dead_sets or found.dead_chains or found.dead_flowtables:
        found.emptied = tuple(_emptied(content, found))
    return found


def _note_gone(found: Delta, have: NftObject | None, removed: list[NftElement]) -> None:
    match have:
        case NftElement():
            removed.append(have)
        case NftSet():
            found.dead_sets.append(have)
        case NftFlowtable():
            found.dead_flowtables.append(have)
        case NftFlowDevice():
            found.dead_devices.append(have)
        case NftChain():
            found.dead_chains.append(have)


def _note_new(found: Delta, obj: NftObject, have: NftObject | None) -> None:
    if isinstance(obj, NftElement):
        found.elements.append(obj)
        if isinstance(have, NftElement):
            found.stale.append(have)
    elif isinstance(obj, NftSet):
        found.sets.append(obj)
    elif isinstance(obj, NftFlowtable):
        found.flowtables.append(obj)
    elif isinstance(obj, NftFlowDevice):
        found.devices.append(obj)
    else:
        found.chains.append(obj)


def _note_again(found: Delta, content: Content, ops: Sequence[Op], again: Mapping[Named, NftSet]) -> None:
    """Sets of another type: of what was removed to be made again, only the elements that are named stay."""
    found.anew = frozenset(table for table, _ in again)
    found.sets += again.values()
    emptied = {(obj.table, obj.name) for obj in found.dead_sets} & again.keys()
    found.dead_sets = [obj for obj in found.dead_sets if (obj.table, obj.name) not in again]
    named = {op.obj.key for op in ops if isinstance(op, Create) and isinstance(op.obj, NftElement)}
    for name in emptied:
        found.stale += [e for e in content.elements.get(name, {}).values() if e.key not in named]


def _emptied(content: Content, found: Delta) -> Iterator[Table]:
    going: tuple[Whole, ...] = (*found.dead_sets, *found.dead_flowtables, *found.dead_chains)
    coming: tuple[Whole, ...] = (*found.sets, *found.flowtables, *found.chains)
    gone, come = {obj.key for obj in going}, {obj.table for obj in coming}
    for table in TABLES:
        there = [obj.key for obj in content.of(table)]
        if there and table not in come and gone.issuperset(there):
            yield table


def merge(content: Content, change: Delta) -> None:
    """Bring `content` to what it is after the change."""
    for element in change.stale:
        content.elements.get((element.table, element.set), {}).pop(element.value, None)
    for obj in change.dead_sets:
        content.sets.pop((obj.table, obj.name), None)
        content.elements.pop((obj.table, obj.name), None)
    for device in change.dead_devices:
        content.devices.get((device.table, device.flowtable), {}).pop(device.dev, None)
    for flowtable in change.dead_flowtables:
        content.flowtables.pop((flowtable.table, flowtable.name), None)
        content.devices.pop((flowtable.table, flowtable.name), None)
    for chain in change.dead_chains:
        content.chains.pop((chain.table, chain.name), None)
        content.adding.pop((chain.table, chain.name), None)
    content.put(change.sets)
    content.put(change.elements)
    content.put(change.flowtables)
    content.put(change.devices)
    content.put(change.chains)


def barred(content: Content, change: Delta) -> bool:
    """Whether a chain that adds to a flowtable has come to look up more than before: of open connections, too, some may be
    in there that are not to be."""
    if not content.adding or not change.elements:
        return False
    asked = {(name[0], each) for name, chain in content.adding.items() for rule in chain.rules for each in rule.sets}
    return any((element.table, element.set) in asked for element in change.elements)
