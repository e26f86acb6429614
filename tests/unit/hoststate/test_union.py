"""The union of what sources ask for: shared wishes, conflicts, and a choice that does not depend on time."""

from __future__ import annotations

from itertools import permutations

import pytest

from weft.hoststate import Contribution, NftSet, Object, Union, route
from weft.hoststate.union import union

PREFIX = "10.2.0.0/24"
EAST = route(PREFIX, via="192.168.1.2", dev="eth0")
WEST = route(PREFIX, via="192.168.1.3", dev="eth0")
SET = NftSet(name="subnets", type="ipv4_addr")
A, B, C = ("lease", "a"), ("lease", "b"), ("lease", "c")


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
    assert whole.conflicts() == [f"route {PREFIX}: lease b wants it otherwise than lease a"]


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
