"""The cluster as one node reads and writes it: what every part of the agent needs that has to do with the model.

A transaction, seen by whoever makes one, is a function that reads what matters, decides, and ends with `commit`:

    async def attempt() -> Network:
        found = await cluster.store.get(key)                               # read
        new = changed(found)                                               # decide; raise a WeftError if it cannot be
        await cluster.commit([Unchanged(key, found.revision)], [Put(…)])   # all of it, or nothing
        return new

    new = await cluster.change(attempt, "network blue")

The guards say what has to be as it was when it was read. Where one does not hold somebody else wrote in between, so the
decision rests on what is no longer true: `commit` raises `Refused`, and `change` calls the function again, after a short
pause and not for ever. By then the view knows what is there under the keys that the guards named, so a decision that is
made from the view needs no reading of its own. A step of the function may be a transaction itself; where that one is
refused, all is decided again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from weft.base.errors import NotFound, Unavailable, WeftError
from weft.base.names import stable_id
from weft.cluster.liveness import now
from weft.cluster.owed import Owed
from weft.cluster.view import View
from weft.store.protocol import Absent, Change, Delete, DeletePrefix, Guard, Op, Put, Store, Unchanged
from weft.tasks import backoff

log = logging.getLogger(__name__)

ATTEMPTS = 10
"""How often a decision is taken again when others wrote meanwhile."""
RACE = 50
"""The same where many nodes want one of a kind, as when a network is new: each refusal means that one of them got one."""

T = TypeVar("T")


class Refused(Exception):
    """A guard did not hold: nothing was written. It never leaves `Cluster.change`."""


def tenure_lease(instance: str, node: str) -> int:
    """The store lease to which all is bound that a node writes."""
    return stable_id("tenure", instance, node)


class Cluster:
    def __init__(
        self, store: Store, view: View, instance: str, tenure: float, clock: Callable[[], float] = now
    ) -> None:
        """`instance`: this installation's own id. `tenure`: seconds for which what this node writes lasts without it. `clock`:
        seconds, also those for which the host was suspended."""
        self.store, self.view, self.instance = store, view, instance
        self.tenure, self.tenure_lease = tenure, tenure_lease(instance, view.me)
        self.away = ""
        """Why the store cannot be used, as far as whoever follows it knows; "" where it can."""
        self.owed = Owed(store, view)
        self._clock = clock
        self.held_until = 0.0
        """On the clock: before that the tenure does not end, unless somebody ends it."""
        self.lapses = 0
        """How often it began anew: what was held before may be others' since."""
        self._sent: dict[int, float] = {}
        """Revision → when it was committed, of our writes that the watch has not told yet."""

    @property
    def me(self) -> str:
        """This node's name."""
        return self.view.me

    def tenure_of(self, node: str) -> int:
        """The store lease to which all is bound that a node writes. Raises NotFound."""
        found = self.view.nodes.get(node)
        if found is None:
            raise NotFound(f"no node {node}: it was just removed")
        return tenure_lease(found.instance, node)

    async def begin_tenure(self) -> None:
        """Or go on with it: it ends so many seconds from now."""
        asked = self._clock()
        await self.store.grant(self.tenure_lease, self.tenure)
        if asked >= self.held_until:
            self.lapses += 1
        self.held_until = asked + self.tenure

    @property
    def holds(self) -> bool:
        """Whether the tenure lasts, for sure, also if the store is away: what this node holds is its own as long."""
        return self._clock() < self.held_until

    def check_reached(self) -> None:
        """Raises Unavailable where the store is known to be away: to ask it would only take time."""
        if self.away:
            raise Unavailable(self.away)

    # Reading.

    async def look(self, *keys: str) -> None:
        """Take over into the view what is there under these keys now. That a key is gone is the watch's to tell."""
        for key in keys:
            item = await self.store.get(key)
            if item is not None:
                self.view.present_now(item)

    def unchanged(self, key: str) -> Guard:
        """It is there, and as the view has it."""
        return Unchanged(key, self.view.revision(key))

    def as_seen(self, key: str) -> Guard:
        """It is as the view has it, or not there as the view has it."""
        revision = self.view.revision(key)
        return Unchanged(key, revision) if revision > 0 else Absent(key)

    # Writing.

    async def change(
        self,
        attempt: Callable[[], Awaitable[T]],
        what: str,
        *,
        attempts: int = ATTEMPTS,
        at_last: WeftError | None = None,
    ) -> T:
        """What `attempt` returns, which is called again as long as it is refused. Raises what it raises, and Unavailable in
        the end, with `what` in it; or `at_last`."""
        pauses = backoff(first=0.002, last=0.1)
        for _ in range(attempts):
            try:
                return await attempt()
            except Refused:
                log.debug("%s: others wrote meanwhile: decided again", what)
                await asyncio.sleep(next(pauses))
        raise at_last or Unavailable(f"{what}: others change that too fast just now: try again")

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int:
        """As the last step of an attempt: its revision. Raises Refused."""
        revision = await self._write(guards, ops)
        if revision is None:
            await self._look_again(guards, ops)
            raise Refused
        return revision

    async def write(self, guards: Sequence[Guard], ops: Sequence[Op]) -> bool:
        """All or nothing, taken over into the view at once. False: a guard did not hold. What newer versions of Weft say in a
        record that is changed stays in it."""
        return await self._write(guards, ops) is not None

    async def _write(self, guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        ops = [Put(op.key, self.view.carried(op.key, op.value), op.lease) if isinstance(op, Put) else op for op in ops]
        removed = [op.key for op in ops if isinstance(op, Delete)]
        with self.view.removing(removed):
            try:
                revision = await self.store.commit(guards, ops)
            except NotFound:  # the tenure has not begun, or has ended while the store was away
                self.held_until = 0.0
                await self.begin_tenure()
                revision = await self.store.commit(guards, ops)
            if revision is None:
                return None
            self._sent[revision] = time.monotonic()
            self.view.apply(
                Change(op.key, op.value if isinstance(op, Put) else None, revision)
                for op in ops
                if not isinstance(op, DeletePrefix)
            )
        self.view.obey(removed)  # what the store had lost before, too
        return revision

    async def write_all(self, guards: Sequence[Guard], ops: Sequence[Op], size: int = 100) -> bool:
        """More than one transaction takes, each with the same guards. False: a guard did not hold, some may be written."""
        for start in range(0, len(ops), size):
            if not await self.write(guards, ops[start : start + size]):
                return False
        return True

    async def _look_again(self, guards: Iterable[Guard], ops: Iterable[Op]) -> None:
        """At what a refused transaction counted on. What it was to delete and is gone already counts as deleted by it."""
        doomed = {op.key for op in ops if isinstance(op, Delete)}
        named = dict.fromkeys(guard.key for guard in guards if isinstance(guard, Absent | Unchanged))
        for key in (key for key in named if key.startswith(self.view.prefixes())):
            item = await self.store.get(key)
            if item is not None:
                self.view.present_now(item)
            elif key in doomed:
                await self.write([Absent(key)], [Delete(key)])  # there is nothing to delete: the view learns it so

    def echoed(self, revision: int) -> float | None:
        """The watch has come to `revision`: how long our commit took to come back, if it was ours."""
        for past in [r for r in self._sent if r < revision]:
            del self._sent[past]
        sent = self._sent.pop(revision, None)
        return None if sent is None else time.monotonic() - sent
