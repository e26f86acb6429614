"""Who mistypes a name is told the one that was meant."""

from __future__ import annotations

from collections.abc import Iterable

ALIKE = 0.6
"""How alike two words have to be, from 0 to 1 (difflib.SequenceMatcher.ratio)."""
MOST = 3


def near(word: str, known: Iterable[str]) -> list[str]:
    """Those of the known words that may have been meant, the likeliest first; at most three. What differs by its number is
    another one of many, and was not meant."""
    from difflib import get_close_matches  # only who has mistyped something waits for that

    names = [
        name for name in dict.fromkeys(known) if _letters(name) != _letters(word) or _digits(name) == _digits(word)
    ]
    by_case = [name for name in names if name.lower() == word.lower()]
    others = [name for name in get_close_matches(word, names, MOST, ALIKE) if name not in by_case]
    return [*by_case, *others][:MOST]


def _letters(word: str) -> str:
    return "".join(c for c in word if c.isalpha())


def _digits(word: str) -> str:
    return "".join(c for c in word if c.isdigit())


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean blue?`, or "" where nothing is like it."""
    found = near(word, known)
    return f"did you mean {' or '.join(found)}?" if found else ""


def meant_of(word: str, known: Iterable[str]) -> str:
    """Where there are few, and the likeliest will do: `did you mean blue?`, else `there are blue, red`."""
    some = list(known)
    found = near(word, some)
    return f"did you mean {found[0]}?" if found else f"there are {', '.join(some)}"


def unknown(what: str, word: str, known: Iterable[str], ask: str) -> str:
    """The whole line: `no network bleu: did you mean blue? `weft network ls` shows those there are`. `ask`: the command that
    shows them."""
    meant = did_you_mean(word, known)
    return f"no {what} {word}: {meant}{' ' if meant else ''}`{ask}` shows those there are"
