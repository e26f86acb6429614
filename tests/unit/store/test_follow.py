"""The follower's own rules, with a store that fails on demand. With real stores: test_contract.TestFollow."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

import pytest

from weft.base.errors import Conflict, Denied, Failed, Unavailable, WeftError
from weft.store.follow import Event, Lost, Synced, follow
from weft.store.protocol import Batch, Compacted, Listing, Store
from weft.tasks import backoff


class Script:
    """`lists` and `watches`: what the next calls do; a list that is good has revision 5."""

    def __init__(self, lists: Sequence[WeftError | None], watches: Sequence[WeftError]) -> None:
        self.lists, self.watches = iter(lists), iter(watches)
        self.slept: list[float] = []

    async def list(self, prefix: str) -> Listing:
        if error := next(self.lists):
            raise error
        return Listing(5, ())

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        assert revision == 5
        if revision:
            raise next(self.watches)
        yield Batch(0, ())

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def follow(self) -> aclosing[AsyncGenerator[Event, None]]:
        delays = lambda: itertools.count(1.0)  # noqa: E731
        return aclosing(follow(cast("Store", self), "n/", delays=delays, sleep=self.sleep))


async def test_lost_is_said_once_and_tried_later_and_later() -> None:
    script = Script([Unavailable("a"), Failed("b"), Denied("c"), None, None], [Unavailable("d"), Unavailable("e")])
    async with script.follow() as events:
        seen = [await anext(events) for _ in range(4)]
    assert [type(event) for event in seen] == [Lost, Synced, Lost, Synced]
    assert [event.reason for event in seen if isinstance(event, Lost)] == ["a", "d"]
    assert script.slept == [1, 2, 3, 4], "a listing alone does not make the next wait short again"


async def test_forgotten_changes_are_no_loss() -> None:
    script = Script([None, None, None], [Compacted("x"), Compacted("y"), Compacted("z")])
    async with script.follow() as events:
        assert [type(await anext(events)) for _ in range(3)] == [Synced] * 3
    assert script.slept == []


async def test_a_mistake_in_the_program_is_not_swallowed() -> None:
    async with Script([None], [cast("Any", Conflict("x"))]).follow() as events:
        await anext(events)
        with pytest.raises(Conflict):
            await anext(events)


def test_backoff_doubles_up_to_its_bound() -> None:
    longest = list(itertools.islice(backoff(chance=lambda: 1.0), 8))
    assert longest == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])
    shortest = list(itertools.islice(backoff(chance=lambda: 0.0), 8))
    assert shortest == pytest.approx([delay / 2 for delay in longest])
