"""The union of what sources ask for: shared wishes, conflicts, and a choice that does not depend on time."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.hoststate import Contribution, NftSet, Object, Union, route
from weft.hoststate.union import Conflict, Source, union

PREFIX = "10.2.0.0/24"
EAST = route(PREFIX, via="192.168.1.2", dev="eth0")
WEST = route(PREFIX, via="192.168.1.3", dev="eth0")
SET = NftSet(name="subnets", type=("ipv4_addr",))
A, B, C = Source("lease", "a"), Source("lease", "b"), Source("lease", "c")


def wants(*objects: Object) -> Contribution:
    return Contribution(objects)


def test_names_the_keys_that_changed() -> None:
    whole = Union()
    assert whole.set(A, wants(EAST, SET)) == {EAST.key, SET.key}
    assert whole.set(A, wants(EAST, SET)) == set()
    assert whole.set(A, wants(WEST, SET)) == {WEST.key}
    assert whole.set(A, None) == {WEST.key, SET.key}
    assert whole.desired == {} and not whole.sources


def test_a_shared_wish_stays_until_the_last_one_lets_go() -> None:
    whole = union([(A, wants(SET)), (B, wants(SET))])
    assert whole.set(A, None) == set()
    assert whole.desired == {SET.key: SET}
    assert not whole.conflicts()
    assert whole.set(B, wants()) == {SET.key}
    assert whole.desired == {}


@pytest.mark.parametrize("order", [*permutations([(A, wants(EAST)), (B, wants(WEST)), (C, wants(EAST))])])
def test_the_first_in_order_of_names_has_it_whatever_came_first(
    order: tuple[tuple[tuple[str, ...], Contribution], ...],
) -> None:
    whole = union(order)
    assert whole.desired == {EAST.key: EAST}
    assert whole.conflicts() == [Conflict(EAST.key, B, A)]


def test_a_conflict_ends_with_the_one_who_had_it() -> None:
    whole = union([(A, wants(EAST)), (B, wants(WEST))])
    assert whole.set(A, None) == {EAST.key}
    assert whole.desired == {WEST.key: WEST}
    assert whole.conflicts() == []


def test_who_loses_changes_nothing_by_giving_up() -> None:
    whole = union([(A, wants(EAST)), (B, wants(WEST))])
    assert whole.set(B, None) == set()
    assert whole.desired == {EAST.key: EAST}


def test_removing_an_unknown_source_is_harmless() -> None:
    assert Union().set(A, None) == set()


@pytest.mark.parametrize("order", [*permutations([(A, 2, WEST), (B, 0, EAST), (C, 1, WEST)])])
def test_who_stands_behind_others_waits_and_that_is_no_conflict(
    order: tuple[tuple[tuple[str, ...], int, Object], ...],
) -> None:
    whole = union((source, Contribution((obj,), rank=rank)) for source, rank, obj in order)
    assert whole.desired == {EAST.key: EAST} and whole.conflicts() == []
    assert whole.set(B, None) == {EAST.key}
    assert whole.desired == {WEST.key: WEST} and whole.conflicts() == []


def test_what_thousands_want_alike_is_no_work_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every endpoint wants the network's chains: neither another one nor the search for conflicts looks at all of them."""
    looked: list[object] = []
    monkeypatch.setattr(Union, "_first", lambda _, key: looked.append(key))
    whole = union((Source("endpoint", str(n)), wants(SET, route(f"10.2.{n}.0/24", dev="eth0"))) for n in range(200))
    assert whole.conflicts() == [] and not looked
    for n in range(200):
        whole.set(Source("endpoint", str(n)), None)
    assert not looked and not whole.desired and not whole._wishes and not whole._kinds and not whole._contested


OBJECTS = (EAST, WEST, SET, NftSet(name="subnets", type=("ipv6_addr",)))
contributions = st.none() | st.lists(st.sampled_from(OBJECTS), max_size=3, unique_by=lambda o: o.key).map(
    lambda some: wants(*some)
)


@settings(deadline=None)  # a busy machine may stop for half a second
@given(st.lists(st.tuples(st.sampled_from([A, B, C]), contributions), max_size=20))
def test_however_it_came_about_it_is_the_union_of_what_is_there(
    course: list[tuple[tuple[str, ...], Contribution | None]],
) -> None:
    grown, last = Union(), dict(course)
    for source, contribution in course:
        before = dict(grown.desired)
        changed = grown.set(source, contribution)
        assert changed == {k for k in before.keys() | grown.desired.keys() if before.get(k) != grown.desired.get(k)}
    fresh = union((source, last[source]) for source in sorted(last) if last[source] is not None)  # type: ignore[misc]
    assert grown.desired == fresh.desired
    assert sorted(grown.conflicts()) == sorted(fresh.conflicts())
