"""What every store does (weft.store.protocol), each of it with each store."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar, cast

import pytest

from support.store_worker import PAUSE, spawn
from support.stores import Backend
from weft.base.errors import Invalid, NotFound, Unavailable
from weft.store.follow import Changes, Event, Lost, Synced, follow
from weft.store.protocol import (
    Absent,
    Batch,
    Change,
    Compacted,
    Delete,
    DeletePrefix,
    Guard,
    Item,
    Listing,
    NothingNewer,
    Op,
    Put,
    Store,
    Unchanged,
)

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds until a test gives up waiting."""


async def soon(what: Awaitable[T]) -> T:
    async with asyncio.timeout(PATIENCE):
        return await what


async def only(tasks: set[asyncio.Task[Any]]) -> None:
    """Fails unless all tasks but these end by themselves (gRPC needs a moment for a cancelled call's status)."""
    more = asyncio.all_tasks() - tasks
    if more:
        _, left = await asyncio.wait(more, timeout=2)
        assert left == set()


async def write(store: Store, *ops: Op, guards: tuple[Guard, ...] = ()) -> int:
    revision = await store.commit(guards, ops)
    assert revision is not None
    return revision


def watching(store: Store, prefix: str, revision: int) -> aclosing[AsyncGenerator[Batch, None]]:
    return aclosing(cast("AsyncGenerator[Batch, None]", store.watch(prefix, revision)))


async def collect(store: Store, prefix: str, since: int, until: int) -> list[Change]:
    """The changes under `prefix` after `since`, up to `until`, which must be among them."""
    changes: list[Change] = []
    async with watching(store, prefix, since) as batches:
        while not changes or changes[-1].revision < until:
            batch = await soon(anext(batches))
            assert batch.revision == batch.changes[-1].revision
            changes += batch.changes
    return changes


class TestReadAndWrite:
    async def test_a_missing_key_is_none(self, store: Store) -> None:
        assert await store.get("a") is None

    async def test_what_is_put_is_got(self, store: Store, other: Store) -> None:
        revision = await write(store, Put("nodes/a", b"\0\xff"))
        assert await store.get("nodes/a") == Item("nodes/a", b"\0\xff", revision)
        assert await other.get("nodes/a") == Item("nodes/a", b"\0\xff", revision)
        assert await store.get("nodes/") is None

    async def test_listing_is_by_prefix_and_in_key_order(self, store: Store) -> None:
        names = ["n/b", "n/a/1", "n/a-1", "n/ä", "n/\U0001f9f5", "n", "na", "m/z", "o"]
        revision = await write(store, *(Put(name, name.encode()) for name in names))
        expected = sorted((name for name in names if name.startswith("n/")), key=str.encode)
        assert await store.list("n/") == Listing(
            revision, tuple(Item(name, name.encode(), revision) for name in expected)
        )
        assert len((await store.list("")).items) == len(names)
        assert (await store.list("x")).items == ()

    async def test_revisions_rise_and_items_keep_their_own(self, store: Store) -> None:
        first = await write(store, Put("a", b"1"), Put("b", b"1"))
        second = await write(store, Put("b", b"2"))
        assert second > first
        assert await store.list("") == Listing(second, (Item("a", b"1", first), Item("b", b"2", second)))

    async def test_a_transaction_that_changes_nothing_has_no_revision_of_its_own(self, store: Store) -> None:
        revision = await write(store, Put("a", b"1"))
        assert await write(store) == revision
        assert await write(store, Delete("b"), DeletePrefix("c/")) == revision

    async def test_delete(self, store: Store) -> None:
        await write(store, Put("a", b"1"), Put("b", b"1"))
        revision = await write(store, Delete("a"))
        listing = await store.list("")
        assert (listing.revision, [item.key for item in listing.items]) == (revision, ["b"])

    async def test_delete_prefix(self, store: Store) -> None:
        await write(store, *(Put(key, b"") for key in ("n", "n/a", "n/b/c", "n0", "m/a")))
        await write(store, DeletePrefix("n/"), Put("m/b", b""))
        assert [item.key for item in (await store.list("")).items] == ["m/a", "m/b", "n", "n0"]

    async def test_everything_of_a_transaction_or_nothing(self, store: Store) -> None:
        await write(store, Put("a", b"1"))
        assert await store.commit([Absent("b"), Absent("a")], [Put("b", b"1"), Delete("a")]) is None
        assert [item.key for item in (await store.list("")).items] == ["a"]

    async def test_a_transaction_of_the_largest_size(self, store: Store) -> None:
        guards = [Absent(f"k/{number}") for number in range(128)]
        await write(store, *(Put(f"k/{number}", b"") for number in range(128)), guards=tuple(guards))
        assert len((await store.list("k/")).items) == 128

    @pytest.mark.parametrize(
        ("ops", "message"),
        [
            ([Put(f"k/{number}", b"") for number in range(129)], "129 operations"),
            ([Put("a", b""), Delete("a")], "two operations on key 'a'"),
            ([Put("a/b", b""), DeletePrefix("a/")], "'a/b' lies under 'a/'"),
            ([DeletePrefix("a/"), DeletePrefix("a/b/")], "'a/b/' lies under 'a/'"),
            ([Put("", b"")], "'' is not a key"),
            ([Put("a\nb", b"")], "is not a key"),
            ([Put("a\udc80", b"")], "is not a key"),
        ],
    )
    async def test_bad_transactions_are_refused_in_words(self, store: Store, ops: list[Op], message: str) -> None:
        with pytest.raises(Invalid, match=message):
            await store.commit([], ops)
        assert (await store.list("")).items == ()


