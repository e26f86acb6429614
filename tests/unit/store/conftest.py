from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from support.etcd import EtcdServer
from support.stores import Backend, EtcdBackend, SqliteBackend
from weft.store.protocol import Store

_numbers = itertools.count()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "etcd"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Empty, one per test; the etcd itself is one per module."""
    if request.param == "sqlite":
        return SqliteBackend(tmp_path)
    return EtcdBackend(request.getfixturevalue("etcd"), f"test-{next(_numbers)}")


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[Store], Store]]:
    """Give it a store, and it will be closed."""
    stores: list[Store] = []

    def keep(store: Store) -> Store:
        stores.append(store)
        return store

    yield keep
    for store in stores:
        await store.close()


@pytest.fixture
def store(backend: Backend, opened: Callable[[Store], Store]) -> Store:
    return opened(backend.open())


@pytest.fixture
def other(backend: Backend, opened: Callable[[Store], Store]) -> Store:
    """Another user of the same data."""
    return opened(backend.open())
