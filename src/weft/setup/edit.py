"""Settings are put into a TOML file, line by line: every comment, every other setting and their order stay. Pure.

A setting that is there is replaced in its place, with the comment behind it kept. One that is only there as a comment
(`#store = …`) comes below that line; any other one at the end of what stands before the first table. The result is read back,
and is taken only if it says what it was to say.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from weft.agent.settings import Value, in_toml
from weft.base.errors import Failed, Invalid

_NAME = re.compile(r"""\s*(?:"(?P<quoted>[^"]+)"|'(?P<literal>[^']+)'|(?P<bare>[A-Za-z0-9_-]+))\s*=""")


def edited(text: str, settings: Mapping[str, Value]) -> str:
    """Raises Invalid where `text` is no TOML, Failed where it is written in a way that cannot be edited."""
    before = parsed(text)
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    for name, value in settings.items():
        wanted = _plain(value)
        if before.get(name) != wanted or type(before.get(name)) is not type(wanted):
            _put(lines, name, value)
    after = "".join(lines)
    if not _says(after, {**before, **{name: _plain(value) for name, value in settings.items()}}):
        said = ", ".join(f"{name} = {in_toml(value)}" for name, value in settings.items())
        raise Failed(f"the settings file is written in a way that cannot be edited: write there yourself: {said}")
    return after


def parsed(text: str) -> dict[str, Any]:
    """Raises Invalid."""
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise Invalid(f"the settings file is no TOML: {error}: put it right, or move it away") from None


def _says(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except ValueError:
        return False


def _plain(value: Value) -> Any:
    return tomllib.loads(f"x = {in_toml(value)}")["x"]


def _put(lines: list[str], name: str, value: Value) -> None:
    line, places = f"{name} = {in_toml(value)}", _statements(lines)
    if name in places:
        first, last = places[name]
        lines[first:last] = [line + _comment_behind(lines[first:last]) + "\n"]
        return
    end = places[""][0]
    hints = [number for number in range(end) if re.match(rf"#\s*{re.escape(name)}\s*=", lines[number])]
    at = hints[-1] + 1 if hints else _after_text(lines, end)
    lines.insert(at, line + "\n")


def _statements(lines: list[str]) -> dict[str, tuple[int, int]]:
    """Of each setting before the first table, its lines: from, up to. Under "": where these end."""
    found, number = dict[str, tuple[int, int]](), 0
    while number < len(lines):
        line = lines[number].strip()
        if line.startswith("["):
            break
        last = number + 1
        if line and not line.startswith("#"):
            while not _is_whole("".join(lines[number:last])) and last < len(lines):
                last += 1
            if name := _NAME.match(lines[number]):
                found[next(filter(None, name.groups()))] = (number, last)
        number = last
    return {**found, "": (number, number)}


def _is_whole(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _comment_behind(statement: list[str]) -> str:
    """With the blanks before it; "" where there is none, or the statement has several lines."""
    line = statement[0].rstrip()
    if len(statement) > 1:
        return ""
    for place, character in enumerate(line):
        if character == "#" and _is_whole(line[:place]):
            value = line[:place].rstrip()
            return line[len(value) :]
    return ""


def _after_text(lines: list[str], end: int) -> int:
    """Behind the last line that is not blank."""
    while end > 0 and not lines[end - 1].strip():
        end -= 1
    return end
