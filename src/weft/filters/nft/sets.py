"""Sets and maps, indexed when they are first asked."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property

from weft.api.dump import NftElementDump, NftSetDump
from weft.base.attributes import attributes, each, name
from weft.filters.nft.compute import deciding
from weft.filters.nft.machine import Element, verdict

INTERVAL, OBJECT, CONCAT = 0x4, 0x40, 0x80
END, CATCHALL = 0x1, 0x2


class Set:
    """`find` answers as the kernel's lookup does, whatever the set's back end there."""

    def __init__(self, dump: NftSetDump) -> None:
        self.dump = dump
        self.key_length = dump.key_length
        self.data_length = dump.data_length
        self.object_type = dump.object_type
        self._catchall = next((each for each in dump.elements if each.flags & CATCHALL), None)

    def find(self, key: bytes) -> Element | None:
        """`key`: octets of the register, as long as the set's keys are."""
        if self.dump.flags & CONCAT and self.dump.flags & INTERVAL:
            found = self._of_fields.find(key)
        elif self.dump.flags & INTERVAL:
            found = self._of_intervals.find(key)
        else:
            found = self._exact.get(key)
        found = found or self._catchall
        return None if found is None else _element(found)

    @cached_property
    def _exact(self) -> dict[bytes, NftElementDump]:
        return {each.key: each for each in self.dump.elements if not each.flags & CATCHALL}

    @cached_property
    def _of_intervals(self) -> _Intervals:
        return _Intervals(self.dump)

    @cached_property
    def _of_fields(self) -> _Fields:
        return _Fields(self.dump)


class _Intervals:
    """An interval of a single field is two elements: its first value, and, marked as an end, the value after its last one. What
    reaches to the last value there is has no end. Compared as octets (nft_set_rbtree.c)."""

    def __init__(self, dump: NftSetDump) -> None:
        elements = [each for each in dump.elements if not each.flags & CATCHALL]
        # Where one ends and the next begins at the same value, the beginning counts.
        self._elements = sorted(elements, key=lambda each: (each.key, not each.flags & END))
        self._keys = [each.key for each in self._elements]

    def find(self, key: bytes) -> NftElementDump | None:
        place = bisect_right(self._keys, key) - 1
        if place < 0 or self._elements[place].flags & END:
            return None
        return self._elements[place]


class _Fields:
    """Each element has a first and a last value in every field. Elements that have single values in the same fields are found
    by these, so that only those are gone through that differ in real intervals (nft_set_pipapo.c is quick otherwise)."""

    def __init__(self, dump: NftSetDump) -> None:
        self._bounds = _bounds(dump)
        self._by_pattern: dict[tuple[bool, ...], dict[tuple[bytes, ...], list[NftElementDump]]] = {}
        for element in dump.elements:
            if element.flags & CATCHALL:
                continue
            first, last = self._fields(element.key), self._fields(element.end or element.key)
            pattern = tuple(a == b for a, b in zip(first, last, strict=True))
            group = self._by_pattern.setdefault(pattern, {})
            group.setdefault(_single(first, pattern), []).append(element)

    def _fields(self, key: bytes) -> list[bytes]:
        return [key[start:end] for start, end in self._bounds]

    def find(self, key: bytes) -> NftElementDump | None:
        fields = self._fields(key)
        for pattern, group in self._by_pattern.items():
            for element in group.get(_single(fields, pattern), ()):
                first, last = self._fields(element.key), self._fields(element.end or element.key)
                if all(a <= is_ <= b for a, is_, b in zip(first, fields, last, strict=True)):
                    return element
        return None


def _bounds(dump: NftSetDump) -> list[tuple[int, int]]:
    """Each field begins at a word of four octets."""
    found, at = [], 0
    for length in dump.fields or (dump.key_length,):
        found.append((at, at + length))
        at += (length + 3) & ~3
    return found


def _single(fields: list[bytes], pattern: tuple[bool, ...]) -> tuple[bytes, ...]:
    return tuple(field for field, single in zip(fields, pattern, strict=True) if single)


def _element(found: NftElementDump) -> Element:
    own = [name(attributes(data), 1) for _, data in each(found.expressions)]
    go = verdict(found.verdict) if found.verdict else None
    return Element(data=found.data, go=go, object=found.object, deciding=deciding(own))
