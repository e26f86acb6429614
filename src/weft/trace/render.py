"""A trace as lines of text: hops under the place where they happen, numbered, and how the way ends."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator

from weft.trace.path import ECHO, Hop, Outcome, Path, Short, Trace
from weft.trace.what import name

_OPEN = ("elsewhere", "depends")
Paint = Callable[[str, str], str]
"""(text, style) to coloured text; styles: "head", "good", "warn", "bad", "dim"."""

_NUMBER, _STEP = 3, 11
_INDENT = _NUMBER + 2 + _STEP + 2
_STYLES = {"delivered": "good", "left": "good", "elsewhere": "warn", "depends": "warn"}


def render(found: Trace, width: int, paint: Paint) -> Iterator[str]:
    """No line is longer than `width`, but where a single word is."""
    there, back = found.there, found.back
    ends = f"{_who(found.origin, str(there.source))} to {_who(found.target, str(there.target))}"
    yield paint(f"{ends}, {name(there.flow)}" if there.flow.dport != ECHO.dport else ends, "head")
    yield from _path(there, width, paint)
    if found.back is not None:
        yield ""
        if found.back.outcome.arrived:
            yield from _fold(f"the way back: {found.back.outcome.text}{_size(found.back)}", width, "", paint, "good")
        else:
            yield paint("the way back", "head")
            yield from _path(found.back, width, paint)
    if shorts := (*there.short, *(back.short if back is not None else ())):
        yield ""
        first = all(short.by == "bypass" for short in shorts)
        when = "from a connection's first one on" if first else "once both sides have sent"
        yield paint(f"{when}, packets take a short way", "head")
        for short in shorts:
            yield from _short(short, width, paint)
    for note in found.notes:
        yield from _fold(f"note: {note}", width, "", paint, "warn")


_BY = {
    "flowtable": "the flowtable",
    "cache": "the programs, for up to 5 s at a time",
    "bypass": "the programs, whatever the packet is",
}


def _short(short: Short, width: int, paint: Paint) -> Iterator[str]:
    way = f"{short.place}: from {short.came_by} to {short.out} by {_BY[short.by]}"
    yield from _fold(f"{way}; past {', '.join(short.skips)}", width, "  ", paint, "")


def _who(name: str, address: str) -> str:
    return name if name == address else f"{name} ({address})"


def _path(path: Path, width: int, paint: Paint) -> Iterator[str]:
    place = ""
    for number, hop in enumerate(path.hops, 1):
        if hop.place != place:
            place = hop.place
            yield paint(place, "head")
        yield from _hop(number, hop, width, paint)
    yield from _outcome(path, path.outcome, width, paint)


def _hop(number: int, hop: Hop, width: int, paint: Paint) -> Iterator[str]:
    """The entry beside the step; what comes of it in the same line if it fits, else in the next."""
    head = f"{number:>{_NUMBER}}  {hop.step:<{_STEP}}  "
    lines = _wrap(hop.entry, width - _INDENT)
    result = f"→ {hop.result}" if hop.result else ""
    fits = len(lines) == 1 and _INDENT + len(lines[0]) + 2 + len(result) <= width
    yield head + lines[0] + (f"  {paint(result, 'dim')}" if result and fits else "")
    for line in lines[1:]:
        yield " " * _INDENT + line
    if result and not fits:
        for line in _wrap(result, width - _INDENT):
            yield " " * _INDENT + paint(line, "dim")


def _outcome(path: Path, outcome: Outcome, width: int, paint: Paint) -> Iterator[str]:
    style = _STYLES.get(outcome.ending, "bad")
    if outcome.arrived:
        text = f"{outcome.text}{_size(path)}"
    else:
        text = outcome.text if outcome.ending in _OPEN else f"ends here: {outcome.text}"
    yield from _fold(text, width, "", paint, style)
    if outcome.advice:
        yield from _fold(f"what to do: {outcome.advice}", width, "  ", paint, "")


def _size(path: Path) -> str:
    return f", TTL {path.ttl}, MTU {path.mtu}"


def _fold(text: str, width: int, indent: str, paint: Paint, style: str) -> Iterator[str]:
    for line in _wrap(text, width - len(indent)):
        yield indent + paint(line, style)


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False) or [""]
