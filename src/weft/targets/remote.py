"""A target as the reconciler takes it: what a kernel is, but far away.

Calls go one after the other in a thread with an event loop of its own, so that one that hangs or blocks costs nobody else
anything. One that shows that nobody can be reached ends the turn: what was still to be done fails with the same reason,
untried, so a dead target costs one call's time. A turn is short, so that what has changed meanwhile is looked at; what is left
has the next one.

Nothing is written to a place before it has been read: only then it is known what of it is somebody else's.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, wait
from errno import EEXIST
from functools import partial
from typing import Any, TypeVar

from weft.api import types as t
from weft.base.errors import Failed, NotFound, Unavailable, WeftError, one_line
from weft.hoststate import Key, Object, TargetObject
from weft.model import Node
from weft.reconcile.kinds.table import describe
from weft.reconcile.protocol import Change, Create, Event, Failure, Op, Reading, Remove, Unread
from weft.reconcile.reconciler import key_of
from weft.targets.calls import Calls, Limits
from weft.targets.protocol import Page, Target

T = TypeVar("T")

ENDING = 1.0
"""Seconds for a call that is given up to be over."""
LATER = "its turn has not come yet"
STOPPED = "the agent is stopping"


class Silent:
    """A watcher of what tells no events: its descriptor is never readable."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def drain(self) -> list[Event]:
        return []

    def close(self) -> None:
        os.close(self._fd)


