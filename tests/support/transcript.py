"""Whether a command printed what a page shows.

Runs of blanks are equal. `…` stands for anything within a line; alone in a line for any lines. What differs from run to run
need not be hidden behind that: an address, a MAC, an id in hexadecimal and a long number *stand for* what really came. They
have to stand for the same in the whole page, and two of them never for one; commands that name them are run with the real ones.
Times of day and numbers with a fraction or a unit stand for any such.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

_MEASURED = r"(?<![\w.])(?:\d+(?:\.\d+)? ?(?:µs|ms|min|GiB|MiB|KiB|s|h|d|B)(?![\w/])|\d+\.\d+(?![\w.]))"
_TIME = r"(?<![\w:])(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d:\d\d(?:\.\d+)?Z?(?![\w:])"
_MAC = r"(?<![\w:])(?:[0-9a-f]{2}:){5}[0-9a-f]{2}(?![\w:])"
_V6 = r"(?<![\w:])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?![\w:])"
_V4 = r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)"
_ID = r"(?:(?<=weft)|(?<=weft[a-z])|(?<![0-9A-Za-z]))(?=[0-9a-f]*\d)[0-9a-f]{8,}(?![0-9A-Za-z])"
_LONG = r"(?<![\w.])\d{5,}(?![\w.])"
_HANDLE = r"(?:(?<=handle )|(?<=@if))\d+"
TOKEN = re.compile(
    rf"(?P<time>{_TIME})|(?P<mac>{_MAC})|(?P<v6>{_V6})|(?P<v4>{_V4})|(?P<handle>{_HANDLE})|(?P<measured>{_MEASURED})"
    rf"|(?P<id>{_ID})|(?P<long>{_LONG})"
)
_ANY = {"time": _TIME, "measured": _MEASURED, "handle": _HANDLE}
"""Kinds of which one stands for any other."""
_BOUND = {"mac": _MAC, "v6": _V6, "v4": _V4, "id": _ID, "long": _LONG}
_ELISION = re.compile(r"…|\s+")
_SAME_BITS = {4: 16, 6: 32}
"""An address stands for one of the same network only."""


@dataclass
class Meanings:
    """What the page's values stand for, and the other way round."""

    real: dict[str, str] = field(default_factory=dict)

    def fix(self, *values: str) -> None:
        """These stand for themselves, unless they stand for something already."""
        for value in values:
            if value not in self.real.values():
                self.real.setdefault(value, value)

    def real_command(self, text: str) -> str:
        """With the real values; those that no output has shown so far are the command's own, and stand for themselves."""
        self.fix(*(match[0] for match in TOKEN.finditer(text) if match.lastgroup in _BOUND))
        return _replaced(text, self.real)

    def shown(self, text: str) -> str:
        """Real output as the page would show it; columns stay below each other."""
        return _replaced(text, {real: value for value, real in self.real.items()})


def _replaced(text: str, values: Mapping[str, str]) -> str:
    parts, at = [], 0
    for match in TOKEN.finditer(text):
        if match.start() < at:
            continue
        value = values.get(match[0], match[0])
        parts += [text[at : match.start()], value]
        at = match.end()
        gap = len(re.match(r" *", text[at:])[0])  # type: ignore[index]  # it always matches
        if gap >= 2:
            parts.append(" " * max(2, gap + len(match[0]) - len(value)))
            at += gap
    return "".join([*parts, text[at:]])


def fits(expected: Sequence[str], printed: Sequence[str], meanings: Meanings) -> bool:
    """Whether that is what was printed; if so, what the page's values stand for is kept."""
    found = _matched(tuple(expected), tuple(printed), meanings.real)
    if found is None:
        return False
    meanings.real = found
    return True


def _matched(expected: tuple[str, ...], printed: tuple[str, ...], known: dict[str, str]) -> dict[str, str] | None:
    if not expected:
        return None if printed else known
    first, rest = expected[0].strip(), expected[1:]
    if first in ("…", "..."):
        tails = (_matched(rest, printed[skip:], known) for skip in range(len(printed) + 1))
        return next((tail for tail in tails if tail is not None), None)
    if not printed:
        return None
    learnt = _line(first, printed[0].strip(), known)
    return None if learnt is None else _matched(rest, printed[1:], learnt)


def _line(expected: str, printed: str, known: dict[str, str]) -> dict[str, str] | None:
    """What is known after this line; None where it does not fit."""
    tokens = list(TOKEN.finditer(expected))
    pattern, at = "", 0
    for number, token in enumerate(tokens):
        kind = token.lastgroup or ""
        pattern += _literal(expected[at : token.start()])
        pattern += _ANY[kind] if kind in _ANY else f"(?P<t{number}>{_BOUND[kind]})"
        at = token.end()
    match = re.fullmatch(pattern + _literal(expected[at:]), printed)
    if match is None:
        return None
    learnt = dict(known)
    for number, token in enumerate(tokens):
        if f"t{number}" not in match.re.groupindex:
            continue
        value, real = token[0], match[f"t{number}"]
        if learnt.get(value, real) != real or not _may_stand_for(value, real, learnt):
            return None
        learnt[value] = real
    return learnt


def _may_stand_for(value: str, real: str, known: Mapping[str, str]) -> bool:
    if value in known:
        return True
    return real not in known.values() and (value == real or _same_network(value, real))


def _same_network(value: str, real: str) -> bool:
    try:
        one, other = ip_address(value), ip_address(real)
    except ValueError:
        return True
    bits = one.max_prefixlen - _SAME_BITS[one.version]
    return one.version == other.version and int(one) >> bits == int(other) >> bits


def _literal(text: str) -> str:
    parts, at = [], 0
    for match in _ELISION.finditer(text):
        parts += [re.escape(text[at : match.start()]), ".*?" if match[0] == "…" else r"\s+"]
        at = match.end()
    return "".join([*parts, re.escape(text[at:])])


def difference(expected: Sequence[str], printed: Sequence[str], meanings: Meanings) -> str:
    """For people: `-` is the page's, `+` is what was printed, with the page's values. A line that fits one of the page's is
    shown as the page has it, so that values which stand for any others, and blanks, are no difference."""
    shown = [_as_in(expected, line, meanings) for line in printed]
    lines = [f"- {line}" for line in expected] if not shown else difflib.ndiff(list(expected), shown)
    return "\n".join(line.rstrip("\n") for line in lines if not line.startswith("?"))


def _as_in(expected: Sequence[str], line: str, meanings: Meanings) -> str:
    like = (
        one for one in expected if one.strip() != "…" and _line(one.strip(), line.strip(), meanings.real) is not None
    )
    return next(like, meanings.shown(line))
