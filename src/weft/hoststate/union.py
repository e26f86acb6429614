"""The desired state of a host: the union of what each source contributes.

A source is whatever in the model asks for objects: a network, a peer's lease, an endpoint. Two sources may ask for the
same object (it stays until the last one lets go); if they ask for *different* objects under one key, the source that
sorts first has it, whatever came first in time, and the other's wish is a conflict, told and not applied. A source may say
that it stands behind others (`Contribution.rank`): then what it does not get is no conflict, it waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from weft.hoststate.objects import Key, Object, describe

Source = tuple[str, ...]


class Contribution(msgspec.Struct, frozen=True):
    """What one source asks for. `problems`: what cannot be had, each a line with the way out. `rank`: where sources want
    different things in one place, the lowest rank's is made."""

    objects: tuple[Object, ...] = ()
    problems: tuple[str, ...] = ()
    rank: int = 0


class Union:
    """Changes cost what changed, not the size of the whole."""

    def __init__(self) -> None:
        self._sources: dict[Source, Contribution] = {}
        self._wishes: dict[Key, dict[Source, Object]] = {}
        self._shared: dict[Key, None] = {}
        """The keys that several sources have wishes for, in order."""
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
        touched = [key for key in before if key not in after]
        for key in touched:
            del self._wishes[key][source]
        for key, obj in after.items():
            if before.get(key) != obj:
                self._wishes.setdefault(key, {})[source] = obj
                touched.append(key)
        return {key for key in touched if self._settle(key)}

    def conflicts(self) -> list[str]:
        """One line for each wish that another source's wish stands against."""
        return [
            f"{describe(key)}: {' '.join(source)} wants it otherwise than {' '.join(self._first(key))}"
            for key in self._shared
            for source, obj in self._wishes[key].items()
            if obj != self.desired[key] and not self._sources[source].rank
        ]

    def _first(self, key: Key) -> Source:
        """Of the sources that have a wish for the key, the one whose wish counts."""
        return min(self._wishes[key], key=lambda source: (self._sources[source].rank, source))

    def _settle(self, key: Key) -> bool:
        wishes = self._wishes[key]
        if len(wishes) > 1:
            self._shared[key] = None
        else:
            self._shared.pop(key, None)
        if not wishes:
            del self._wishes[key], self.desired[key]
            return True
        chosen = wishes[self._first(key)] if len(wishes) > 1 else next(iter(wishes.values()))
        if self.desired.get(key) == chosen:
            return False
        self.desired[key] = chosen
        return True


def union(contributions: Iterable[tuple[Source, Contribution]]) -> Union:
    whole = Union()
    for source, contribution in contributions:
        whole.set(source, contribution)
    return whole
