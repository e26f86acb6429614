"""Rows are told again only where they changed, whatever was told before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.agent import rows as module
from weft.agent.rows import Rows

CHANGES = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from("xyz"), st.sampled_from([None, 1, 2])), max_size=30
)


def test_what_changed_is_told_once_however_often_it_changed() -> None:
    rows = Rows()
    rows.put("nodes", "n1", "old")
    rows.put("nodes", "n2", "same")
    told = rows.number
    rows.put("nodes", "n1", "new")
    rows.put("nodes", "n1", "newer")
    rows.put("nodes", "n2", "same")
    assert rows.since(told) == {"nodes": {"n1": "newer"}}
    assert rows.since(rows.number) == {}


def test_a_table_is_replaced() -> None:
    rows = Rows()
    rows.replace("nodes", {"n1": 1, "n2": 2})
    rows.put("links", "n1", 7)
    told = rows.number
    rows.replace("nodes", {"n2": 2, "n3": 3})
    assert rows.since(told) == {"nodes": {"n1": None, "n3": 3}}
    assert rows.all() == {"nodes": {"n2": 2, "n3": 3}, "links": {"n1": 7}}


def test_what_went_long_ago_cannot_be_told_any_more(monkeypatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    rows = Rows()
    rows.replace("nodes", dict.fromkeys("abc", 1))
    told = rows.number
    for name in "abc":
        rows.put("nodes", name, None)
    assert rows.since(told) is None
    assert rows.since(told + 1) == {"nodes": {"b": None, "c": None}}
    assert rows.since(rows.number + 1) is None  # of another agent's numbers


@given(CHANGES, CHANGES)
def test_whoever_takes_over_what_he_is_told_has_what_there_is(before, after) -> None:
    rows = Rows()
    for change in before:
        rows.put(*change)
    mine, told = rows.all(), rows.number
    for change in after:
        rows.put(*change)
    for table, changed in (rows.since(told) or {}).items():
        mine.setdefault(table, {}).update(changed)
    kept = {table: {key: value for key, value in found.items() if value is not None} for table, found in mine.items()}
    assert {table: found for table, found in kept.items() if found} == rows.all()
