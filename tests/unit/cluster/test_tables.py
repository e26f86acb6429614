"""Records are found by whatever their declaration names, as long as they say it."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from weft.cluster.changes import Changed
from weft.cluster.tables import Table
from weft.model.record import Pattern, Record


class At(NamedTuple):
    place: str
    name: str


class Thing(NamedTuple):
    colour: str
    signs: tuple[str, ...]


THINGS = Record(
    "things",
    Pattern("things/{place}/{name}", At),
    lambda _, value: Thing(value.decode(), ()),
    by=(("place", "name"), ("colour", "place", "name"), ("signs", "place", "name")),
)
some = st.sampled_from("abc")
things = st.none() | st.builds(Thing, some, st.lists(some, unique=True).map(tuple))


@given(st.lists(st.tuples(st.builds(At, some, some), things)))
def test_each_index_is_as_if_it_were_made_anew(puts: list[tuple[At, Thing | None]]) -> None:
    table, there = Table(THINGS), dict[At, Thing]()
    for at, thing in puts:
        before = there.pop(at, None)
        if thing is not None:
            there[at] = thing
        assert table.put(at, thing) == (before != thing)
        assert table.get(at) == thing
    by_colour: dict[str, dict[str, dict[str, Thing]]] = {}
    by_sign: dict[str, dict[str, dict[str, Thing]]] = {}
    for at, thing in there.items():
        by_colour.setdefault(thing.colour, {}).setdefault(at.place, {})[at.name] = thing
        for sign in thing.signs:
            by_sign.setdefault(sign, {}).setdefault(at.place, {})[at.name] = thing
    assert {
        At(place, name): t for place, found in table.by("place", "name").items() for name, t in found.items()
    } == there
    assert table.by("colour", "place", "name") == by_colour
    assert table.by("signs", "place", "name") == by_sign


def test_where_two_have_one_name_the_last_is_found_and_stays_when_the_first_goes() -> None:
    twice = Record("things", THINGS.pattern, THINGS.read, by=(("place", "name"), ("colour",)))
    table = Table(twice)
    first, last = Thing("red", ()), Thing("red", ("x",))
    table.put(At("a", "1"), first)
    table.put(At("a", "2"), last)
    assert table.by("colour") == {"red": last}
    table.put(At("a", "1"), None)
    assert table.by("colour") == {"red": last}
    table.put(At("a", "2"), None)
    assert table.by("colour") == {}


def test_what_changed_is_told_with_what_it_was_before() -> None:
    """The oldest, where several changes are told as one."""
    first, second, one, two, red = Changed(), Changed(), At("a", "b"), At("a", "c"), Thing("red", ())
    first.note(THINGS, one, None)
    second.note(THINGS, one, red)
    second.note(THINGS, two, red)
    second.note(THINGS, one, None)
    assert second.before(THINGS) == {one: red, two: red}
    first.update(second)
    assert first.before(THINGS) == {one: None, two: red} and first.of(THINGS) == {one, two}
