"""Hosts that are asked until they are members: those that the URL names, and those that were known before a restart.

For ever, since a host may come after days; names are resolved anew each time. A host that is alone asks often, one that has
company seldom: then all this is for is that two halves find each other.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence

from weft.base.errors import Failed
from weft.mesh.swim import timing
from weft.mesh.swim.table import Table
from weft.mesh.swim.wire import Place
from weft.tasks import backoff

_FIRST = 0.2
_ALONE, _IN_COMPANY = 3.0, 30.0
"""Seconds from one round to the next at most."""
_AT_ONCE = 8


class Joining:
    """`exchange` raises Failed."""

    def __init__(
        self, table: Table, named: Sequence[str], kept: Sequence[Place], exchange: Callable[[Place], Awaitable[None]]
    ) -> None:
        self._table, self._named, self._kept, self._exchange = table, named, list(kept), exchange
        self._since = time.monotonic()
        self._failures: dict[str, str] = {}
        """By host as it was named: why it was not reached in the last round."""

    def troubles(self) -> list[str]:
        """Hosts that are missing are told where none is reached: otherwise members say it."""
        if self._table.here() or not self._failures:
            return []
        return [f"no other host is reached: {', '.join(f'{host} ({why})' for host, why in self._failures.items())}"]

    async def run(self) -> None:
        alone = None
        while True:
            await self._round()
            if alone is not (alone := not self._table.here()):
                delays = backoff(_FIRST, _ALONE if alone else _IN_COMPANY)
            await asyncio.sleep(next(delays))

    async def _round(self) -> None:
        """All that are missing, some at a time."""
        self._failures = {}
        missing = await self._missing()
        limit = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for place, host in missing.items():
                group.create_task(self._try(limit, place, host))

    async def _try(self, limit: asyncio.Semaphore, place: Place, host: str) -> None:
        async with limit:
            try:
                await self._exchange(place)
            except Failed as error:
                self._failures[host] = str(error)

    async def _missing(self) -> dict[Place, str]:
        """Where no member is, and what that was named."""
        if time.monotonic() - self._since > timing.KEPT["dead"]:
            self._kept = []
        places = {place: place[0] for place in self._kept}
        for host in self._named:
            places.update(await self._resolved(host))
        here = {self._table.me.place, *(known.claim.place for known in self._table.here())}
        return {place: host for place, host in places.items() if place not in here}

    async def _resolved(self, host: str) -> dict[Place, str]:
        me = self._table.me
        family = socket.AF_INET6 if len(me.address) == 16 else socket.AF_INET
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, me.port, family=family, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            self._failures[host] = str(getattr(error, "strerror", None) or error)
            return {}
        return {(str(sockaddr[0]), me.port): host for *_, sockaddr in found}
