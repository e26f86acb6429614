"""A process that uses a store, for tests: `python -m support.store_worker URL count KEY TIMES | put KEY TIMES`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from weft.store.protocol import Put, Store, Unchanged
from weft.store.url import StoreOptions, open_store

PAUSE = 0.02
"""Seconds between two puts, longer than a watch should take."""


async def count(store: Store, key: str, times: int) -> None:
    """Say 'ready/PID', wait for the number at `key`, and add one to it, by compare and swap, so often."""
    ready = await store.commit([], [Put(f"ready/{os.getpid()}", b"")])
    async for _ in store.watch(key, ready or 0):
        break
    done = 0
    while done < times:
        item = await store.get(key)
        assert item is not None
        after = Put(key, str(int(item.value) + 1).encode())
        if await store.commit([Unchanged(key, item.revision)], [after]) is not None:
            done += 1


async def put(store: Store, key: str, times: int) -> None:
    """Write the time just before the commit (CLOCK_MONOTONIC, the same in all processes) to `key`, so often."""
    for _ in range(times):
        await store.commit([], [Put(key, str(time.monotonic()).encode())])
        await asyncio.sleep(PAUSE)


async def run(url: str, what: str, key: str, times: str) -> None:
    store = open_store(url, StoreOptions())
    try:
        await {"count": count, "put": put}[what](store, key, int(times))
    finally:
        await store.close()


ROOT = Path(__file__).resolve().parents[2]


async def spawn(url: str, what: str, key: str, times: int) -> asyncio.subprocess.Process:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
    words = ("-m", "support.store_worker", url, what, key, str(times))
    return await asyncio.create_subprocess_exec(sys.executable, *words, env=environment)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
