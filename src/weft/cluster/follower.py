"""Who follows what of the store: everybody's records in one watch, the rest for as long as somebody needs it.

What every node follows (`View.prefixes`) comes in one listing, from which what is there can be told as a whole. Records of
kinds that are followed on demand lie apart by the first name in their keys, in *parts*: the locations of one network, for
example. A part is followed as long as one of those who `need` such things names it, or somebody holds it for a while; it is
opened once, however many want it, and what was known of it goes when the last one lets go.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from weft.base.errors import Unavailable
from weft.cluster.putback import Past
from weft.cluster.view import View
from weft.model.record import Record
from weft.store.follow import Changes, Event, Lost, Synced, follow
from weft.store.known import KnownStore
from weft.store.protocol import Store
from weft.tasks import Supervisor

Part = tuple[Record[Any, Any], str]
"""Of one kind of record, those whose keys have this name first."""


class _Following:
    """`told`: the store has said something. `synced`: all there was is known. `reason`: why it is not."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.synced = asyncio.Event()
        self.reason = ""
        self.task: asyncio.Task[None] | None = None

    def hear(self, event: Event, _put_back: bool) -> None:
        match event:
            case Synced():
                self.synced.set()
            case Lost(reason):
                self.reason = reason
        self.told.set()


class Follower:
    def __init__(self, store: Store, view: View, known: KnownStore) -> None:
        self._store, self._view, self._known = store, view, known
        self._past = Past(known, view)
        self._needs: dict[str, frozenset[Part]] = {}
        self._holds: Counter[Part] = Counter()
        self._followed: dict[Part, _Following] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._supervisor = Supervisor()

    # What every node follows.

    async def run(self, hear: Callable[[Event, bool], None], expect: Callable[[Synced], None] = lambda _: None) -> None:
        """For ever. `hear`: told each event once the view has it, with whether it showed that the store was put back.
        `expect`: told a listing before the view takes it over."""
        await self._follow(self._view.prefixes(), self._past, hear, expect)

    # What is followed on demand.

    def start(self, tasks: asyncio.TaskGroup, supervisor: Supervisor) -> None:
        """Where the followers run. From here on what is needed is followed."""
        self._tasks, self._supervisor = tasks, supervisor
        self._review()

    def need(self, user: str, parts: Iterable[Part]) -> None:
        """All that `user` needs from now on, in place of what it needed before."""
        self._needs[user] = frozenset(parts)
        self._review()

    @contextlib.asynccontextmanager
    async def held(self, kind: Record[Any, Any], name: str) -> AsyncIterator[None]:
        """The part is followed meanwhile, and all there was is known. Raises Unavailable."""
        part = kind, name
        self._holds[part] += 1
        try:
            self._review()
            following = self._followed.get(part)
            if following is None:
                raise Unavailable(f"{kind.kind} of {name} are not followed yet: try again in a moment")
            await following.told.wait()
            if not following.synced.is_set():
                raise Unavailable(f"{kind.kind} of {name} are not known: {following.reason}")
            yield
        finally:
            self._holds[part] -= 1
            self._holds += Counter()
            self._review()

    async def complete(self) -> None:
        """Until all there is to know is known, however long the store is away."""
        while waiting := [f for f in self._followed.values() if not f.synced.is_set()]:
            await waiting[0].synced.wait()

    def _review(self) -> None:
        """Follow what is to be followed, and no more."""
        if self._tasks is None:
            return
        wanted = frozenset(part for part, holds in self._holds.items() if holds).union(*self._needs.values())
        for part in self._followed.keys() - wanted:
            self._close(part)
        for part in wanted - self._followed.keys():
            self._open(part, self._tasks)

    def _open(self, part: Part, tasks: asyncio.TaskGroup) -> None:
        (kind, name), following = part, _Following()
        self._followed[part] = following
        self._view.open(kind, name)
        title = f"{kind.kind} of {name}"
        prefix = kind.pattern.under(name)
        following.task = tasks.create_task(
            self._supervisor.keep(
                title, lambda: self._follow((prefix,), Past(self._known, self._view), following.hear)
            ),
            name=title,
        )

    def _close(self, part: Part) -> None:
        following = self._followed.pop(part)
        if following.task is not None:
            following.task.cancel()
        following.reason = "nobody follows them any more"
        following.told.set()
        self._view.close(*part)
        # Whoever waits for `complete` is not to wait for this one.
        following.synced.set()

    async def _follow(
        self,
        prefixes: tuple[str, ...],
        past: Past,
        hear: Callable[[Event, bool], None],
        expect: Callable[[Synced], None] = lambda _: None,
    ) -> None:
        async with contextlib.aclosing(follow(self._store, *prefixes)) as events:
            async for event in events:
                put_back = False
                match event:
                    case Synced(_, items, revision):
                        expect(event)
                        put_back = past.adopt(prefixes, items, revision)
                    case Changes(_, batch):
                        past.told(batch.revision)
                        self._view.apply(batch.changes)
                hear(event, put_back)
