"""Tables without lines: heads and columns, two spaces apart, folded where they would be too wide. No cell is ever cut.

On a terminal they are as wide as it is, and columns that may be left out are, before a word would be broken. In a pipe nothing
is folded, so `weft endpoint ls | grep NAME` finds whole words.
What a terminal would obey instead of showing it is escaped.

Colour is put on after the measuring, so a cell is as wide as its text.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from weft.base.errors import one_line

GAP = "  "
NARROWEST = 40
UNBOUNDED = 1_000_000
"""Columns, where no terminal is there to say: what reads a pipe wants whole lines, each cell in one piece."""

_SGR = {"head": "1", "good": "32", "warn": "33", "bad": "31", "dim": "2"}
"""ECMA-48 select graphic rendition: bold, green, yellow, red, faint."""


class Styled(NamedTuple):
    text: str
    style: str


Cell = str | Styled


class Page:
    """Where text goes: how wide, and whether in colour."""

    def __init__(self, width: int, colour: bool) -> None:
        self.width = max(width, NARROWEST)
        self.colour = colour

    @staticmethod
    def of_stdout() -> Page:
        """As wide as the terminal, without bounds where there is none. Colour only on a terminal that knows any, and never
        with NO_COLOR (no-color.org)."""
        if not sys.stdout.isatty():
            return Page(UNBOUNDED, colour=False)
        colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return Page(shutil.get_terminal_size().columns, colour)

    def paint(self, text: str, style: str) -> str:
        return f"\x1b[{_SGR[style]}m{text}\x1b[0m" if self.colour and style and text.strip() else text

    def table(
        self,
        heads: Sequence[str],
        rows: Iterable[Sequence[Cell]],
        whole: Collection[str] = (),
        *,
        spare: Sequence[str] = (),
        headed: bool = True,
    ) -> Iterator[str]:
        """Heads are shown also over no rows at all, so one sees that there are none. `whole`: heads of the columns whose
        words, such as addresses, are broken last. `spare`: heads of the columns that are left out, in this order, for as long
        as words would have to be broken; the last line names them."""
        body = [[_styled(cell) for cell in row] for row in rows]
        columns = [_Laid(head, [head, *(_shown(row[i].text) for row in body)]) for i, head in enumerate(heads)]
        left_out = _left_out(columns, spare, self.width)
        kept = [i for i, head in enumerate(heads) if head not in left_out]
        widths = _fit([columns[i] for i in kept], self.width, whole)
        if headed:
            yield from self._row([Styled(heads[i], "head") for i in kept], widths)
        for row in body:
            yield from self._row([row[i] for i in kept], widths)
        if left_out:
            yield from self.paragraph(
                f"(no room for {', '.join(left_out)}: --columns or -o yaml shows them)", style="dim"
            )

    def pairs(self, rows: Iterable[tuple[str, Cell]]) -> Iterator[str]:
        """Names and values in two columns. Values that are "" are left out."""
        body = [(name, _styled(value)) for name, value in rows]
        body = [(name, value) for name, value in body if value.text]
        left = max((len(name) for name, _ in body), default=0)
        widths = [left, max(self.width - left - len(GAP), 10)]
        for name, value in body:
            yield from self._row([Styled(name, "head"), value], widths)

    def paragraph(self, text: str, indent: str = "", style: str = "") -> Iterator[str]:
        for line in fold(text, self.width - len(indent)):
            yield indent + self.paint(line, style)

    def _row(self, cells: Sequence[Styled], widths: Sequence[int]) -> Iterator[str]:
        columns = [fold(cell.text, width) for cell, width in zip(cells, widths, strict=True)]
        for number in range(max(map(len, columns))):
            parts = [column[number] if number < len(column) else "" for column in columns]
            last = max((i for i, part in enumerate(parts) if part), default=0)
            yield GAP.join(
                self.paint(part, cell.style) + " " * (width - len(part)) * (i < last)
                for i, (part, cell, width) in enumerate(zip(parts[: last + 1], cells, widths, strict=False))
            )


def fold(text: str, width: int) -> list[str]:
    """Lines of at most `width`; broken at spaces, and inside a word only where that alone is longer."""
    lines: list[str] = []
    for paragraph in map(one_line, text.split("\n")):
        line = ""
        for word in paragraph.split(" "):
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
            while len(line) > width:
                cut = _seam(line, width)
                lines.append(line[:cut])
                line = line[cut:]
        lines.append(line)
    return lines


def _seam(word: str, width: int) -> int:
    """Where to break a word: after the last sign in the second half of what fits, else where it ends."""
    after = max(word.rfind(sign, 0, width) for sign in "-_/.:") + 1
    return after if after > width // 2 else width


def _shown(text: str) -> str:
    """As `fold` will write it."""
    return "\n".join(map(one_line, text.split("\n")))


def _styled(cell: Cell) -> Styled:
    return cell if isinstance(cell, Styled) else Styled(cell, "")


class _Laid:
    """A column: how wide its widest line and its longest word are."""

    def __init__(self, head: str, cells: Sequence[str]) -> None:
        self.head = head
        self.line = max(len(line) for cell in cells for line in cell.split("\n"))
        self.word = max((len(word) for cell in cells for word in cell.split()), default=0)
        self.least = min(len(head), 8)


def _left_out(columns: Sequence[_Laid], spare: Sequence[str], width: int) -> list[str]:
    """The first of `spare`, as many as it takes for all words of the others to be in one piece."""
    left: list[str] = []
    for head in spare:
        kept = [column.word for column in columns if column.head not in left]
        if sum(kept) + len(GAP) * (len(kept) - 1) <= width:
            break
        left += [head] if any(column.head == head for column in columns) else []
    return left


def _fit(columns: Sequence[_Laid], width: int, whole: Collection[str]) -> list[int]:
    """Column widths that add up to at most `width`: the widest give way first, down to their longest word; only where
    that is not enough words are broken, and those of `whole` columns last."""
    room = width - len(GAP) * (len(columns) - 1)
    widths = [column.line for column in columns]
    words = [column.word for column in columns]
    heads = [column.least for column in columns]
    some = [column.word if column.head in whole else column.least for column in columns]
    for floors in (words, some, heads):
        while sum(widths) > room:
            spare = [i for i in range(len(widths)) if widths[i] > floors[i]]
            if not spare:
                break
            widths[max(spare, key=lambda i: widths[i])] -= 1
    return widths
