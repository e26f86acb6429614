"""YAML into plain documents: mappings, lists, texts, numbers, booleans, null, and nothing else.

Values are those of YAML 1.2's core schema without octal and hexadecimal numbers: of `yes`, `0777`, `1:30` and `2026-01-01`
YAML 1.1 makes a truth, a number in base 8, one in base 60 and a date, and here each is a text. A field that is there twice is
refused, and so is what would grow by its own aliases: reading takes time in proportion to what is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from weft.base.errors import Invalid
from weft.documents.document import Document
from weft.documents.field import said

LARGEST = 8 * 2**20
"""Characters of one text."""
DEEPEST = 40
"""Mappings and lists in each other."""
MOST = 1_000_000
"""Values of one text, those behind aliases counted each time."""

_TAGS = ("tag:yaml.org,2002:str", "!")
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]{0,17})(\.[0-9]{0,17})?|\.[0-9]{1,17})([eE][-+]?[0-9]{1,2})?")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def documents(text: str, place: str) -> Iterator[Document]:
    """`place`: the file. Raises Invalid: names the line."""
    if len(text) > LARGEST:
        raise Invalid(f"{place}: it is too long: at most {LARGEST} characters")
    try:
        yield from _Documents(place).read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise Invalid(f"{place}{line}: this is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise Invalid(f"{place}: this is not YAML: {' '.join(str(error).split())}") from None


class _Documents:
    """Builds values from YAML's events, so that nothing is built that is too large or too deep."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._line = 0
        self._left = MOST
        self._anchors: dict[str, tuple[Any, int]] = {}
        """What each stands for, with the number of values in it."""

    def read(self, text: str) -> Iterator[Document]:
        events = yaml.parse(text, Loader=_Loader)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                first = next(events)
                place = f"{self._place}, line {_line(first)}"
                yield Document(place, self._value(first, events, 0))

    def _value(self, event: Any, events: Iterator[Any], depth: int) -> Any:
        self._line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor)
        before = self._left
        self._count(1)
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif depth == DEEPEST:
            self._fail(f"there are more than {DEEPEST} mappings and lists in each other")
        else:
            self._untagged(event.tag)
            inside = self._list if isinstance(event, yaml.SequenceStartEvent) else self._mapping
            value = inside(events, depth + 1)
        if event.anchor:
            self._anchors[event.anchor] = value, before - self._left
        return value

    def _alias(self, anchor: str | None) -> Any:
        if anchor is None or anchor not in self._anchors:
            self._fail(f"there is no &{anchor} before *{anchor}")
        value, size = self._anchors[anchor]
        self._count(size)
        return value

    def _list(self, events: Iterator[Any], depth: int) -> list[Any]:
        found = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            found.append(self._value(event, events, depth))
        return found

    def _mapping(self, events: Iterator[Any], depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            name = self._value(event, events, depth)
            if not isinstance(name, str):
                self._fail(f"the name of a field is a text, not {said(name)}: put it in quotes")
            if name in found:
                self._fail(f"{said(name)} is there twice")
            found[name] = self._value(next(events), events, depth)
        return found

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        text: str = event.value
        if event.tag is not None and event.tag not in _TAGS:
            self._untagged(event.tag)
        return text if event.tag is not None or not event.implicit[0] else _plain(text)

    def _untagged(self, tag: str | None) -> None:
        if tag is not None and tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._fail(f"the tag {said(tag)} is not supported: leave it out")

    def _count(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            self._fail(f"there are more than {MOST} values in it")

    def _fail(self, why: str) -> NoReturn:
        raise Invalid(f"{self._place}, line {self._line}: {why}")


def _plain(text: str) -> Any:
    """What a scalar without quotes and tag means."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def text(value: object, **how: Any) -> str:
    """Plain values as YAML that is read as the same values, here and by those who read YAML 1.1. `how`: as of `yaml.dump`."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1000, **how))


class _Dumper(yaml.SafeDumper):
    """PyYAML leaves texts plain that are numbers in YAML 1.2 only, such as `1e3`."""

    def ignore_aliases(self, data: Any) -> bool:
        """What is there twice is written twice."""
        return True


def _text_as_such(dumper: yaml.SafeDumper, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, "'" if _plain(value) != value else None)


_Dumper.add_representer(str, _text_as_such)
