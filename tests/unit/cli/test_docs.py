"""Every command of Weft's that the documents name exists, with the options that they give it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from weft.cli.app import VERBS, load

DOCS = sorted((Path(__file__).parents[3] / "docs").glob("from-*.md"))
_COMMAND = re.compile(r"`(weft [^`]+)`")


def unknown(text: str) -> str:
    """What of a command line there is not; "" where all is."""
    verb, *words = text.replace("…", "").split()[1:]
    if verb not in VERBS:
        return verb
    command = load(verb)
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return words[0]
        command, words = command.commands[words[0]], words[1:]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return next((word for word in words if word.startswith("-") and word.partition("=")[0] not in options), "")


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.stem)
def test_commands_in_documents_exist(document: Path) -> None:
    named = _COMMAND.findall(document.read_text())
    assert len(named) >= 10
    assert {text: found for text in named if (found := unknown(text))} == {}


def test_one_that_does_not_exist_is_found() -> None:
    assert (unknown("weft netwrok ls"), unknown("weft network ls --colour red")) == ("netwrok", "--colour")