class TestGuards:
    async def test_absent(self, store: Store) -> None:
        assert await store.commit([Absent("a")], [Put("a", b"1")]) is not None
        assert await store.commit([Absent("a")], [Put("a", b"2")]) is None
        await write(store, Delete("a"))
        assert await store.commit([Absent("a")], [Put("a", b"3")]) is not None

    async def test_unchanged(self, store: Store) -> None:
        first = await write(store, Put("a", b"1"))
        second = await write(store, Put("a", b"2"), guards=(Unchanged("a", first),))
        assert await store.commit([Unchanged("a", first)], [Put("a", b"3")]) is None
        assert await store.get("a") == Item("a", b"2", second)

    async def test_unchanged_needs_the_key(self, store: Store) -> None:
        revision = await write(store, Put("a", b"1"))
        await write(store, Delete("a"))
        for at in (revision, 0):
            assert await store.commit([Unchanged("a", at)], [Put("a", b"2")]) is None

    async def test_nothing_newer(self, store: Store) -> None:
        first = await write(store, Put("n/a", b"1"), Put("n/b", b"1"))
        second = await write(store, Put("m", b""), Put("n0", b""), guards=(NothingNewer("n/", first),))
        third = await write(store, Put("n/b", b"2"), guards=(NothingNewer("n/", second),))
        assert await store.commit([NothingNewer("n/", second)], [Put("n/c", b"")]) is None
        assert await store.commit([NothingNewer("n/", third)], [Put("n/c", b"")]) is not None

    @pytest.mark.parametrize("revision", [0, 1, 1_000_000])
    async def test_nothing_newer_holds_where_there_is_nothing(self, store: Store, revision: int) -> None:
        await write(store, Put("m", b""), Put("o", b""))
        assert await store.commit([NothingNewer("n/", revision)], [Put("n/a", b"")]) is not None

    async def test_nothing_newer_does_not_count_a_deletion(self, store: Store) -> None:
        first = await write(store, Put("n/a", b""), Put("n/b", b""))
        await write(store, Delete("n/a"))
        assert await store.commit([NothingNewer("n/", first)], [Put("x", b"")]) is not None
        await write(store, Delete("n/b"))
        assert await store.commit([NothingNewer("n/", first)], [Put("x", b"")]) is not None

    async def test_racing_processes_lose_no_update(self, backend: Backend, store: Store) -> None:
        times = 100
        start = (await store.list("")).revision
        workers = [await spawn(backend.url, "count", "number", times) for _ in range(2)]
        ready: set[str] = set()
        async with watching(store, "ready/", start) as batches:
            while len(ready) < len(workers):
                ready |= {change.key for change in (await soon(anext(batches))).changes}
        await write(store, Put("number", b"0"))
        assert [await soon(worker.wait()) for worker in workers] == [0, 0]
        item = await store.get("number")
        assert item is not None
        assert int(item.value) == 2 * times

    async def test_racing_instances_lose_no_update(self, store: Store, other: Store) -> None:
        won = await asyncio.gather(
            *(side.commit([Absent(f"k/{n}")], [Put(f"k/{n}", b"")]) for n in range(50) for side in (store, other))
        )
        assert sum(revision is not None for revision in won) == 50


