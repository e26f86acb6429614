"""The embedded store: one SQLite file for all of Weft's processes on one machine.

All SQL of a store runs on one thread of its own, so that the loop never waits for the disk and order is kept. Every
transaction that writes ends with a ring of the bell (`bell`); a watch wakes, and reads the log from where it was.
Leases are ended by whoever has the store open, by a timer on the next expiry.

What is kept and how durably: `sqlite_db`. The file and its troubles: `sqlite_file`. After any trouble the file is
opened again at the next call, but never made again: an empty store would tell every agent that no network is left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from weft.base.errors import Denied, Failed, Unavailable, WeftError
from weft.store.bell import Bell
from weft.store.checks import check_commit, check_lease
from weft.store.protocol import Batch, Guard, Item, Listing, Op
from weft.store.sqlite_db import Database
from weft.store.sqlite_file import Inode, bell_path

T = TypeVar("T")

HISTORY = 10_000
"""Revisions a watcher may be behind before it has to list again."""


class SqliteStore:
    """A `Store`. Nothing is opened before the first call; one event loop per store."""

    def __init__(self, path: Path, *, history: int = HISTORY) -> None:
        self._path = path
        self._history = history
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="weft-store")
        self._database: Database | None = None
        self._inode: Inode | None = None
        self._opened = 0
        """How often; set on the store's thread."""
        self._bell = Bell(bell_path(path))
        self._bell_for = 0
        """The `_opened` the bell was opened for."""
        self._reaper: asyncio.Task[None] | None = None
        self._closed = False

    async def get(self, key: str) -> Item | None:
        return await self._run(lambda database: database.get(key))

    async def list(self, prefix: str) -> Listing:
        return await self._run(lambda database: database.list(prefix))

    async def wrote(self, key: str, revision: int) -> bool | None:
        return await self._run(lambda database: database.wrote(key, revision))

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        check_commit(guards, ops)
        return await self._run(lambda database: database.commit(guards, ops))

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Batch, None]:
        with self._bell.listener() as wake:
            first = await self._run(lambda database: database)
            while True:
                wake.clear()
                batch = await self._run(partial(self._changes, first, prefix, revision))
                revision = batch.revision
                if batch.changes:
                    yield Batch(batch.changes[-1].revision, batch.changes)
                else:
                    await wake.wait()

    async def grant(self, lease: int, ttl: float) -> None:
        check_lease(lease, ttl)
        await self._run(lambda database: database.grant(lease, ttl))

    async def revoke(self, lease: int) -> None:
        await self._run(lambda database: database.revoke(lease))

    async def close(self) -> None:
        """Watches end with Unavailable. Closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.gather(self._reaper, return_exceptions=True)
        self._bell.close()
        await asyncio.to_thread(self._shut)

    async def _run(self, work: Callable[[Database], T]) -> T:
        if self._closed:
            raise self._closed_error()
        result = await asyncio.get_running_loop().run_in_executor(self._thread, self._on_thread, work)
        if self._bell_for != self._opened and not self._closed:
            self._listen()
        return result

    def _on_thread(self, work: Callable[[Database], T]) -> T:
        if self._database is None:
            self._database = Database(self._path, self._history, self._inode)
            self._inode = self._database.inode
            self._opened += 1
        try:
            return work(self._database)
        except (Unavailable, Denied, Failed):
            self._drop()
            raise

    def _changes(self, first: Database, prefix: str, revision: int, database: Database) -> Batch:
        if database is not first:
            raise Unavailable(f"store '{self._path}' was opened anew: list again")
        return database.changes(prefix, revision)

    def _listen(self) -> None:
        """After the file was opened: its bell, and the watch over leases."""
        try:
            self._bell.open()
        except OSError as error:
            raise Unavailable(f"store '{self._path}': {error.filename}: {error.strerror}") from error
        self._bell_for = self._opened
        if self._reaper is None:
            self._reaper = asyncio.create_task(self._reap(), name="weft-store-leases")

    async def _reap(self) -> None:
        """End leases when they are due; look again at every ring, as there may be a lease with an earlier end."""
        with self._bell.listener() as wake:
            while True:
                wake.clear()
                wait = None
                with contextlib.suppress(WeftError):  # every caller is told; here the next ring is waited for
                    wait = await self._run(Database.expire)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await wake.wait()

    def _shut(self) -> None:
        """Off the loop: waits for the last transaction."""
        self._thread.submit(self._drop)
        self._thread.shutdown()

    def _drop(self) -> None:
        """On the store's thread."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _closed_error(self) -> Unavailable:
        return Unavailable(f"store '{self._path}' is closed")
