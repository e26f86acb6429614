"""The records of one kind, found by whatever their declaration says (`weft.model.record.Record`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, Generic, TypeVar

from weft.model.record import Record

K = TypeVar("K", bound=tuple[str, ...])
V = TypeVar("V")


class Index(Generic[K, V]):
    """`root`: from each name to a record, or to a mapping from names to records; of what there is one of, from ""."""

    def __init__(self, record: Record[K, V], path: tuple[str, ...]) -> None:
        self.root: dict[Any, Any] = {}
        self._names = [_names(record, name) for name in path] or [lambda _at, _value: ("",)]

    def put(self, at: K, old: V | None, new: V | None) -> None:
        """Where several have one name, the one that came last is found. What stays in its place keeps it in the order."""
        if new is not None:
            for place, name in self._places(at, new, make=True):
                place[name] = new
        if old is not None:
            for place, name in self._places(at, old):
                if place.get(name) is old:
                    del place[name]
            self._clear(self.root, 0, at, old)

    def get(self, at: K) -> V | None:
        """By its key alone."""
        found: Any = self.root
        for names in self._names:
            [name] = names(at, None)
            found = found.get(name)
            if found is None:
                return None
        return found  # type: ignore[no-any-return] # as it was put

    def _places(self, at: K, value: V, *, make: bool = False) -> Iterator[tuple[dict[Any, Any], Any]]:
        """The innermost mappings, each with the name of the record in it."""
        places = [self.root]
        for names in self._names[:-1]:
            places = [p.setdefault(n, {}) if make else p.get(n, {}) for p in places for n in names(at, value)]
        return ((place, name) for place in places for name in self._names[-1](at, value))

    def _clear(self, place: dict[Any, Any], depth: int, at: K, value: V) -> None:
        """No empty mappings are left."""
        if depth == len(self._names) - 1:
            return
        for name in self._names[depth](at, value):
            if (inner := place.get(name)) is not None:
                self._clear(inner, depth + 1, at, value)
                if not inner:
                    del place[name]


def _names(record: Record[Any, Any], name: str) -> Callable[[Any, Any], tuple[Any, ...]]:
    """What a record is called in this respect."""
    if name in record.pattern.names:
        position = record.pattern.names.index(name)
        return lambda at, _value: (at[position],)
    attribute = attrgetter(name)

    def found(_at: Any, value: Any) -> tuple[Any, ...]:
        names = attribute(value)
        return names if isinstance(names, tuple) else (names,)

    return found


class Table(Generic[K, V]):
    """`parts`: of a kind that is followed on demand, the first names of the keys that are followed now."""

    def __init__(self, record: Record[K, V]) -> None:
        self.record = record
        self.parts: set[str] = set()
        self._indices = {path: Index(record, path) for path in record.by}
        self._first = self._indices[record.by[0]]

    def get(self, at: K) -> V | None:
        return self._first.get(at)

    def by(self, *path: str) -> dict[Any, Any]:
        """One of the record's paths, as mappings that change with the table: only to be read."""
        return self._indices[path].root

    def put(self, at: K, value: V | None) -> bool:
        """Whether anything is different now."""
        old = self._first.get(at)
        if self.record.sticky and (value is None or old == value):
            return True  # what is true of its key may have changed
        if old == value:
            return False
        for index in self._indices.values():
            index.put(at, old, value)
        return True
