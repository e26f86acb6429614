"""A change of sets, elements, flowtables and their devices as messages of one transaction. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set

import msgspec

from weft.base.errors import NotFound, WeftError
from weft.hoststate import Key, NftElement, NftSet
from weft.kernel.kinds import nft_wire
from weft.kernel.kinds.nft_content import Content, Delta, Named, NftObject, Whole
from weft.kernel.plumbing.netlink import Message


class Packet(msgspec.Struct, frozen=True, gc=False):
    """A message, and the objects it is about."""

    message: Message
    objects: Sequence[NftObject] = ()


def transaction(content: Content, change: Delta, alone: Set[Key]) -> tuple[list[Packet], dict[Key, str]]:
    """What makes this change of `content`, in order: elements go before others come, since intervals must not overlap.
    Elements share messages, but for those in `alone`. And what is wrong with objects that cannot be sent."""
    packets = [Packet(nft_wire.del_table(table)) for table in change.emptied]
    coming: tuple[Whole, ...] = (*change.sets, *change.flowtables)
    packets += (Packet(nft_wire.new_table(table)) for table in dict.fromkeys(obj.table for obj in coming))
    complaints: dict[Key, str] = {}
    sets = {**content.sets, **{(obj.table, obj.name): obj for obj in change.sets}}
    going = {(obj.table, obj.name) for obj in change.dead_sets}

    def packed(elements: Iterable[NftElement], *, new: bool) -> Iterator[Packet]:
        for name, some in _by_set(elements).items():
            try:
                if name not in sets:
                    raise NotFound(f"there is no set {name[1]}")
                encoded = _encode(nft_wire.encoder(sets[name]), some, complaints)
                yield from _packed(sets[name], encoded, alone, new=new)
            except WeftError as error:
                complaints.update((element.key, str(error)) for element in some)

    packets += packed((e for e in change.stale if (e.table, e.set) not in going), new=False)
    for number, obj in enumerate(change.sets, 1):
        try:
            packets.append(Packet(nft_wire.new_set(obj, number), (obj,)))
        except WeftError as error:
            complaints[obj.key] = str(error)
    packets += packed(change.elements, new=True)
    packets += (Packet(nft_wire.flow_device(obj, new=False), (obj,)) for obj in change.dead_devices)
    packets += (Packet(nft_wire.new_flowtable(obj), (obj,)) for obj in change.flowtables)
    packets += (Packet(nft_wire.flow_device(obj, new=True), (obj,)) for obj in change.devices)
    dead = (obj for obj in change.dead_sets if obj.table not in change.emptied)
    packets += (Packet(nft_wire.del_set(obj), (obj,)) for obj in dead)
    leaving = (obj for obj in change.dead_flowtables if obj.table not in change.emptied)
    packets += (Packet(nft_wire.del_flowtable(obj), (obj,)) for obj in leaving)
    return packets, complaints


def _by_set(elements: Iterable[NftElement]) -> dict[Named, list[NftElement]]:
    found: dict[Named, list[NftElement]] = {}
    for element in elements:
        name = element.table, element.set
        if name in found:
            found[name].append(element)
        else:
            found[name] = [element]
    return found


def _encode(
    encode: Callable[[NftElement], bytes], elements: Iterable[NftElement], complaints: dict[Key, str]
) -> Iterator[tuple[NftElement, bytes]]:
    for element in elements:
        try:
            yield element, encode(element)
        except WeftError as error:
            complaints[element.key] = str(error)


def _packed(obj: NftSet, some: Iterable[tuple[NftElement, bytes]], alone: Set[Key], *, new: bool) -> Iterator[Packet]:
    """As few messages as hold these elements."""
    chunk: list[NftElement] = []
    parts: list[bytes] = []
    size = 0
    for element, part in some:
        if alone and element.key in alone:
            yield Packet(nft_wire.elements(obj, [part], new=new), (element,))
            continue
        if size + len(part) > nft_wire.ROOM:
            yield Packet(nft_wire.elements(obj, parts, new=new), chunk)
            chunk, parts, size = [], [], 0
        chunk.append(element)
        parts.append(part)
        size += len(part)
    if chunk:
        yield Packet(nft_wire.elements(obj, parts, new=new), chunk)