class Remote:
    """`clock` and `sleep`: the system's, unless others are to be used. Close it to end a call that is under way."""

    def __init__(
        self,
        target: Target,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.target, self.limits = target, limits or Limits()
        self._clock = clock
        self._calls = Calls(target.name, self.limits, clock, sleep)
        self._looked: set[str] = set()
        """Places whose last reading succeeded."""
        self._foreign: dict[str, frozenset[Key]] = {}
        self._wrote: dict[Key, tuple[float, TargetObject | None]] = {}
        """When something was written last, and what."""
        self._stopped: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"weft-{target.name}", daemon=True)
        self._thread.start()

    # As a kernel.

    def read(self, desired: Mapping[Key, Object], namespaces: Set[str]) -> Reading:
        return self._run(
            lambda: self._read(sorted(namespaces)), lambda: Reading({}, unread=self._unread(namespaces, STOPPED))
        )

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        return self._run(lambda: self._apply(ops), lambda: [Failure(key_of(op), STOPPED) for op in ops])

    def watch(self) -> Silent:
        return Silent()

    # Besides.

    def learn(self, node: Node) -> Mapping[str, str]:
        """As `Target.learn`; blocks. Raises WeftError."""
        return self._asked(partial(self.target.learn, node))

    def checkup(self) -> Iterator[t.Finding]:
        """What all of the target's checks find; blocks."""
        for check in self.target.checks():
            try:
                yield self._asked(check)
            except WeftError as error:
                name = self.target.name
                yield t.Finding(
                    check=f"target: {name}", result="error", detail=str(error), advice=f"mend the way to {name}"
                )
                return

    def _asked(self, call: Callable[[], Awaitable[T]]) -> T:
        """Raises WeftError."""

        async def made() -> T | WeftError:
            try:
                return await self._calls.make(call)
            except Exception as error:  # noqa: BLE001 - as in `_read`
                return error if isinstance(error, WeftError) else Failed(_reason(error))

        found = self._run(made, lambda: Unavailable(STOPPED))
        if isinstance(found, WeftError):
            raise found
        return found

    def close(self) -> None:
        """A call that is under way is given up."""
        if self._stopped.done():
            return
        self._stopped.set_result(None)
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        self._thread.join(2 * ENDING)
        if not self._thread.is_alive():  # else one of the target's methods blocks, which nobody can end
            self._loop.close()

    async def _end(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls, timeout=ENDING)
        self._loop.stop()

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]], stopped: Callable[[], T]) -> T:
        if self._stopped.done():
            return stopped()
        future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        either: tuple[Future[Any], ...] = (future, self._stopped)
        wait(either, return_when=FIRST_COMPLETED)
        return stopped() if self._stopped.done() else future.result()

    # Reading.

    async def _read(self, places: Sequence[str]) -> Reading:
        objects: dict[Key, Object] = {}
        unread: list[Unread] = []
        away = ""
        for place in places:
            try:
                if away:
                    raise Unavailable(away)
                found = await self._place(place)
            except Exception as error:  # noqa: BLE001 - a target may be somebody's own: what it does costs itself only
                away = _reason(error) if isinstance(error, Unavailable) else ""
                self._looked.discard(place)
                unread += self._unread({place}, _reason(error))
                continue
            objects |= self._as_written(place, found)
            self._looked.add(place)
        return Reading(objects, frozenset().union(*self._foreign.values()), unread=tuple(unread))

    async def _place(self, place: str) -> dict[Key, Object]:
        objects: dict[Key, Object] = {}
        foreign: set[Key] = set()
        more = ""
        while True:
            page: Page = await self._calls.make(partial(self.target.read, place, more))
            objects.update((obj.key, obj) for obj in page.objects)
            foreign.update(page.foreign)
            more = page.more
            if not more:
                self._foreign[place] = frozenset(foreign)
                return objects

    def _as_written(self, place: str, found: dict[Key, Object]) -> dict[Key, Object]:
        """What was written a moment ago may not be shown yet."""
        young = self._clock() - self.limits.settling
        self._wrote = {key: wrote for key, wrote in self._wrote.items() if wrote[0] > young}
        for key, (_, obj) in self._wrote.items():
            if key[1] == place and obj is not None:
                found[key] = obj
            elif key[1] == place:
                found.pop(key, None)
        return found

    def _unread(self, places: Set[str], reason: str) -> tuple[Unread, ...]:
        return tuple(Unread(place, self.target.name, self.target.kinds, reason) for place in sorted(places))

    # Writing.

    async def _apply(self, ops: Sequence[Op]) -> list[Failure]:
        failures: list[Failure] = []
        failed: set[Key] = set()
        away, end = "", self._clock() + self.limits.turn
        for op in ops:
            if away:
                failure: Failure | None = Failure(key_of(op), away)
            elif self._clock() >= end or key_of(op)[1] not in self._looked:
                failure = Failure(key_of(op), LATER, later=True)
            else:
                failure, away = await self._try(op, failed)
            if failure is not None:
                failures.append(failure)
                failed.add(failure.key)
        return failures

    async def _try(self, op: Op, failed: Set[Key]) -> tuple[Failure | None, str]:
        """What became of it; and why nobody can be reached, if that is so."""
        key = key_of(op)
        obj = op.new if isinstance(op, Change) else op.obj
        assert isinstance(obj, TargetObject)
        if not isinstance(op, Remove):
            if any(key in foreign for foreign in self._foreign.values()):
                return Failure(key, f"{describe(key)} exists and is not Weft's: remove it", EEXIST), ""
            if lacking := [need for need in obj.needs() if need in failed]:
                return Failure(key, f"waits for {describe(lacking[0])}"), ""
        try:
            await self._calls.make(lambda: self._one(op))
        except Exception as error:  # noqa: BLE001 - as in `_read`
            self._wrote.pop(key, None)
            return Failure(key, _reason(error)), _reason(error) if isinstance(error, Unavailable) else ""
        self._wrote[key] = self._clock(), None if isinstance(op, Remove) else obj
        return None, ""

    async def _one(self, op: Op) -> None:
        match op:
            case Create(TargetObject() as obj):
                await self.target.create(obj)
            case Change(TargetObject() as old, TargetObject() as new):
                await self.target.change(old, new)
            case Remove(TargetObject() as obj):
                try:
                    await self.target.remove(obj)
                except NotFound:
                    return


def _reason(error: Exception) -> str:
    said = one_line(str(error))
    return said if isinstance(error, WeftError) else f"{type(error).__name__}: {said}"
