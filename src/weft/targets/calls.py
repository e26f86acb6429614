"""The calls of a target's API: no more than it allows, and none for longer than it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from weft.base.errors import Throttled, Unavailable
from weft.targets.bucket import Bucket

T = TypeVar("T")

TRIES = 5
"""How often one call is made that the target is too busy for."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`rate`: calls per second; `burst`: so many at once. `timeout`: seconds for one call. `turn`: seconds of one step, after
    which no more calls are begun; so long it is also waited for a target that asks for a pause. `settling`: seconds for which
    readings may not show yet what was written."""

    rate: float = 5.0
    burst: int = 10
    timeout: float = 10.0
    turn: float = 5.0
    settling: float = 0.0


class Calls:
    """`name`: the target's, for messages. `clock` and `sleep`: seconds, as `time.monotonic` and `asyncio.sleep`."""

    def __init__(
        self, name: str, limits: Limits, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._name, self._limits, self._sleep = name, limits, sleep
        self._bucket = Bucket(limits.rate, limits.burst, clock)

    async def make(self, call: Callable[[], Awaitable[T]]) -> T:
        """When its turn comes; again where the target is too busy for it. Raises what it raises; Unavailable."""
        said = ""
        for _ in range(TRIES):
            await self._turn()
            try:
                async with asyncio.timeout(self._limits.timeout):
                    return await call()
            except Throttled as error:
                self._bucket.hold(error.seconds)
                said = str(error)
            except TimeoutError:
                waited = f"{self._name} has not answered in {self._limits.timeout:g} s"
                raise Unavailable(f"{waited}: whether it did what it was asked is not known") from None
            except OSError as error:
                raise Unavailable(f"{self._name} cannot be reached: {error.strerror or error}") from None
        raise Unavailable(f"{self._name} was too busy {TRIES} times in a row: {said}")

    async def _turn(self) -> None:
        """Until a call may go. Raises Unavailable where the target has asked for a pause that is longer than a turn."""
        while (seconds := self._bucket.wait()) > 0:
            if (held := self._bucket.held()) > self._limits.turn:
                raise Unavailable(f"{self._name} wants no calls for {held:.0f} s")
            await self._sleep(seconds)
        self._bucket.take()
