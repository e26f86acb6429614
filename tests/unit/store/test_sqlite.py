from __future__ import annotations

import asyncio
import sqlite3
import statistics
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, closing
from pathlib import Path
from typing import cast

import pytest

from support.store_worker import spawn
from weft.base.errors import Denied, Failed, Invalid, Unavailable, WeftError
from weft.store import sqlite_file
from weft.store.protocol import Batch, Put, Store
from weft.store.sqlite import SqliteStore

Opened = Callable[[Store], Store]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "weft.db"


async def failure(store: Store) -> WeftError:
    with pytest.raises(WeftError) as caught:
        await store.get("a")
    assert "\n" not in str(caught.value)
    return caught.value


def sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


def write(path: Path, offset: int, data: bytes) -> None:
    """Over whatever is there."""
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def move(path: Path, to: Path) -> None:
    """To a name that is free: a database must not have been made there."""
    assert not to.exists()
    path.rename(to)


async def test_files_are_private(path: Path, opened: Opened) -> None:
    await opened(SqliteStore(path)).commit([], [Put("a", b"1")])
    assert path.parent.stat().st_mode & 0o777 == 0o700
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("weft.db", "weft.db-wal", "weft.db-shm", "weft.db-bell"), 0o600)


async def test_what_was_written_is_there_again(path: Path, opened: Opened) -> None:
    first = SqliteStore(path)
    revision = await first.commit([], [Put("a", b"1")])
    await first.close()
    item = await opened(SqliteStore(path)).get("a")
    assert item is not None
    assert (item.value, item.revision) == (b"1", revision)


async def test_many_may_make_it_at_once(path: Path, opened: Opened) -> None:
    stores = [opened(SqliteStore(path)) for _ in range(8)]
    revisions = await asyncio.gather(*(store.commit([], [Put("a", b"")]) for store in stores))
    assert sorted(revision or 0 for revision in revisions) == list(range(1, 9))


