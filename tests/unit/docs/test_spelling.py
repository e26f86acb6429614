"""Every command of Weft's that documents, help and messages name exists, with the options that they give it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.documents import ROOT, Page, pages
from support.spelling import INLINE, commands_in, unknown

SOURCES = sorted((ROOT / "src/weft").rglob("*.py"))


WRONG_ON_PURPOSE = "mistakes.md"
"""Its commands are typed by tests/e2e/test_mistakes.py, and answered as it says."""


@pytest.mark.parametrize("page", [page for page in pages() if not page.name.endswith(WRONG_ON_PURPOSE)], ids=str)
def test_commands_in_documents_exist(page: Page) -> None:
    named = list(INLINE.findall(page.text))
    named += [text for block in page.sessions for command in block.commands() for text in commands_in(command.text)]
    assert {text: found for text in named if (found := unknown(text))} == {}


@pytest.mark.parametrize("part", sorted({path.relative_to(ROOT / "src/weft").parts[0] for path in SOURCES}))
def test_commands_in_help_and_messages_exist(part: str) -> None:
    files = [path for path in SOURCES if path.relative_to(ROOT / "src/weft").parts[0] == part]
    assert {text: found for text in _told(files) if (found := unknown(text))} == {}


def _told(files: list[Path]) -> Iterator[str]:
    """In backticks in any string; and the examples of help."""
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant | ast.JoinedStr):
                yield from INLINE.findall(_text(node))
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("example", "group"):
                yield from (text for arg in node.args if (text := _text(arg)).startswith("weft "))


def _text(node: ast.AST) -> str:
    """Of a string; what it is filled with is `X`."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("weft netwrok ls", "netwrok"),
        ("weft network lst", "lst"),
        ("weft network ls --colour red", "--colour"),
        ("weft mesh status|poers", "poers"),
        ("weft lab exec node-1 -- weft netwrok ls", "netwrok"),
        ("weft trace export --nothing", "--nothing"),
        ("weft --sockets /x status", "--sockets"),
        ("weft network ls -o vni=7", "vni=7"),
        ("weft network ls --output=xml", "xml"),
        ("weft network create NAME --driver D [--subnet CIDR…] [--internal]", ""),
        ("weft --socket /run/x status -o json", ""),
        ("weft trace A B --live", ""),
        ("weft netns web -- ss -tn", ""),
        ("weft lab agent HOST stop|start|kill|logs", ""),
        ("weft endpoint label web tier=back old-", ""),
    ],
)
def test_what_does_not_exist_is_found(text: str, wrong: str) -> None:
    assert unknown(text) == wrong


def test_commands_are_found_in_a_shells_line() -> None:
    assert commands_in("cd x && weft status -o json | grep x; sudo weft ui") == ["weft status -o json", "weft ui"]
