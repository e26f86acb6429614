"""A page of the documents as blocks: what a user types and sees, files that he writes, and what the page stands on.

A block of language `console` is a session at a prompt:

    node-1# weft attach web --network blue        a command on a host; `$ ` instead of `HOST# ` is the first host
    web attached to blue …                        what it prints; without any line it may print anything
    node-1# weft detach nobody        # exit 4    a command that fails on purpose
    node-1# weft flows -f
    …
    ^C                                            runs until the lines before have come, then it is interrupted

A command goes on in the next line after `\\`, or where that begins with `> `. A comment `<!-- console` … `-->` is a session
that the reader does not see, `<!-- notest: REASON -->` before a fence one that cannot be run. A block with a title is a file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+) *(?P<language>[\w.+-]*) *(?P<rest>.*)$")
_HIDDEN = re.compile(r"^ *<!-- console *$")
_NOTEST = re.compile(r"^ *<!-- notest: (?P<reason>.+?) *-->$")
_SCENARIO = re.compile(r"<!-- scenario: *(?P<attributes>.*?) *-->", re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')
_PROMPT = re.compile(r"^(?:(?P<host>[a-z][a-z0-9-]*(?:/[\w.-]+)?)# |\$ )(?P<command>.*)$")
_EXIT = re.compile(r"# exit (\d+)\b")
INTERRUPTED = "^C"


@dataclass(frozen=True)
class Command:
    """`host`: HOST or HOST/CONTAINER, "" for `$ `. `line`: of the page, from 1. `expected`: its output in the page; `start`,
    `end`: where that is, as indices of the page's lines."""

    host: str
    text: str
    line: int
    expected: tuple[str, ...]
    start: int
    end: int

    @property
    def status(self) -> int:
        found = _EXIT.search(self.text)
        return int(found[1]) if found else 0

    @property
    def interrupted(self) -> bool:
        return self.expected[-1:] == (INTERRUPTED,)


@dataclass(frozen=True)
class Block:
    """`line`: of its first line of text, from 1. `hidden`: from the reader. `notest`: why it cannot be run."""

    language: str
    lines: tuple[str, ...]
    line: int
    title: str = ""
    notest: str = ""
    hidden: bool = False

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def commands(self) -> tuple[Command, ...]:
        """Of a session. Raises ValueError: text before the first prompt."""
        found: list[Command] = []
        at = 0
        while at < len(self.lines):
            prompt = _PROMPT.match(self.lines[at])
            if prompt is None:
                raise ValueError(f"line {self.line + at}: begin with `HOST# ` or `$ `, not with {self.lines[at]!r}")
            begin, at = at, _command_end(self.lines, at)
            output, at = at, _output_end(self.lines, at)
            more = [line.removeprefix("> ") for line in self.lines[begin + 1 : output]]
            found.append(
                Command(
                    host=prompt["host"] or "",
                    text="\n".join([prompt["command"], *more]),
                    line=self.line + begin,
                    expected=_without_blank_ends(self.lines[output:at]),
                    start=self.line - 1 + output,
                    end=self.line - 1 + at,
                )
            )
        return tuple(found)


def _command_end(lines: tuple[str, ...], at: int) -> int:
    """Behind the command that begins there."""
    at += 1
    while at < len(lines) and (lines[at - 1].endswith("\\") or lines[at].startswith("> ")):
        at += 1
    return at


def _output_end(lines: tuple[str, ...], at: int) -> int:
    while at < len(lines) and not _PROMPT.match(lines[at]):
        at += 1
    return at


def _without_blank_ends(lines: tuple[str, ...]) -> tuple[str, ...]:
    text = "\n".join(lines).strip("\n")
    return tuple(text.split("\n")) if text else ()


@dataclass(frozen=True)
class Page:
    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> Page:
        return cls(path, path.read_text())

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """From the repository's root."""
        return str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else self.path.name

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(_blocks(self.text.splitlines()))

    @property
    def scenario(self) -> dict[str, str]:
        """The attributes that the page states. Raises ValueError."""
        found = _SCENARIO.search(self.text)
        pairs = [word.partition("=") for word in shlex.split(found["attributes"])] if found else []
        if wrong := [key for key, equals, _ in pairs if not equals]:
            raise ValueError(f"{self.name}: the scenario's attributes are KEY=VALUE, not {wrong[0]!r}")
        return {key: value for key, _, value in pairs}

    @property
    def sessions(self) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.language == "console")

    @property
    def runs(self) -> bool:
        """Whether anything in it can be run."""
        return any(not block.notest for block in self.sessions)


def _blocks(lines: list[str]) -> Iterator[Block]:
    at = 0
    while at < len(lines):
        fence, hidden = _FENCE.match(lines[at]), _HIDDEN.match(lines[at])
        if not fence and not hidden:
            at += 1
            continue
        end = next((i for i in range(at + 1, len(lines)) if _ends(lines[i], fence)), None)
        if end is None:
            raise ValueError(f"line {at + 1}: the block has no end")
        indent = len(fence["indent"]) if fence else 0
        inner = tuple(line[indent:] if not line[:indent].strip() else line for line in lines[at + 1 : end])
        notest = _NOTEST.match(lines[at - 1]) if at else None
        title = _TITLE.search(fence["rest"]) if fence else None
        yield Block(
            language=fence["language"] if fence else "console",
            lines=inner,
            line=at + 2,
            title=title[1] if title else "",
            notest=notest["reason"] if notest else "",
            hidden=not fence,
        )
        at = end + 1


def _ends(line: str, fence: re.Match[str] | None) -> bool:
    return line.strip() == (fence["ticks"] if fence else "-->")


def pages() -> list[Page]:
    """README and all below docs/ but decisions, which tell of what was, and what is generated."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    without = {ROOT / "docs/adr"}
    return [Page.read(path) for path in found if not without & set(path.parents)]
