"""Follow parts of a store through everything that can happen to it.

    Synced → Changes, Changes, …                  as it goes
           → Synced                               the store forgot changes before they were seen: all there is now
           → Lost → Synced                        the store was away, and is back

`Synced` replaces everything known under its prefixes; `Changes` adds to it. Each prefix is watched from the very
revision it was listed at, so nothing is missed or told twice, and order is kept within a prefix. Between prefixes it is
not: what refers to something under another prefix may come first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping

import msgspec

from weft.base.errors import Denied, Failed, Unavailable
from weft.store.protocol import Batch, Compacted, Item, Store
from weft.tasks import backoff


class Synced(msgspec.Struct, frozen=True):
    """All that is under `prefixes`, in their order, and in key order under each. `revision`: the least of their
    listings'; what was committed up to it is in here."""

    prefixes: tuple[str, ...]
    items: tuple[Item, ...]
    revision: int


class Changes(msgspec.Struct, frozen=True):
    prefix: str
    batch: Batch


class Lost(msgspec.Struct, frozen=True):
    """The store cannot be used, for this reason; it is tried again. What was known before is all there is to know."""

    reason: str


Event = Synced | Changes | Lost

TROUBLE = (Unavailable, Denied, Failed)
"""What a running follower outlives: an operator may mend a password or a broken file, too."""


async def follow(
    store: Store,
    *prefixes: str,
    delays: Callable[[], Iterator[float]] = backoff,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Event, None]:
    """For ever; close it (`contextlib.aclosing`) to end it. Raises what is neither Compacted nor in TROUBLE."""
    waits = delays()
    lost = False
    while True:
        try:
            listings = {prefix: await store.list(prefix) for prefix in prefixes}
            yield Synced(
                prefixes,
                tuple(item for listing in listings.values() for item in listing.items),
                min(listing.revision for listing in listings.values()),
            )
            lost = False
            since = {prefix: listing.revision for prefix, listing in listings.items()}
            async with contextlib.aclosing(_merge(store, since)) as changes:
                async for change in changes:
                    waits = delays()
                    yield change
        except Compacted:
            continue
        except TROUBLE as error:
            if not lost:
                yield Lost(str(error))
            lost = True
            await sleep(next(waits))


async def _merge(store: Store, since: Mapping[str, int]) -> AsyncGenerator[Changes, None]:
    """The watches of several prefixes as one. One batch of each is fetched ahead, no more: a slow consumer slows the
    watches."""
    if len(since) == 1:  # needs no tasks, which cost as much as all the rest of a small change
        [(only, revision)] = since.items()
        async with contextlib.aclosing(store.watch(only, revision)) as batches:
            async for batch in batches:
                yield Changes(only, batch)
        return
    watches = {prefix: store.watch(prefix, revision) for prefix, revision in since.items()}
    pending = {_next(watch): prefix for prefix, watch in watches.items()}
    try:
        while True:
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                batch = task.result()
                prefix = pending.pop(task)
                pending[_next(watches[prefix])] = prefix
                yield Changes(prefix, batch)
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for watch in watches.values():
            if isinstance(watch, AsyncGenerator):
                await watch.aclose()


def _next(watch: AsyncIterator[Batch]) -> asyncio.Task[Batch]:
    async def next_batch() -> Batch:
        return await anext(watch)

    return asyncio.create_task(next_batch(), name="weft-store-watch")
