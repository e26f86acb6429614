"""Lines of the log: events have names that stay."""

from __future__ import annotations

import ast
import json
import logging
from pathlib import Path

import pytest

from weft.agent.logs import set_up
from weft.base import events

SOURCES = Path(__file__).parents[3] / "src/weft"


@pytest.fixture(autouse=True)
def _as_before() -> object:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_event_is_named(capsys: pytest.CaptureFixture[str], form: str) -> None:
    set_up(form, "info")
    log = logging.getLogger("weft.agent.agent")
    log.warning("store lost: %s", "no answer", extra=events.STORE_LOST)
    log.info("something else")
    first, second = capsys.readouterr().err.splitlines()
    if form == "text":
        assert first.endswith(" warning agent.agent: [store-lost] store lost: no answer")
        assert second.endswith(" info    agent.agent: something else")
    else:
        told, other = json.loads(first), json.loads(second)
        assert (told["event"], told["message"]) == ("store-lost", "store lost: no answer")
        assert "event" not in other


def test_each_event_that_is_declared_is_told_of_somewhere() -> None:
    used = {
        node.attr
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "events"
    }
    declared = {name for name, value in vars(events).items() if name.isupper() and name != "EVENTS"}
    assert declared - used == set()
    assert {getattr(events, name)["event"] for name in declared} == set(events.EVENTS)
