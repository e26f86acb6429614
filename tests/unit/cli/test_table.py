from __future__ import annotations

import json
import logging

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from weft.agent import logs
from weft.base.errors import NotFound
from weft.cli.output import Format, complain, show
from weft.cli.table import UNBOUNDED, Page, Styled, fold

words = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=30)
texts = st.lists(words, max_size=8).map(" ".join)
rows = st.lists(st.tuples(texts, texts, texts), max_size=5)


@given(texts, st.integers(5, 60))
def test_folding_loses_nothing_and_fits(text: str, width: int) -> None:
    lines = fold(text, width)
    assert all(len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(rows, st.integers(40, 120))
def test_a_table_fits_and_loses_nothing(table: list[tuple[str, str, str]], width: int) -> None:
    lines = list(Page(width, colour=False).table(("A", "B", "C"), table))
    assert all(len(line) <= width for line in lines)
    shown = sorted("".join(lines[1:]).replace(" ", ""))
    assert shown == sorted("".join("".join(row) for row in table).replace(" ", ""))


@given(rows)
def test_colour_does_not_move_columns(table: list[tuple[str, str, str]]) -> None:
    coloured = [[Styled(cell, "bad") for cell in row] for row in table]
    plain = list(Page(60, colour=False).table(("A", "B", "C"), table))
    painted = list(Page(60, colour=True).table(("A", "B", "C"), coloured))
    assert [line.replace("\x1b[31m", "").replace("\x1b[1m", "").replace("\x1b[0m", "") for line in painted] == plain


def test_columns_stand_under_their_heads() -> None:
    assert list(Page(80, colour=False).table(("NODE", "MTU"), [("n", "1500"), ("node-22", "9")])) == [
        "NODE     MTU",
        "n        1500",
        "node-22  9",
    ]


def test_no_rows_still_show_the_heads() -> None:
    assert list(Page(80, colour=False).table(("NODE", "MTU"), [])) == ["NODE  MTU"]


def test_addresses_are_broken_last() -> None:
    row = ("a-network-with-a-long-name-of-fifty-characters-or-so", "fd00:40:15:2b::2/64")
    lines = list(Page(40, colour=False).table(("NETWORK", "ADDRESSES"), [row], whole=["ADDRESSES"]))
    assert any("fd00:40:15:2b::2/64" in line for line in lines)
    assert max(map(len, lines)) <= 40


def test_words_break_at_signs() -> None:
    assert fold("database-of-the-payments", 12) == ["database-of-", "the-payments"]
    assert fold("abcdefghijklmn", 6) == ["abcdef", "ghijkl", "mn"]


def test_pairs_leave_out_what_is_empty() -> None:
    assert list(Page(80, colour=False).pairs([("name", "x"), ("labels", ""), ("mtu", "1500")])) == [
        "name  x",
        "mtu   1500",
    ]


@pytest.mark.parametrize(
    ("terminal", "env", "colour"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),  # no-color.org: "when present and not an empty string"
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colour_only_on_a_terminal_that_wants_it(
    terminal: bool, env: dict[str, str], colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    assert Page.of_stdout().colour is colour


HOSTILE = "web\x1b[2J\x9b1m\u202egnp\r\a"


@given(rows)
def test_in_a_pipe_every_cell_is_in_one_piece(table: list[tuple[str, str, str]]) -> None:
    lines = list(Page(UNBOUNDED, colour=False).table(("A", "B", "C"), table))
    assert len(lines) == len(table) + 1
    assert all(cell in line for line, row in zip(lines[1:], table, strict=True) for cell in row)


@pytest.mark.parametrize("columns", ["40", ""])
def test_without_a_terminal_nothing_is_folded(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    page = Page.of_stdout()
    assert list(page.paragraph("word " * 100)) == ["word " * 100]
    assert not page.colour


def test_what_a_terminal_would_obey_is_escaped() -> None:
    page = Page(80, colour=False)
    lines = [*page.table(("A", "B"), [(HOSTILE, "x")]), *page.pairs([("a", HOSTILE)]), *page.paragraph(HOSTILE)]
    assert all(line.isprintable() for line in lines)
    assert lines[1].startswith(r"web\x1b[2J\x9b1m\u202egnp\r\x07  x")


@pytest.mark.parametrize("form", list(Format))
def test_no_form_of_output_has_control_characters(form: Format, capsys: pytest.CaptureFixture[str]) -> None:
    value = {"label": HOSTILE, "text": "schön \U0001f600"}
    show(value, form, lambda page, shown: page.pairs(shown.items()))
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    if form is not Format.TABLE:
        assert yaml.safe_load(out) == value  # JSON is YAML
    if form is Format.JSON:
        assert json.loads(out) == value and "schön \U0001f600" in out


def test_errors_and_logs_have_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    complain(f"no endpoint {HOSTILE}")
    assert str(NotFound(HOSTILE)).isprintable()
    record = logging.LogRecord("weft.x", logging.WARNING, "", 0, "%s says\n%s", (HOSTILE, "2026 fake line"), None)
    for said in (capsys.readouterr().err.rstrip("\n"), logs._Text().format(record)):
        assert said.isprintable()
