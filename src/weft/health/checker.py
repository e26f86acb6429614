"""This host's checks, made for ever, and what all hosts are told of them.

Each check is a task of its own. What it has found out is written (`services.record.CONDITIONS`) only where the store says
something else: what is there is the word of the agent before this one, and holds until answers contradict it. While the
store is away the checks go on, and what they come to is written when it is back.

A condition of this node that no check stands for any more, since the member, the service or its health check is gone, is
taken out of the store by this node too; what happened while no agent ran here is found by one look at all conditions.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

from weft.base.errors import WeftError
from weft.cluster.changes import Changed
from weft.cluster.cluster import Cluster
from weft.cluster.follower import Follower
from weft.cluster.records import pairs
from weft.health.checks import Check, Checks, checks
from weft.health.state import condition, stored
from weft.model import encode
from weft.services.model import Condition
from weft.services.record import CONDITION, CONDITIONS, At, Of
from weft.store.protocol import Delete, Put, Unchanged
from weft.tasks import Supervisor, whenever

Ask = Callable[[Check], Awaitable[str]]
"""`weft.health.probe.Prober.ask`."""


class Checker:
    def __init__(self, cluster: Cluster, follower: Follower, supervisor: Supervisor, ask: Ask) -> None:
        """`supervisor`: keeps each check going; its failures cost nothing else."""
        self._cluster, self._view, self._follower = cluster, cluster.view, follower
        self._supervisor, self._ask = supervisor, ask
        self._known: dict[At, Mapping[Of, Check]] = {}
        """The checks that there are, by service, as they were last looked at."""
        self._running: dict[Of, asyncio.Task[None]] = {}
        self._found: dict[Of, Condition] = {}
        """What the store is to have, of those that have been asked."""
        self._unwritten: set[Of] = set()
        self._looked = False
        """Whether all that the store has of this node stands for something."""
        self._news, self._write = asyncio.Event(), asyncio.Event()
        self.asked = self.failed = 0
        """How often a member was asked, and how often the answer was bad."""

    @property
    def _checks(self) -> Checks:
        return checks(self._view)

    @property
    def running(self) -> int:
        """How many checks are made here."""
        return len(self._running)

    def heard(self, changed: Changed) -> None:
        """Of changes of the view."""
        self._news.set()
        self._to_write(of for of in changed.of(CONDITIONS) if self._found.get(of, self._stored(of)) != self._stored(of))

    def look_again(self) -> None:
        """The store was put back: it may have conditions of before."""
        self._looked = False
        self._write.set()

    async def run(self) -> None:
        """For ever; begin when the view is complete."""
        self._known, self._running = {}, {}
        self.look_again()
        self._checks.taken()
        some = set(self._checks.services)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(whenever(self._write, self._tell, "health of members is not known to other hosts yet"))
            while True:
                for at in some:
                    self._review(at, tasks)
                await self._news.wait()
                self._news.clear()
                some = self._checks.taken()

    def _review(self, at: At, tasks: asyncio.TaskGroup) -> None:
        """Checks of one service begin, end, or are made otherwise."""
        old, new = self._known.pop(at, {}), self._checks.of(at)
        if new:
            self._known[at] = new
        for of, check in old.items():
            if new.get(of) != check:
                self._found.pop(of, None)
                if of in self._running:
                    self._running.pop(of).cancel()
        self._to_write(of for of in old if of not in new)
        for of, check in new.items():
            if of not in self._running and check.health.kind != "api":
                name = f"health check of {of.id} for {of.service} in {of.network}"
                self._running[of] = tasks.create_task(self._supervisor.keep(name, partial(self._make, check)))

    async def _make(self, check: Check) -> None:
        """One check, for ever."""
        of, health = check.of, check.health
        async with self._follower.held(CONDITIONS, of.network):
            before = self._stored(of)
            state = stored(before, self._view.me)
            while True:
                answer = await self._ask(check)
                self.asked += 1
                self.failed += bool(answer)
                state = state.after(answer, health)
                if state.known:
                    self._found[of] = before = condition(state, before, self._view.me, time.time())
                    self._to_write([of] if before != self._stored(of) else ())
                await asyncio.sleep(state.pause(health, random.random()))

    def _stored(self, of: Of) -> Condition | None:
        return self._view.table(CONDITIONS).get(of)

    # What all hosts are told.

    def _to_write(self, some: Iterable[Of]) -> None:
        before = len(self._unwritten)
        self._unwritten.update(some)
        if len(self._unwritten) > before:
            self._write.set()

    async def _tell(self) -> None:
        """Raises Unavailable."""
        if not self._looked:
            await self._look()
        some, self._unwritten = self._unwritten, set()
        try:
            said = [of for of in some if of in self._found and self._found[of] != self._stored(of)]
            ops = [Put(CONDITION.key(*of), encode(self._found[of]), self._cluster.tenure_lease) for of in said]
            await self._cluster.write_all([], ops)
            for of in some:
                if self._checks.get(of) is None:
                    await self._remove(of)
        except WeftError:
            self._unwritten |= some
            raise

    async def _look(self) -> None:
        """For what stands for nothing here. Raises Unavailable."""
        listing = await self._cluster.store.list(CONDITION.root)
        own = (
            CONDITION.parse(item.key) for found, item in pairs(Condition, listing.items) if found.node == self._view.me
        )
        self._unwritten.update(of for of in own if of is not None and self._checks.get(of) is None)
        self._looked = True

    async def _remove(self, of: Of) -> None:
        """If it is this node's word: by now the container may be checked by another host. Raises Unavailable."""
        key = CONDITION.key(*of)
        item = await self._cluster.store.get(key)
        for found, there in pairs(Condition, [item] if item else []):
            as_seen = Unchanged(key, there.revision)
            if found.node == self._view.me and not await self._cluster.write([as_seen], [Delete(key)]):
                self._to_write([of])  # somebody wrote meanwhile: look again
