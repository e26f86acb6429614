"""Tables of rows, each with the number of the change that made it what it is. Whoever knows up to which number he was told is
told what came after it, once, however often it changed in between: nothing is kept for a reader that is slow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

REMEMBERED = 4096
"""Rows that went and are still told of. Who has heard of earlier ones only is told everything."""

At = tuple[str, str]
"""A row's place: its table and its key."""


class Rows:
    def __init__(self) -> None:
        self.number = 0
        self._rows: dict[At, tuple[int, Any]] = {}
        """Each with its number, in the order of these."""
        self._gone: dict[At, int] = {}
        """Likewise."""
        self._oldest = 0
        """Of what went until here, not all is remembered."""

    def get(self, table: str, key: str) -> Any:
        """None where there is none."""
        found = self._rows.get((table, key))
        return found[1] if found else None

    def put(self, table: str, key: str, value: Any) -> None:
        """None: there is no such row any more."""
        at = (table, key)
        before = self._rows.get(at)
        if value is None:
            if before is not None:
                del self._rows[at]
                self.number += 1
                self._forget(at)
        elif before is None or before[1] != value:
            self.number += 1
            self._rows.pop(at, None)
            self._gone.pop(at, None)
            self._rows[at] = self.number, value

    def replace(self, table: str, rows: Mapping[str, Any]) -> None:
        """All rows of a table."""
        for key in [key for of, key in self._rows if of == table and key not in rows]:
            self.put(table, key, None)
        for key, value in rows.items():
            self.put(table, key, value)

    def _forget(self, at: At) -> None:
        self._gone.pop(at, None)
        self._gone[at] = self.number
        if len(self._gone) > REMEMBERED:
            first = next(iter(self._gone))
            self._oldest = self._gone.pop(first)

    def all(self) -> dict[str, dict[str, Any]]:
        return _tables((at, value) for at, (_, value) in self._rows.items())

    def since(self, number: int) -> dict[str, dict[str, Any]] | None:
        """By table and key, None for a row that went. None where that cannot be told any more."""
        if not self._oldest <= number <= self.number:
            return None
        return _tables((*self._changed(number), *self._went(number)))

    def _changed(self, number: int) -> Iterator[tuple[At, Any]]:
        for at, (changed, value) in reversed(self._rows.items()):
            if changed <= number:
                return
            yield at, value

    def _went(self, number: int) -> Iterator[tuple[At, None]]:
        for at, went in reversed(self._gone.items()):
            if went <= number:
                return
            yield at, None


def _tables(found: Iterable[tuple[At, Any]]) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for (table, key), value in found:
        tables.setdefault(table, {})[key] = value
    return tables
