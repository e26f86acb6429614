"""The desired state of a host: the union of what each source contributes.

A source is whatever in the model asks for objects: a network, a peer's lease, an endpoint. Two sources may ask for the
same object (it stays until the last one lets go); if they ask for *different* objects under one key, the source that
sorts first has it, whatever came first in time, and the other's wish is a conflict, told and not applied. A source may say
that it stands behind others (`Contribution.rank`): then what it does not get is no conflict, it waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from weft.hoststate.objects import Key, Object


class Source(NamedTuple):
    """What asks for objects. `contributor`: which kind of source it is (`weft.compile`). `network`: "" where it is of none
    alone. `name`: which one it is of that network's, or of all."""

    contributor: str
    network: str = ""
    name: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


class Contribution(msgspec.Struct, frozen=True):
    """What one source asks for. `problems`: what cannot be had, each a line with the way out. `rank`: where sources want
    different things in one place, the lowest rank's is made."""

    objects: tuple[Object, ...] = ()
    problems: tuple[str, ...] = ()
    rank: int = 0


class Conflict(msgspec.Struct, frozen=True, order=True):
    """What `source` wants is not made, because `other` wants it otherwise."""

    key: Key
    source: Source
    other: Source


class Union:
    """Changes cost what changed, not the size of the whole."""

    def __init__(self) -> None:
        self._sources: dict[Source, Contribution] = {}
        self._alone: dict[Key, Source] = {}
        """The keys that one source has a wish for, as nearly all: what it wants is what is desired."""
        self._wishes: dict[Key, dict[Source, Object]] = {}
        """The keys that several have wishes for."""
        self._kinds: dict[Key, Counter[Object]] = {}
        """Of these the different objects, and how many want each. So neither the choice nor the search for conflicts looks at
        all who agree: thousands of endpoints share one chain."""
        self._contested: dict[Key, None] = {}
        """The keys with more than one kind of wish, in order."""
        self.desired: dict[Key, Object] = {}

    @property
    def sources(self) -> Mapping[Source, Contribution]:
        return self._sources

    def set(self, source: Source, contribution: Contribution | None) -> set[Key]:
        """Replace a source's contribution (None removes it), whose rank is for life. The keys whose desired object changed."""
        old = self._sources.pop(source, None)
        if contribution is not None:
            self._sources[source] = contribution
        before = {o.key: o for o in old.objects} if old else {}
        after = {o.key: o for o in contribution.objects} if contribution else {}
        touched = [key for key in before if before[key] != after.get(key)]
        touched += [key for key in after if key not in before]
        return {key for key in touched if self._settle(key, self._wish(key, source, before.get(key), after.get(key)))}

    def conflicts(self) -> list[Conflict]:
        """One for each wish that another source's wish stands against."""
        return [
            Conflict(key, source, self._first(key))
            for key in self._contested
            for source, obj in self._wishes[key].items()
            if obj != self.desired[key] and not self._sources[source].rank
        ]

    def _first(self, key: Key) -> Source:
        """Of the sources that have a wish for the key, the one whose wish counts."""
        return min(self._wishes[key], key=lambda source: (self._sources[source].rank, source))

    def _wish(self, key: Key, source: Source, old: Object | None, new: Object | None) -> Object | None:
        """What is desired after this change of one source's wish."""
        if key not in self._wishes:
            if self._alone.get(key, source) == source:
                return self._put(key, source, new)
            wishes = self._wishes[key] = {self._alone.pop(key): self.desired[key]}
            self._kinds[key] = Counter(wishes.values())
        wishes = self._wishes[key]
        if new is None:
            del wishes[source]
        else:
            wishes[source] = new
        self._count(self._kinds[key], old, new)
        if len(self._kinds[key]) > 1:
            self._contested[key] = None
            return wishes[self._first(key)]
        self._contested.pop(key, None)
        other, agreed = next(iter(wishes.items()))
        if len(wishes) == 1:
            del self._wishes[key], self._kinds[key]
            return self._put(key, other, agreed)
        return agreed

    def _put(self, key: Key, source: Source, wish: Object | None) -> Object | None:
        if wish is None:
            del self._alone[key]
        else:
            self._alone[key] = source
        return wish

    @staticmethod
    def _count(kinds: Counter[Object], old: Object | None, new: Object | None) -> None:
        if old is not None:
            kinds[old] -= 1
            if not kinds[old]:
                del kinds[old]
        if new is not None:
            kinds[new] += 1

    def _settle(self, key: Key, chosen: Object | None) -> bool:
        """Whether that is another one."""
        if chosen is None:
            del self.desired[key]
            return True
        if self.desired.get(key) == chosen:
            return False
        self.desired[key] = chosen
        return True


def union(contributions: Iterable[tuple[Source, Contribution]]) -> Union:
    found = Union()
    for source, contribution in contributions:
        found.set(source, contribution)
    return found