class TestWatch:
    async def test_from_the_past(self, store: Store) -> None:
        start = await write(store, Put("n/a", b"0"))
        first = await write(store, Put("n/a", b"1"), Put("m", b""), Delete("n/none"))
        await write(store, Put("m", b"2"))
        last = await write(store, Delete("n/a"), Put("n/b", b"3"))
        changes = await collect(store, "n/", start, last)
        assert changes[0] == Change("n/a", b"1", first)
        assert sorted(changes[1:], key=lambda change: change.key) == [
            Change("n/a", None, last),
            Change("n/b", b"3", last),
        ]

    async def test_what_another_does_later(self, store: Store, other: Store) -> None:
        start = (await store.list("n/")).revision
        watcher = asyncio.create_task(collect(store, "n/", start, start + 3))
        revisions = [await write(other, Put(f"n/{number}", b"")) for number in range(3)]
        changes = await soon(watcher)
        assert [(change.key, change.revision) for change in changes] == [
            (f"n/{number}", revision) for number, revision in enumerate(revisions)
        ]

    async def test_delete_prefix_tells_every_key(self, store: Store) -> None:
        start = await write(store, Put("n/a", b""), Put("n/b", b""), Put("m", b""))
        last = await write(store, DeletePrefix("n/"))
        changes = await collect(store, "", start, last)
        assert sorted(change.key for change in changes if change.value is None) == ["n/a", "n/b"]

    async def test_forgotten_changes_are_said_to_be(self, backend: Backend, store: Store) -> None:
        start = await write(store, Put("n/a", b""))
        await backend.forget(store)
        with pytest.raises(Compacted):
            await collect(store, "n/", start, start + 1)
        now = (await store.list("n/")).revision
        last = await write(store, Put("n/b", b""))
        assert [change.key for change in await collect(store, "n/", now, last)] == ["n/b"]

    async def test_forgetting_does_not_disturb_who_is_up_to_date(self, backend: Backend, store: Store) -> None:
        start = await write(store, Put("n/a", b""))
        async with watching(store, "n/", start) as batches:
            await write(store, Put("n/a", b"the watch has begun when this is seen"))
            await soon(anext(batches))
            following = asyncio.create_task(anext(batches))
            await backend.forget(store)
            await write(store, Put("n/b", b""))
            assert [change.key for change in (await soon(following)).changes] == ["n/b"]

    async def test_closing_a_watch_leaves_nothing(self, store: Store) -> None:
        start = await write(store, Put("a", b""))
        before = asyncio.all_tasks()
        async with watching(store, "", start) as batches:
            waiting = asyncio.create_task(anext(batches))
            await write(store)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await only(before)

    async def test_closing_the_store_leaves_no_task(self, backend: Backend) -> None:
        before = asyncio.all_tasks()
        store = backend.open()
        await store.grant(7, 60)
        async with watching(store, "", await write(store, Put("a", b"", lease=7)) - 1) as batches:
            await soon(anext(batches))
        await store.revoke(7)
        await store.close()
        await only(before)

    async def test_closing_the_store_ends_its_watches(self, store: Store) -> None:
        start = await write(store, Put("a", b""))
        watcher = asyncio.create_task(collect(store, "", start, start + 1))
        await write(store)  # the watch has begun
        await store.close()
        with pytest.raises(Unavailable):
            await soon(watcher)
        with pytest.raises(Unavailable):
            await store.get("a")

    @pytest.mark.parametrize("turns", range(12))
    async def test_closing_the_store_ends_watches_that_are_about_to_begin(self, store: Store, turns: int) -> None:
        """`turns`: of the event loop, that the watch has had."""
        start = await write(store, Put("a", b""))
        watcher = asyncio.create_task(collect(store, "", start, start + 1))
        for _ in range(turns):
            await asyncio.sleep(0)
        await store.close()
        with pytest.raises(Unavailable):
            await soon(watcher)

    async def test_delay_between_processes(
        self, backend: Backend, store: Store, record_property: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """From before the commit in one process to the change in another; the figure is printed."""
        start = (await store.list("n/")).revision
        delays: list[float] = []
        worker = await spawn(backend.url, "put", "n/time", 20)
        async with watching(store, "n/", start) as batches:
            while len(delays) < 20:
                batch = await soon(anext(batches))
                delays += [time.monotonic() - float(change.value or b"nan") for change in batch.changes]
        assert await soon(worker.wait()) == 0
        median = statistics.median(delays)
        record_property("watch_delay_ms", median * 1000)
        with capsys.disabled():
            print(f"\n[{backend.url.split(':')[0]}] watch delay, median of {len(delays)}: {median * 1000:.2f} ms")  # noqa: T201
        assert median < 10 * PAUSE


class TestLeases:
    async def test_a_key_goes_with_its_lease_and_watchers_see_it(self, store: Store, other: Store) -> None:
        await store.grant(7, 1)
        start = await write(store, Put("p/a", b"", lease=7), Put("p/b", b""))
        async with watching(other, "p/", start) as batches:
            batch = await soon(anext(batches))
        assert [(change.key, change.value) for change in batch.changes] == [("p/a", None)]
        assert batch.revision > start
        assert [item.key for item in (await other.list("p/")).items] == ["p/b"]

    async def test_keeping_alive_keeps_the_key(self, store: Store) -> None:
        await store.grant(7, 2)
        await write(store, Put("p/a", b"", lease=7))
        until = time.monotonic() + 3.5
        while time.monotonic() < until:
            await store.grant(7, 2)
            assert await store.get("p/a") is not None
            await asyncio.sleep(0.2)

    async def test_revoke(self, store: Store) -> None:
        await store.grant(7, 60)
        start = await write(store, Put("p/a", b"", lease=7))
        await store.revoke(7)
        changes = await collect(store, "", start, start + 1)
        assert [(change.key, change.value) for change in changes] == [("p/a", None)]
        await store.revoke(7)
        await store.revoke(8)

    async def test_a_put_without_the_lease_frees_the_key(self, store: Store) -> None:
        await store.grant(7, 60)
        await write(store, Put("p/a", b"", lease=7))
        await write(store, Put("p/a", b"mine"))
        await store.revoke(7)
        assert await store.get("p/a") is not None

    async def test_there_is_no_put_on_a_lease_that_is_over(self, store: Store) -> None:
        await store.grant(7, 60)
        await store.revoke(7)
        with pytest.raises(NotFound, match="grant it again"):
            await store.commit([], [Put("p/a", b"", lease=7)])
        await store.grant(7, 60)
        await write(store, Put("p/a", b"", lease=7))
        await store.revoke(7)

    @pytest.mark.parametrize(("lease", "ttl"), [(0, 5), (-1, 5), (1 << 63, 5), (7, 0), (7, -1)])
    async def test_bad_leases(self, store: Store, lease: int, ttl: float) -> None:
        with pytest.raises(Invalid):
            await store.grant(lease, ttl)


class ForgetsOnce:
    """The store, which forgets all changes right after the first listing."""

    def __init__(self, backend: Backend, store: Store) -> None:
        self._backend, self._store, self._forgot = backend, store, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def list(self, prefix: str) -> Listing:
        listing = await self._store.list(prefix)
        if not self._forgot:
            self._forgot = True
            await self._store.commit([], [Put("n/late", b"")])
            await self._backend.forget(self._store)
        return listing


class TestFollow:
    async def test_synced_then_changes(self, store: Store, other: Store) -> None:
        await write(store, Put("m/a", b""), Put("n/a", b""), Put("o/a", b""))
        async with aclosing(follow(store, "n/", "m/")) as events:
            first = await soon(anext(events))
            assert isinstance(first, Synced)
            assert (first.prefixes, [item.key for item in first.items]) == (("n/", "m/"), ["n/a", "m/a"])
            for key in ("n/b", "o/b", "m/b"):
                await write(other, Put(key, b""))
                if not key.startswith("o/"):
                    event = await soon(anext(events))
                    assert isinstance(event, Changes)
                    assert event.prefix == key[:2]
                    assert [change.key for change in event.batch.changes] == [key]

    async def test_lists_again_when_changes_were_forgotten(self, backend: Backend, store: Store) -> None:
        await write(store, Put("n/a", b""))
        async with aclosing(follow(cast("Store", ForgetsOnce(backend, store)), "n/")) as events:
            keys = [await self._synced(events) for _ in range(2)]
        assert keys == [["n/a"], ["n/a", "n/late"]]

    async def test_lost_and_back(self, backend: Backend, store: Store) -> None:
        await write(store, Put("n/a", b""))
        async with aclosing(follow(store, "n/", "m/")) as events:
            assert await self._synced(events) == ["n/a"]
            backend.lose()
            event = await soon(anext(events))
            assert isinstance(event, Lost)
            assert "\n" not in event.reason
            with pytest.raises(Unavailable):
                await store.get("n/a")
            following = asyncio.create_task(anext(events))
            await asyncio.sleep(0.5)  # it has tried again, and says nothing more
            assert not following.done()
            backend.restore()
            event = await soon(following)
            assert isinstance(event, Synced)
            await write(store, Put("m/b", b""))
            event = await soon(anext(events))
            assert isinstance(event, Changes)
            assert event.prefix == "m/"

    async def test_ended_at_any_point_it_leaves_no_task(self, store: Store) -> None:
        await write(store, Put("n/a", b""))
        before = asyncio.all_tasks()
        for steps in (1, 2):
            events = follow(store, "n/", "m/")
            await soon(anext(events))
            if steps == 2:
                await write(store, Put("n/a", b""))
                await soon(anext(events))
            await events.aclose()
            await only(before)
        events = follow(store, "n/", "m/")
        await soon(anext(events))
        waiting = asyncio.create_task(anext(events))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await only(before)

    async def _synced(self, events: AsyncGenerator[Event, None]) -> list[str]:
        event = await soon(anext(events))
        assert isinstance(event, Synced)
        return [item.key for item in event.items]


# History does not change.


async def test_what_was_written_once_is_known_for_ever(store: Store) -> None:
    first = await store.commit([], [Put("a", b"1"), Put("b", b"1")])
    second = await store.commit([], [Put("a", b"2"), Delete("b")])
    assert first and second
    assert [await store.wrote("a", r) for r in (first, second)] == [True, True]
    assert [await store.wrote("b", r) for r in (first, second)] == [True, False]
    assert await store.wrote("c", first) is False
    assert await store.wrote("a", second + 1000) is False, "it has not come so far"


async def test_what_it_has_forgotten_it_does_not_deny(store: Store, backend: Backend) -> None:
    kept = await store.commit([], [Put("kept", b"1")])
    first = await store.commit([], [Put("a", b"1")])
    assert kept and first
    await store.commit([], [Put("a", b"2")])
    await backend.forget(store)
    assert await store.wrote("a", first) is None
    assert await store.wrote("kept", kept) is True, "it is there as it was written"
