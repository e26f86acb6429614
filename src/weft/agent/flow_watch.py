"""Connections of this host's containers as they begin and end, kept for a while for who asks.

It is listened to only while somebody follows: whoever has not asked for `IDLE` seconds does not follow any more. However many
connections there are, it costs the agent no more than `RATE` events a second: then nothing is read for the rest of that
second, and what the kernel cannot keep until then is lost, and said to be.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import msgspec

from weft.base.errors import NotFound, WeftError
from weft.cluster.view import View
from weft.compile.standing import places
from weft.kernel.host.tracked import Listing, Tracked

log = logging.getLogger(__name__)

KEPT = 2_000
"""Events that are kept."""
RATE = 2_000
"""Events a second that are read."""
IDLE = 60.0
"""Seconds after which it is not listened any more, if nobody asks."""

Places = Callable[[], Mapping[str, frozenset[bytes]]]
"""By namespace, whose connections are wanted there (packed)."""


class Source(Protocol):
    overruns: int

    def fileno(self) -> int: ...

    def close(self) -> None: ...

    def read(self, addresses: frozenset[bytes], most: int) -> tuple[list[tuple[bool, Tracked]], int]: ...


class Tracker(Protocol):
    """`weft.kernel.host.tracked`. Both block, and raise WeftError."""

    def listing(self, ns: str, addresses: frozenset[bytes], most: int, ends: frozenset[bytes]) -> Listing: ...

    def follow(self, ns: str) -> Source: ...


def places_of(view: View, network: str = "") -> dict[str, frozenset[bytes]]:
    """Where this host tracks connections of its containers, and by which addresses (packed) they are known there. `network`:
    of this one's only."""
    return {
        ns: frozenset(address.packed for address, who in place.items() if network in ("", who.network))
        for ns, place in places(view, all=True).items()
    }


class Happened(msgspec.Struct, frozen=True):
    """`number`: they rise by one. `time`: Unix seconds. `begins`: else it ends."""

    number: int
    time: float
    ns: str
    begins: bool
    found: Tracked


class FlowWatch:
    def __init__(self, places: Places, listen: Callable[[str], Source]) -> None:
        """`listen`: in a namespace; blocks; raises WeftError."""
        self._places, self._listen = places, listen
        self._sources: dict[str, Source] = {}
        self._wanted: Mapping[str, frozenset[bytes]] = {}
        self._kept: deque[Happened] = deque(maxlen=KEPT)
        self._last, self._overruns = 0, 0
        self._news = asyncio.Event()
        self._asked = 0.0
        self._second, self._read = 0, 0
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._opening = asyncio.Lock()
        self.problems: tuple[str, ...] = ()

    @property
    def last(self) -> int:
        return self._last

    @property
    def overruns(self) -> int:
        return self._overruns + sum(source.overruns for source in self._sources.values())

    def after(self, number: int) -> tuple[list[Happened], int]:
        """What came after the event of this number; and how many of these are not kept any more."""
        if not 0 <= number <= self._last:  # it is of the agent before this one
            number = 0
        found = [each for each in self._kept if each.number > number]
        first = found[0].number if found else self._last + 1
        return found, first - number - 1

    async def wait(self, number: int, seconds: float) -> None:
        """Until there is more than the event of this number, or this time is over."""
        if number == self._last and seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()

    async def follow(self) -> None:
        """Listen, if that is not done already; what is wanted is looked at anew."""
        loop = asyncio.get_running_loop()
        self._asked = loop.time()
        async with self._opening:
            self._wanted = self._places()
            for ns in self._sources.keys() - self._wanted.keys():
                self._end(ns)
            problems = []
            for ns in sorted(self._wanted.keys() - self._sources.keys()):
                try:
                    self._sources[ns] = await asyncio.to_thread(self._listen, ns)
                except NotFound:
                    continue
                except WeftError as error:
                    problems.append(str(error))
                else:
                    self._hear(ns)
            self.problems = tuple(dict.fromkeys(problems))
        if self._timer is None:
            self._timer = loop.call_later(IDLE, self._still)

    def close(self) -> None:
        for ns in tuple(self._sources):
            self._end(ns)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _still(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer, left = None, self._asked + IDLE - loop.time()
        if left <= 0:
            self.close()
        else:
            self._timer = loop.call_later(left, self._still)

    def _hear(self, ns: str) -> None:
        if not self._paused:
            asyncio.get_running_loop().add_reader(self._sources[ns].fileno(), partial(self._heard, ns))

    def _end(self, ns: str) -> None:
        source = self._sources.pop(ns)
        asyncio.get_running_loop().remove_reader(source.fileno())
        self._overruns += source.overruns
        source.close()

    def _heard(self, ns: str) -> None:
        now = time.time()
        if int(now) != self._second:
            self._second, self._read = int(now), 0
        try:
            found, looked = self._sources[ns].read(self._wanted.get(ns, frozenset()), RATE - self._read)
        except WeftError as error:
            log.warning("connections are not followed: %s", error)
            self._end(ns)
            return
        self._read += looked
        for begins, each in found:
            self._last += 1
            self._kept.append(Happened(self._last, now, ns, begins, each))
        if found:
            news, self._news = self._news, asyncio.Event()
            news.set()
        if self._read >= RATE:
            self._pause(self._second + 1 - now)

    def _pause(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._paused = True
        for source in self._sources.values():
            loop.remove_reader(source.fileno())
        loop.call_later(max(seconds, 0.01), self._resume)

    def _resume(self) -> None:
        self._paused = False
        for ns in self._sources:
            self._hear(ns)
