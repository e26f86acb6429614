"""A list as it is wanted: which rows and columns, in which order and form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import typer

from weft.cli.columns import Table
from weft.cli.output import Format, blocks, say, show
from weft.cli.table import Page

T = TypeVar("T")
More = Callable[[Page, Any], Iterable[str]]


class View(msgspec.Struct, frozen=True):
    """How a list is wanted."""

    output: Format = Format.TABLE
    watch: bool = False
    quiet: bool = False
    no_headers: bool = False
    columns: str = ""
    sort: str = ""
    label: str = ""

    def check(self, table: Table[Any]) -> None:
        """Before anybody is asked. Raises Invalid, BadParameter."""
        if self.quiet and (self.output is not Format.TABLE or self.columns):
            other = "--columns" if self.columns else "--output"
            raise typer.BadParameter(f"only names, and {other}, exclude each other", param_hint="--quiet")
        if self.columns and self.output is not Format.TABLE:
            raise typer.BadParameter(f"{self.output} has all there is: leave one of them out", param_hint="--columns")
        table.chosen(self.columns)
        table.filtered((), self.label)
        if self.sort:
            table.ordered((), self.sort)


class Listed(msgspec.Struct, Generic[T], frozen=True):
    """`value`: what JSON and YAML show; `things`: of it, what the table lists. `more`: what stands below the table."""

    table: Table[T]
    value: Any
    things: Sequence[T]
    view: View
    more: More | None = None

    def lines(self, page: Page) -> Iterator[str]:
        table, view = self.table, self.view
        if view.quiet:
            return map(str, map(table.name, self.things))
        lines = table.lines(page, self.things, view.columns, headed=not view.no_headers)
        usual = self.more is not None and not view.no_headers and not view.columns
        return blocks(lines, self.more(page, self.value)) if self.more is not None and usual else iter(lines)

    def tell(self) -> None:
        if self.view.output is Format.TABLE:
            say(*self.lines(Page.of_stdout()))
        else:
            show(self.value, self.view.output, lambda page, _: self.lines(page))


def listed(table: Table[T], found: Any, view: View, things: str = "", more: More | None = None) -> Listed[T]:
    """What was found, as it is wanted. `things`: the attribute of `found` that has them; "" where it is them."""
    some: Sequence[T] = getattr(found, things) if things else found
    some = table.filtered(some, view.label) if view.label else some
    some = table.ordered(some, view.sort) if view.sort else some
    return Listed(table, found if things else some, some, view, more)
