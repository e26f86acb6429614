"""What the agent answers while the store is away: what it knows, marked as of when (docs/adr/0066-wishes-and-names.md).

A list is read from the store, which knows all. Where that is away, or says nothing for half a second, the view answers, which
knows what this host follows. The answer looks as ever; that it is an old one, and what is not in it, is said in the header
`Weft-As-Of` beside it, and the command line prints that to stderr.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

from weft.api import types as t
from weft.base.errors import Unavailable, one_line
from weft.cluster.cluster import Cluster
from weft.model import keys

T = TypeVar("T")

PATIENCE = 0.4
"""Seconds for a list, and then as many again for a single key: who has that answered only has much to list."""

_Marks = dict[str, None]
_marks: ContextVar[_Marks] = ContextVar("weft-as-of")


def begin() -> None:
    """Of an answer. What is marked from now on, in this task and those that it makes, is told with it."""
    _marks.set({})


async def _asked(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()


class AsOf:
    def __init__(self, cluster: Cluster, status: Callable[[], t.StoreStatus], complete: asyncio.Event) -> None:
        """`complete`: set once the view is."""
        self._cluster, self._status, self._complete = cluster, status, complete

    async def read(self, ask: Callable[[], Awaitable[T]], known: Callable[[], T], lacks: Callable[[], str]) -> T:
        """What `ask` brings from the store; else what is `known` here, marked with what that `lacks` ("" for nothing). Raises
        Unavailable where nothing is known here yet."""
        if not self._cluster.away:
            asking = asyncio.create_task(_asked(ask), name="as of")
            try:
                done, _ = await asyncio.wait([asking], timeout=PATIENCE)
                if done or not await self.silent():
                    return await asking
            except Unavailable:
                pass
            finally:
                asking.cancel()
        self.mark(lacks())
        return known()

    async def silent(self) -> bool:
        """Whether the store is away, or does not answer at once."""
        if self._cluster.away:
            return True
        try:
            async with asyncio.timeout(PATIENCE):
                await self._cluster.store.get(keys.CLUSTER)
        except (TimeoutError, Unavailable):
            return True
        return False

    def look(self) -> None:
        """What follows is told out of the view, which has all of it; it is marked where the store is known to be away."""
        if self._cluster.away:
            self.mark()

    def mark(self, lacks: str = "") -> None:
        """Raises Unavailable where nothing is known here yet."""
        if not self._complete.is_set():
            reason = self._status().reason or "try again in a moment"
            raise Unavailable(f"the agent has not heard from the store since its start: {reason}")
        if (marks := _marks.get(None)) is not None:
            marks[lacks] = None

    def told(self) -> str:
        """Of the answer that was begun: "2026-11-30T10:04:12Z the store is away: …; … are not known", or "" where nothing was
        marked."""
        marks = _marks.get({})
        if not marks:
            return ""
        status = self._status()
        lost = status.state == "lost"
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(status.since if lost else time.time()))
        why = f"the store is away: {status.reason}" if lost else "the store does not answer"
        text = "; ".join([why, *(lacks for lacks in marks if lacks)])
        return f"{since} {one_line(text)}".encode("ascii", "backslashreplace").decode()
