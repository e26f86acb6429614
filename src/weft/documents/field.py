"""A value in a document, together with the way to it, so that whatever is wrong is named: `spec.ingress[0].from[1]: …`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from weft.base.errors import WeftError, one_line
from weft.base.nearby import meant_of

T = TypeVar("T")

LONGEST = 16_384
"""Characters of one text."""


class Bad(Exception):
    """What is wrong, and where. It never leaves `weft.policy.read`."""


class Log:
    """What was found in one document: `faults`, with which it is refused, and `notes`, which its writer should know."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.notes: list[str] = []


class Field:
    def __init__(self, value: Any, path: str, log: Log) -> None:
        """`path`: "" for the whole document. What is null counts as not there, as it does in Kubernetes."""
        self.value, self.path, self.log = value, path, log

    def __bool__(self) -> bool:
        """Whether it is there, and be it empty."""
        return self.value is not None

    def refuse(self, why: str) -> NoReturn:
        raise Bad(f"{one_line(self.path)}: {why}" if self.path else why)

    def note(self, what: str) -> None:
        self.log.notes.append(f"{one_line(self.path)}: {what}")

    def required(self) -> Field:
        return self if self else self.refuse("it is missing")

    # ------------------------------------------------------------------------------------------------------- structures

    def __getitem__(self, name: str) -> Field:
        """Of a mapping."""
        value = self.value.get(name) if isinstance(self.value, dict) else None
        return Field(value, f"{self.path}.{name}" if self.path else name, self.log)

    def of(self, *known: str) -> Field:
        """Itself: a mapping of no other fields than these, or not there."""
        for name in self.names():
            if name not in known:
                self.refuse(f"{said(name)} is not a field of it: {meant_of(name, known)}")
        return self

    def names(self) -> list[str]:
        """Of what a mapping has."""
        if self.value is None:
            return []
        if not isinstance(self.value, dict):
            self.refuse(f"a mapping is expected, not {said(self.value)}")
        for name in self.value:
            if not isinstance(name, str):
                self.refuse(f"the name of a field is a text, not {said(name)}: put it in quotes")
        return list(self.value)

    def one_of(self, *known: str) -> Field:
        """That of the fields of a mapping which is there: exactly one."""
        there = [name for name in known if self.of(*known)[name]]
        if len(there) != 1:
            self.refuse(f"exactly one of {', '.join(known)} is expected, not {', '.join(there) or 'none'}")
        return self[there[0]]

    def items(self, most: int = 1024) -> list[Field]:
        """Of a list; none where it is not there."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            self.refuse(f"a list is expected, not {said(self.value)}")
        if len(self.value) > most:
            self.refuse(f"{len(self.value)} are too many: at most {most}")
        return [Field(value, f"{self.path}[{n}]", self.log) for n, value in enumerate(self.value)]

    def each(self, read: Callable[[Field], T], most: int = 1024) -> tuple[T, ...]:
        """What is read of each item of a list. All bad items are told of, not only the first."""
        return tuple(self._read(read, self.items(most)))

    def _read(self, read: Callable[[Field], T], items: Sequence[Field]) -> Iterator[T]:
        for item in items:
            try:
                yield read(item)
            except Bad as bad:
                self.log.faults.append(str(bad))

    # ----------------------------------------------------------------------------------------------------------- values

    def text(self, default: str = "") -> str:
        if self.value is None:
            return default
        if not isinstance(self.value, str):
            way_out = "" if isinstance(self.value, dict | list) else ": put it in quotes"
            self.refuse(f"a text is expected, not {said(self.value)}{way_out}")
        if len(self.value) > LONGEST or not self.value.replace("\n", "").isprintable():
            self.refuse(f"{said(self.value)} is longer than {LONGEST} characters or has some that cannot be shown")
        return self.value

    def matching(self, pattern: re.Pattern[str], expected: str) -> str:
        found = self.required().text()
        return found if pattern.fullmatch(found) else self.refuse(f"{said(found)}: {expected}")

    def choice(self, known: Sequence[str], default: str = "") -> str:
        """One of these texts; where it is not there the default, if there is one."""
        if self.value is None and default:
            return default
        found = self.required().text()
        return found if found in known else self.refuse(f"{said(found)} is none of {', '.join(known)}")

    def integer(self, least: int, most: int) -> int:
        value = self.required().value
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(f"a whole number is expected, not {said(value)}")
        return value if least <= value <= most else self.refuse(f"{value} is not within {least} to {most}")

    def number(self) -> float:
        value = self.required().value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(f"a number is expected, not {said(value)}")
        return float(value) if abs(value) <= 1e15 else self.refuse(f"{said(value)} is too large a number")

    def as_said(self, check: Callable[[str], T]) -> T:
        """What `check` makes of a text, which raises a WeftError."""
        try:
            return check(self.text())
        except WeftError as error:
            self.refuse(str(error))


def said(value: object) -> str:
    """As it is quoted in a message: not the whole of something long."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(value) if not isinstance(value, bool) else str(value).lower()
    text = f"{text[:60]}…" if len(text) > 60 else text
    return f"'{one_line(text)}'" if isinstance(value, str) else one_line(text)