class TestBadFiles:
    async def test_not_a_database(self, path: Path, opened: Opened) -> None:
        write(path, 0, b"hello, this is certainly no database\n" * 100)
        error = await failure(opened(SqliteStore(path)))
        assert isinstance(error, Failed)
        assert str(path) in str(error)
        assert "restore it from a copy, or move it away" in str(error)

    async def test_damaged_in_the_middle(self, path: Path, opened: Opened) -> None:
        store = SqliteStore(path)
        for number in range(20):
            await store.commit([], [Put(f"k/{number}", b"x" * 4000)])
        await store.close()
        write(path, 4096, b"\xa5" * 80_000)
        with pytest.raises(Failed, match="restore it from a copy"):
            await opened(SqliteStore(path)).list("")

    async def test_of_a_newer_weft(self, path: Path, opened: Opened) -> None:
        await self._made(path)
        sql(path, "PRAGMA user_version = 99")
        error = await failure(opened(SqliteStore(path)))
        assert isinstance(error, Invalid)
        assert f"'{path}' was written by a newer Weft (its format is 99, this one knows 1)" in str(error)

    async def test_of_another_program(self, path: Path, opened: Opened) -> None:
        path.parent.mkdir()
        sql(path, "CREATE TABLE theirs (x)")
        error = await failure(opened(SqliteStore(path)))
        assert isinstance(error, Invalid)
        assert "another program's SQLite database" in str(error)

    async def test_no_directory_can_be_there(self, tmp_path: Path, opened: Opened) -> None:
        (tmp_path / "file").touch()
        error = await failure(opened(SqliteStore(tmp_path / "file" / "weft.db")))
        assert isinstance(error, Unavailable)
        assert str(tmp_path / "file") in str(error)

    async def test_no_permission(self, path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root may write anything, so the answer to the question is changed."""
        await self._made(path)
        monkeypatch.setattr("weft.store.sqlite_file.os.access", lambda *_: False)
        error = await failure(opened(SqliteStore(path)))
        assert isinstance(error, Denied)
        assert f"store '{path}'" in str(error)

    async def test_locked_for_too_long(self, path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT", 0.05)
        store = opened(SqliteStore(path))
        await store.commit([], [Put("a", b"1")])
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match=r"locked.*fuser"):
                await store.commit([], [Put("a", b"2")])
            assert await store.get("a") is not None, "reading goes on"
        assert await store.commit([], [Put("a", b"2")]) == 2

    async def test_no_room_left(self, path: Path, opened: Opened) -> None:
        store = cast("SqliteStore", opened(SqliteStore(path)))
        await store.commit([], [Put("a", b"1")])
        await store._run(lambda database: database._sql.execute("PRAGMA max_page_count = 1").fetchall())
        with pytest.raises(Unavailable, match="make room"):
            await store.commit([], [Put("a", b"2" * 1_000_000)])
        item = await store.get("a")
        assert item is not None
        assert item.value == b"1"

    async def test_a_removed_file_is_not_made_anew(self, path: Path, opened: Opened) -> None:
        """An empty store would tell every agent to take the network down."""
        store = opened(SqliteStore(path))
        await store.commit([], [Put("a", b"1")])
        move(path, path.with_name("away.db"))
        for _ in range(2):
            error = await failure(store)
            assert isinstance(error, Unavailable)
            assert "moved, removed or replaced" in str(error)
        move(path.with_name("away.db"), path)
        assert await store.get("a") is not None

    async def test_another_file_in_its_place_is_not_taken_for_it(self, path: Path, opened: Opened) -> None:
        store, other = opened(SqliteStore(path)), SqliteStore(path.with_name("other.db"))
        await store.commit([], [Put("a", b"1")])
        await other.commit([], [Put("a", b"other")])
        await other.close()
        async with aclosing(cast("AsyncGenerator[Batch, None]", store.watch("", 1))) as batches:
            waiting = asyncio.create_task(anext(batches))
            move(path, path.with_name("away.db"))
            move(path.with_name("other.db"), path)
            with pytest.raises(Unavailable):
                await asyncio.wait_for(waiting, 5)
        assert isinstance(await failure(store), Unavailable)
        move(path, path.with_name("other.db"))
        move(path.with_name("away.db"), path)
        item = await store.get("a")
        assert item is not None
        assert item.value == b"1"

    async def _made(self, path: Path) -> None:
        store = SqliteStore(path)
        await store.get("a")
        await store.close()


class TestLeases:
    async def test_one_of_another_boot_is_over(self, path: Path, opened: Opened) -> None:
        store = SqliteStore(path)
        await store.grant(7, 3600)
        await store.commit([], [Put("p/a", b"", lease=7), Put("p/b", b"")])
        await store.close()
        sql(path, "UPDATE leases SET boot = 'another'")
        store = cast("SqliteStore", opened(SqliteStore(path)))
        changes = aclosing(store.watch("p/", 1))
        async with asyncio.timeout(5), changes as batches:
            batch = await anext(batches)
        assert [(change.key, change.value) for change in batch.changes] == [("p/a", None)]

    async def test_whoever_has_the_store_open_ends_those_of_the_dead(self, path: Path, opened: Opened) -> None:
        dead, alive = SqliteStore(path), cast("SqliteStore", opened(SqliteStore(path)))
        await alive.get("p/a")
        await dead.grant(7, 0.3)
        await dead.commit([], [Put("p/a", b"", lease=7)])
        await dead.close()
        started = time.monotonic()
        async with asyncio.timeout(5), aclosing(alive.watch("p/", 1)) as batches:
            await anext(batches)
        assert time.monotonic() - started < 0.3 + 0.2, "by a timer, not by the slow check"

    async def test_one_that_is_over_is_not_extended(self, path: Path, opened: Opened) -> None:
        store = SqliteStore(path)
        await store.grant(7, 3600)
        await store.commit([], [Put("p/a", b"", lease=7)])
        await store.close()
        sql(path, "UPDATE leases SET expiry = 0")
        store = cast("SqliteStore", opened(SqliteStore(path)))
        await store.grant(7, 3600)
        assert await store.get("p/a") is None


class TestWatch:
    async def test_a_commit_without_a_ring_is_seen_by_the_slow_check(
        self, path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As when the writer dies between the two."""
        monkeypatch.setattr("weft.store.sqlite_db.ring", lambda _: None)
        store, writer = cast("SqliteStore", opened(SqliteStore(path))), opened(SqliteStore(path))
        await store.list("")
        async with asyncio.timeout(5), aclosing(store.watch("", 0)) as batches:
            waiting = asyncio.create_task(anext(batches))
            await writer.commit([], [Put("a", b"")])
            assert [change.key for change in (await waiting).changes] == ["a"]

    async def test_delay_between_processes_is_under_20_ms(
        self, path: Path, opened: Opened, capsys: pytest.CaptureFixture[str]
    ) -> None:
        store = cast("SqliteStore", opened(SqliteStore(path)))
        await store.list("")
        worker = await spawn(f"sqlite://{path}", "put", "time", 20)
        delays: list[float] = []
        async with asyncio.timeout(15), aclosing(store.watch("time", 0)) as batches:
            async for batch in batches:
                delays += [time.monotonic() - float(change.value or b"nan") for change in batch.changes]
                if len(delays) >= 20:
                    break
        assert await worker.wait() == 0
        median = statistics.median(delays) * 1000
        with capsys.disabled():
            print(f"\n[sqlite] watch delay: median {median:.2f} ms, most {max(delays) * 1000:.2f} ms")  # noqa: T201
        assert median < 200, "loosely, for loaded machines; a slow check would be at 500"

    async def test_one_who_knows_the_future_lists_again(self, path: Path, opened: Opened) -> None:
        """The database was put back from a copy: revisions will be used twice."""
        store = cast("SqliteStore", opened(SqliteStore(path)))
        await store.commit([], [Put("a", b"")])
        with pytest.raises(WeftError, match="not from 5 on"):
            async with aclosing(store.watch("", 5)) as batches:
                await anext(batches)
