"""Whatever changes, in whatever order: the table of names says what one made anew of the end would say."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.agent.name_table import NameTable
from weft.base.net import parse_address
from weft.cluster.view import View
from weft.model import Location, encode, keys, records
from weft.services.model import Condition, Health, Service
from weft.services.record import CONDITION, CONDITIONS, SERVICE
from weft.store.protocol import Change

NET = "blue"
NAMES = ("web", "db", "front", "tasks.web", "tasks.db", "nobody")
ids, labels = st.sampled_from(["c1", "c2"]), st.dictionaries(st.just("app"), st.sampled_from(["web", "db"]))

location = st.builds(
    lambda number, name, aliases, labels: Location(
        node="a",
        mac="02:42:0a:01:00:02",
        addresses=(parse_address(f"10.0.0.{number}"),),
        name=name,
        labels=labels,
        aliases=tuple(aliases),
    ),
    st.integers(1, 3),
    st.sampled_from(["web", "db"]),
    st.lists(st.sampled_from(["front", "db"]), unique=True, max_size=2),
    labels,
)
service = st.builds(
    lambda name, by_label, health: Service(
        name=name,
        network=NET,
        select=f"app={name}" if by_label else "",
        members=() if by_label else ("web",),
        health=Health(kind="tcp") if health else None,
    ),
    st.sampled_from(["web", "db"]),
    st.booleans(),
    st.booleans(),
)
condition = st.builds(lambda ready: Condition(node="a", ready=ready, since=0.0), st.booleans())
steps = st.one_of(
    st.tuples(ids.map(lambda id: keys.location(NET, id)), st.none() | location),
    service.map(lambda found: (SERVICE.key(NET, found.name), found)),
    st.tuples(st.sampled_from(["web", "db"]).map(lambda name: SERVICE.key(NET, name)), st.none()),
    st.tuples(
        st.tuples(st.sampled_from(["web", "db"]), ids).map(lambda at: CONDITION.key(NET, *at)), st.none() | condition
    ),
    st.just(("close", None)),
)


def said(table: NameTable) -> dict[object, object]:
    """Of containers of one name the order is nobody's matter."""
    found = {name: table.names.find((NET,), name) for name in NAMES}
    pointers = {n: table.names.has((NET,), parse_address(f"10.0.0.{n}")) is not None for n in (1, 2, 3)}
    return {
        **{name: (f.name, f.service, sorted(map(repr, f.locations))) if f else None for name, f in found.items()},
        **pointers,
    }


@given(st.lists(steps, min_size=8, max_size=16))
@settings(max_examples=200, deadline=None)
def test_the_same_as_made_anew(some: list[tuple[str, Any]]) -> None:
    view, numbers = View("a"), count(1)
    table = NameTable(view)
    for key, value in some:
        if key != "close":
            view.apply([Change(key, None if value is None else encode(value), next(numbers))])
            continue
        for kind in (records.LOCATIONS, CONDITIONS):  # nobody needs them for a while
            view.close(kind, NET)
            view.open(kind, NET)
    assert said(table) == said(NameTable(view))
