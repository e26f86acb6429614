"""What a table shows of a kind of things, declared once: all that `ls` knows of them.

    NETWORKS = Table(
        Column("NETWORK", lambda n: n.name),
        Column("MTU", lambda n: n.mtu or "auto", spare=1),
        Column("LABELS", lambda n: mapped(n.labels), shown=False),
        name=lambda n: n.name,
    )

A column is chosen (`--columns`) by its head in lower case, with - for a space.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from weft.base.errors import Invalid
from weft.base.nearby import did_you_mean
from weft.cli.table import Page, Styled
from weft.model import selector

T = TypeVar("T")


class Column(msgspec.Struct, Generic[T], frozen=True):
    """`cell`: what it says of one thing, styled or not; "" is shown as -. `shown`: without being asked for, always or with such
    things. `whole`: its words, such as addresses, are broken last. `spare`: left out where the terminal is too narrow, 1 first;
    0: never."""

    head: str
    cell: Callable[[T], object]
    shown: bool | Callable[[Sequence[T]], bool] = True
    whole: bool = False
    spare: int = 0

    @property
    def key(self) -> str:
        return self.head.lower().replace(" ", "-")

    def of(self, thing: T) -> Styled:
        cell = self.cell(thing)
        styled = cell if isinstance(cell, Styled) else Styled(str(cell), "")
        return styled if styled.text else Styled("-", "")


class Table(Generic[T]):
    """`name`: by what other commands take such a thing (`-q`). `labels`: where things have some (`-l`). `none`: said instead of
    heads where there is nothing. `tells`: in which tables of the API's topology a change of such things shows (`-w`); where
    there are none, only asking again tells."""

    def __init__(
        self,
        *columns: Column[T],
        name: Callable[[T], object],
        labels: Callable[[T], Mapping[str, str]] | None = None,
        none: str = "",
        tells: Sequence[str] = (),
    ) -> None:
        self.columns, self.name, self.labels, self.none, self.tells = columns, name, labels, none, tells

    def lines(self, page: Page, things: Sequence[T], columns: str = "", *, headed: bool = True) -> Iterator[str]:
        """`columns`: as `chosen` takes them. Raises Invalid."""
        if not things and self.none and headed and not columns:
            return page.paragraph(self.none)
        asked = self.chosen(columns)
        usual = [c for c in self.columns if (c.shown(things) if callable(c.shown) else c.shown)]
        shown = [*usual, *(c for c in asked if c not in usual)] if columns.startswith("+") or not asked else asked
        spare = sorted((c for c in shown if c.spare and c not in asked), key=lambda c: c.spare)
        return page.table(
            [c.head for c in shown],
            [[c.of(thing) for c in shown] for thing in things],
            [c.head for c in shown if c.whole],
            spare=[c.head for c in spare],
            headed=headed,
        )

    def chosen(self, text: str) -> tuple[Column[T], ...]:
        """Of `a,b`, which are all that is shown, or `+a,b`, which is shown besides; "" is none. Raises Invalid."""
        names = text.removeprefix("+")
        return tuple(self.column(word.strip()) for word in names.split(",")) if names else ()

    def column(self, word: str) -> Column[T]:
        """Raises Invalid: with the list of those that there are."""
        keys = {column.key: column for column in self.columns}
        found = keys.get(word.lower().replace(" ", "-"))
        if found is None:
            meant = did_you_mean(word.lower(), keys)
            raise Invalid(f"there is no column '{word}'{f' ({meant})' if meant else ''}: choose of {', '.join(keys)}")
        return found

    def filtered(self, things: Iterable[T], labels: str) -> tuple[T, ...]:
        """Those whose labels fit (`weft.model.selector`). Raises Invalid."""
        selector.check(labels)
        return tuple(thing for thing in things if self.labels is None or selector.matches(labels, self.labels(thing)))

    def ordered(self, things: Iterable[T], by: str) -> tuple[T, ...]:
        """By what a column says, numbers by their size; `-COLUMN`: the largest first. Raises Invalid."""
        column = self.column(by.removeprefix("-"))
        return tuple(sorted(things, key=lambda thing: _natural(column.of(thing).text), reverse=by.startswith("-")))


def _natural(text: str) -> list[tuple[bool, Any]]:
    """node-2 comes before node-10, and what is not known (-) first."""
    parts = [part for part in re.split("([0-9]+)", text) if part]
    return [(False, int(part)) if part[0] in "0123456789" else (True, part) for part in parts]
