"""Man pages say what `--help` says, in roff's words."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.core import TyperGroup

from tools.package import manual
from weft.cli.app import VERBS, load


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return manual.pages()


def options(command: Any) -> set[str]:
    """All that can be given to a command and to those below it, but what is hidden."""
    found = {
        word for p in command.params if not getattr(p, "hidden", False) for word in p.opts if word.startswith("--")
    }
    if isinstance(command, TyperGroup):
        for inner in command.commands.values():
            if not inner.hidden:
                found |= options(inner)
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_a_page_with_all_its_options(pages: dict[str, str], verb: str) -> None:
    shown = pages[f"weft-{verb}"].replace("\\-", "-")
    assert [option for option in sorted(options(load(verb))) if not re.search(rf"^\.B .*{option}\b", shown, re.M)] == []


def test_the_first_page_leads_to_the_others(pages: dict[str, str]) -> None:
    assert re.findall(r"^\.BR weft\\-(\w+) \(1\)$", pages["weft"], re.M) == list(VERBS)


def test_no_text_is_taken_for_a_request(pages: dict[str, str]) -> None:
    known = r"\.(TH|SH|B|BR|I|TP|PP|nf|fi|RS|RE)( |$)"
    for name, page in pages.items():
        for line in page.splitlines():
            assert not line.startswith((".", "'")) or re.match(known, line), (name, line)
            assert not re.search(r"(?<!\\)-", line) or line.startswith((".TH", ".SH")), (name, line)


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        (".hidden", "\\&.hidden"),
        ("'quoted' --option", "\\(aqquoted\\(aq \\-\\-option"),
        ("a\\b ~/x `y` ^C", "a\\eb \\(ti/x \\(gay\\(ga \\(haC"),
        ("", ""),
    ],
)
def test_what_roff_would_read_otherwise_is_escaped(text: str, roff: str) -> None:
    assert manual.line(text) == roff
