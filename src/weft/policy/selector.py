"""Who is meant, by labels: `role == 'db' && (!has(old) || zone in {'a', 'b'})`. Calico's language.

    a || b, a && b, !a, (a)       the first binds least
    k == 'v', k != 'v'            the label k is v, or is not: which also holds where there is no k
    k in {'v', 'w'}               … and `k not in {'v', 'w'}`, which also holds where there is no k
    k contains 'v', k starts with 'v', k ends with 'v'
    has(k)                        there is a label k
    all()                         everything, as does the empty text
    global()                      of namespaces: what is in none

Texts stand in '…' or "…", and there are no escapes. A text is read once and then kept as a function of labels.
`weft.model.selector` is the older and simpler language of pools and BGP peers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import NamedTuple, NoReturn

from weft.base.errors import Invalid
from weft.policy.model import NAME_LABEL

Labels = Mapping[str, str]
Test = Callable[[Labels], bool]

LONGEST = 16_384
"""Characters of a selector."""
DEEPEST = 50
"""Parentheses in each other: reading goes down as deep."""

_SPACE = re.compile(r"[ \t\r\n]*")
_KEY = re.compile(r"[A-Za-z0-9_./-]{1,512}")
_TEXT = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_CALL = re.compile(r"(all|global)\([ \t\r\n]*\)|(has)\([ \t\r\n]*([A-Za-z0-9_./-]{1,512})[ \t\r\n]*\)")
_OPERATOR = re.compile(r"==|!=|in\b|not\s*in\b|contains\b|starts\s*with\b|ends\s*with\b", re.ASCII)

_TERM = "a label's name, has(LABEL), all(), '!' or '(' is expected"
_OPERATORS = "one of == != in, not in, contains, starts with, ends with is expected after a label's name"


def check(text: str) -> str:
    """Raises Invalid: names the place, and what is expected there."""
    _compiled(text)
    return text


def matches(text: str, labels: Labels) -> bool:
    return _compiled(text)(labels)


@lru_cache(maxsize=16_384)
def _compiled(text: str) -> Test:
    if len(text) > LONGEST:
        raise Invalid(f"selector '{text[:40]}…' has {len(text)} characters, and {LONGEST} are the most")
    return _Parser(text).whole()


class _Parser:
    """Goes through `text` from the left, one function for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> Test:
        self._space()
        if self._at == len(self._text):
            return _everything
        found = self._either()
        if self._at < len(self._text):
            self._fail("'&&', '||' or the end is expected")
        return found

    def _either(self) -> Test:
        found = [self._both()]
        while self._accept("||"):
            found.append(self._both())
        return found[0] if len(found) == 1 else partial(_any_of, tuple(found))

    def _both(self) -> Test:
        found = [self._term()]
        while self._accept("&&"):
            found.append(self._term())
        return found[0] if len(found) == 1 else partial(_all_of, tuple(found))

    def _term(self) -> Test:
        negated = False
        while self._accept("!"):
            negated = not negated
        found = self._group() if self._accept("(") else self._call() or self._comparison()
        return partial(_not, found) if negated else found

    def _group(self) -> Test:
        self._depth += 1
        if self._depth > DEEPEST:
            self._fail(f"there are more than {DEEPEST} parentheses in each other")
        found = self._either()
        if not self._accept(")"):
            self._fail("'&&', '||' or ')' is expected")
        self._depth -= 1
        return found

    def _call(self) -> Test | None:
        found = self._take(_CALL)
        if found is None:
            return None
        if found[2]:
            return partial(_has, found[3])
        return _everything if found[1] == "all" else _global

    def _comparison(self) -> Test:
        key = self._take(_KEY)
        if key is None:
            self._fail(_TERM)
        operator = self._take(_OPERATOR)
        if operator is None:
            self._fail(_OPERATORS)
        meant = _MEANINGS["".join(operator[0].split())]
        values = self._set() if meant.several else frozenset((self._quoted(),))
        return partial(meant.test, key[0], values)

    def _set(self) -> frozenset[str]:
        if not self._accept("{"):
            self._fail("a set such as {'a', 'b'} is expected")
        found: list[str] = []
        while not self._accept("}"):
            found.append(self._quoted(" or '}'"))
            if not self._accept(",") and self._text[self._at : self._at + 1] != "}":
                self._fail("',' or '}' is expected")
        return frozenset(found)

    def _quoted(self, otherwise: str = "") -> str:
        found = self._take(_TEXT)
        if found is None:
            self._fail(f"a text in quotes{otherwise} is expected")
        return found[1] if found[1] is not None else found[2]

    # -------------------------------------------------------------------------------------------------------- characters

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
            self._space()
        return found

    def _accept(self, sign: str) -> bool:
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        self._space()
        return True

    def _space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _fail(self, expected: str) -> NoReturn:
        rest = self._text[self._at : self._at + 20]
        place = f"at character {self._at + 1}, '{rest}'" if rest else "at its end"
        shown = self._text if len(self._text) <= 100 else f"{self._text[:100]}…"
        raise Invalid(f"selector '{shown}': {place}: {expected}")


# ---------------------------------------------------------------------------------------------------------------- tests


def _everything(labels: Labels) -> bool:
    return True


def _global(labels: Labels) -> bool:
    return NAME_LABEL not in labels


def _any_of(tests: tuple[Test, ...], labels: Labels) -> bool:
    return any(test(labels) for test in tests)


def _all_of(tests: tuple[Test, ...], labels: Labels) -> bool:
    return all(test(labels) for test in tests)


def _not(test: Test, labels: Labels) -> bool:
    return not test(labels)


def _has(key: str, labels: Labels) -> bool:
    return key in labels


def _in(key: str, values: frozenset[str], labels: Labels) -> bool:
    return labels.get(key) in values


def _not_in(key: str, values: frozenset[str], labels: Labels) -> bool:
    return labels.get(key) not in values


def _contains(key: str, values: frozenset[str], labels: Labels) -> bool:
    return key in labels and all(value in labels[key] for value in values)


def _starts(key: str, values: frozenset[str], labels: Labels) -> bool:
    return key in labels and labels[key].startswith(tuple(values))


def _ends(key: str, values: frozenset[str], labels: Labels) -> bool:
    return key in labels and labels[key].endswith(tuple(values))


class _Operator(NamedTuple):
    test: Callable[[str, frozenset[str], Labels], bool]
    several: bool = False


_MEANINGS = {
    "==": _Operator(_in),
    "!=": _Operator(_not_in),
    "in": _Operator(_in, several=True),
    "notin": _Operator(_not_in, several=True),
    "contains": _Operator(_contains),
    "startswith": _Operator(_starts),
    "endswith": _Operator(_ends),
}
