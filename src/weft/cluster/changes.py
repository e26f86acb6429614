"""What changed in the view, and who is told of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from typing import Any, TypeVar

from weft.base.errors import one_line
from weft.model.record import Record

log = logging.getLogger(__name__)

K = TypeVar("K", bound=tuple[str, ...])
V = TypeVar("V")


class Changed:
    """Records that came, went, or say something else, by kind; of what is followed on demand, also the parts of which the
    following began or ended."""

    def __init__(self) -> None:
        self._records: dict[Record[Any, Any], dict[Any, Any]] = {}
        """Each with what it said before; None where it was not there."""
        self._parts: dict[Record[Any, Any], set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._records or self._parts)

    def of(self, record: Record[K, V]) -> Set[K]:
        """What the keys say of those that changed, of one kind."""
        return self._records.get(record, {}).keys()

    def before(self, record: Record[K, V]) -> Mapping[K, V | None]:
        """What they said before; None of those that were not there."""
        return self._records.get(record, {})

    def parts(self, record: Record[Any, Any]) -> Set[str]:
        return self._parts.get(record, set())

    def any(self, kinds: Iterable[Record[Any, Any]]) -> bool:
        return any(kind in self._records or kind in self._parts for kind in kinds)

    def all(self) -> Iterator[tuple[Record[Any, Any], Any]]:
        """Each record that changed: its kind, and what its key says."""
        return ((record, at) for record, found in self._records.items() for at in found)

    def note(self, record: Record[K, V], at: K, before: V | None) -> None:
        self._records.setdefault(record, {}).setdefault(at, before)

    def note_part(self, record: Record[Any, Any], name: str) -> None:
        self._parts.setdefault(record, set()).add(name)

    def update(self, other: Changed) -> None:
        for record, found in other._records.items():
            self._records[record] = {**found, **self._records.get(record, {})}
        for record, names in other._parts.items():
            self._parts.setdefault(record, set()).update(names)

    def only(self, kinds: Collection[Record[Any, Any]] | None) -> Changed:
        """Of these kinds; None: of all."""
        if kinds is None:
            return self
        found = Changed()
        found._records = {kind: self._records[kind] for kind in kinds if kind in self._records}
        found._parts = {kind: self._parts[kind] for kind in kinds if kind in self._parts}
        return found


Listener = Callable[[Changed], None]


class _Subscriber:
    def __init__(self, name: str, listener: Listener, kinds: Collection[Record[Any, Any]] | None) -> None:
        self.name, self.listener, self.kinds = name, listener, kinds
        self.missed = Changed()
        """What it was told and could not deal with."""
        self.trouble = ""


class Subscribers:
    """Told in the order in which they subscribed. One that raises costs the others nothing: what it could not deal with is
    told it again with the next change that concerns it, or by `again`."""

    def __init__(self) -> None:
        self._all: list[_Subscriber] = []

    def add(
        self, name: str, listener: Listener, kinds: Collection[Record[Any, Any]] | None, *, first: bool = False
    ) -> None:
        """`first`: before all others."""
        self._all.insert(0 if first else len(self._all), _Subscriber(name, listener, kinds))

    def tell(self, changed: Changed) -> None:
        for subscriber in self._all:
            if news := changed.only(subscriber.kinds):
                self._tell(subscriber, news)

    def again(self) -> None:
        """What some could not deal with."""
        for subscriber in self._all:
            if subscriber.missed:
                self._tell(subscriber, Changed())

    def problems(self) -> Iterator[str]:
        return (f"{s.name} failed over a change, and hears of it again: {s.trouble}" for s in self._all if s.missed)

    def _tell(self, subscriber: _Subscriber, news: Changed) -> None:
        if subscriber.missed:
            subscriber.missed.update(news)
            news, subscriber.missed = subscriber.missed, Changed()
        try:
            subscriber.listener(news)
        except Exception as error:  # a listener may be anybody's: whatever it is is contained
            reason = one_line(str(error)) or type(error).__name__
            if reason != subscriber.trouble:
                log.error("%s failed over a change: %s", subscriber.name, reason, exc_info=error)
            subscriber.trouble = reason
            subscriber.missed.update(news)
        else:
            subscriber.trouble = ""
