"""The stores under one roof, for tests that hold for each: open it, make it forget, take it away, bring it back."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from support.etcd import EtcdServer
from weft.store.protocol import Put, Store
from weft.store.sqlite import SqliteStore
from weft.store.sqlite_db import TRIM_STEP
from weft.store.url import StoreOptions, open_store


class Backend(Protocol):
    url: str

    def open(self) -> Store: ...

    async def forget(self, store: Store) -> None:
        """Write something under 'noise/', and forget all changes before the last."""

    def lose(self) -> None: ...

    def restore(self) -> None: ...


class SqliteBackend:
    HISTORY = 10

    def __init__(self, directory: Path) -> None:
        self.path = directory / "store" / "weft.db"
        self.url = f"sqlite://{self.path}"

    def open(self) -> Store:
        return SqliteStore(self.path, history=self.HISTORY)

    async def forget(self, store: Store) -> None:
        for number in range(self.HISTORY + 2 * TRIM_STEP):
            await store.commit([], [Put("noise/1", str(number).encode())])

    def lose(self) -> None:
        """Root may read everything, so the file is taken away instead of its mode."""
        self.path.rename(self.path.with_suffix(".away"))

    def restore(self) -> None:
        self.path.with_suffix(".away").rename(self.path)


class EtcdBackend:
    def __init__(self, server: EtcdServer, prefix: str) -> None:
        self.server = server
        self.url = f"etcd://{server.endpoint}/{prefix}"

    def open(self) -> Store:
        return open_store(self.url, StoreOptions())

    async def forget(self, store: Store) -> None:
        for number in range(3):
            await store.commit([], [Put("noise/1", str(number).encode())])
        self.server.compact()

    def lose(self) -> None:
        self.server.stop()

    def restore(self) -> None:
        self.server.start()
