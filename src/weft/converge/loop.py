"""The convergence loop of one target, the kernel or another: collects what changed and what it tells, and makes one step of all
of it.

While one step runs, the next one's work gathers: a hundred containers attached together cost a few steps, not a hundred.
What is said of the kernel here holds of any target (`weft.converge.loops` has one loop for each).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from weft.api import types as t
from weft.base import events
from weft.base.errors import Unavailable, one_line
from weft.converge.broken import Broken
from weft.converge.complaints import Complaints
from weft.converge.pacing import Pacing
from weft.converge.stepper import Outcome, Stepper, Work
from weft.converge.told import counts_of, failing, replies
from weft.hoststate import HOST, Contribution, Key, Object, Union
from weft.hoststate.union import Source
from weft.reconcile.protocol import Kernel
from weft.reconcile.trouble import Trouble, Troubles

log = logging.getLogger(__name__)

SHARE = 9
"""Reading again costs time in proportion to what there is. However often events ask for it, between two readings at least
so many times the duration of one is left to other work."""
SOONEST = 0.02
"""Seconds from a disturbance to reading again: disturbances come in groups."""

QUIET = 0.2
"""Seconds for which nothing was asked for: then what can be done without is made, piece by piece."""

STOPPING = "the agent is stopping: try again when it runs again"

_STEP = ("step",)

T = TypeVar("T")
Compile = Callable[[Source], Contribution | None]
Waiter = tuple[frozenset[Source], "asyncio.Future[list[str]]"]


class Loop:
    def __init__(
        self,
        kernel: Kernel,
        union: Union,
        compile: Compile,
        pacing: Pacing,
        *,
        always: Set[str] = frozenset({HOST}),
        name: str = "kernel",
    ) -> None:
        """`compile`: what a source wants of this target. `always`: the namespaces, or places, that are read whatever is
        wanted."""
        self._compile, self._pacing = compile, pacing
        self._watcher = kernel.watch()
        self._stepper = Stepper(kernel, self._watcher, union, always, near=pacing.near)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"weft-{name}")
        self._sources: set[Source] = set()
        self._waiters: list[Waiter] = []
        self._again: set[str] | None = set()
        self._events = self._spare = self._asked = False
        self._wake = asyncio.Event()
        self._ended = False
        self._disturbed: set[str] = set()
        self._reading = 0.0
        """Seconds the last reading took."""
        self._read_again: asyncio.TimerHandle | None = None
        self._broken = Broken()
        self.problems: dict[Source, tuple[str, ...]] = {}
        self.conflicts: list[str] = []
        self._complaints = Complaints()
        self._name, self._failed_steps = name, Troubles(time.monotonic)
        """What kept the last step from being made at all, if anything did."""
        self.started = False
        self._stepping = False
        self.repairs = 0
        self.last_repair, self.repaired_at = "", 0.0
        self.last_resync = 0.0
        self._resynced = 0.0
        self._interval = pacing.interval
        """Seconds from the last full comparison to the next."""
        self.listeners: list[Callable[[Outcome], None]] = []
        """Called after each step."""

    # What others ask for.

    def touch(self, sources: Iterable[Source]) -> None:
        """These sources may contribute something else now."""
        self._sources.update(sources)
        self._wake.set()

    def pace(self, interval: float) -> None:
        """Seconds between full comparisons, from now on."""
        self._pacing = msgspec.structs.replace(self._pacing, interval=interval)
        self._interval = interval
        self._wake.set()

    async def settle(self, sources: Iterable[Source]) -> list[str]:
        """Bring these sources to the kernel now; what of them does not stand, a line each. Raises Unavailable."""
        if self._ended:
            raise Unavailable(STOPPING)
        future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._waiters.append((frozenset(sources), future))
        self.touch(self._waiters[-1][0])
        return await future

    def resync(self, namespaces: set[str] | None = None) -> None:
        """Compare with the kernel again; None: everywhere."""
        self._again = None if namespaces is None or self._again is None else self._again | namespaces
        self._wake.set()

    async def dry_run(self, network: str = "") -> list[str]:
        """What would be done now, as commands; of one network, or of all."""
        if not self._pacing.near:
            return self._stepper.dry_run(network)  # a step of it may take long, and this one asks nobody
        return await self.in_thread(lambda: self._stepper.dry_run(network))

    async def faults(self, sources: Iterable[Source]) -> list[str]:
        """What of these sources does not stand in the kernel now, a line each."""
        return await self.in_thread(lambda: self._stepper.faults(tuple(sources)))

    # What others look at.

    @property
    def busy(self) -> bool:
        """Something is wanted that is not in the kernel yet."""
        return self._stepping or self._wake.is_set() or bool(self._stepper.reconciler.postponed)

    def contribution(self, source: Source) -> Contribution | None:
        """What a source wants, as of the last step."""
        return self._stepper.union.sources.get(source)

    def desired(self, key: Key) -> Object | None:
        return self._stepper.union.desired.get(key)

    def failing(self, contributors: Set[str]) -> list[str]:
        """What does not stand of all that these contributors want, as of the last step, a line each."""
        return self._stepper.failing(contributors)

    def found(self) -> list[Object]:
        """All of ours that is there, as far as is known."""
        return list(self._stepper.reconciler.known.values())

    @property
    def waived(self) -> Mapping[Key, str]:
        """What is wanted in containers and is not made there, since somebody decided otherwise there."""
        return self._stepper.reconciler.waived

    @property
    def altered(self) -> Mapping[Key, str]:
        """MAC addresses that others gave to containers' devices."""
        return dict(self._stepper.reconciler.altered)

    def counts(self) -> dict[str, t.Count]:
        """By kind; of those there are any of."""
        return counts_of(self._stepper.reconciler)

    def _failing(self) -> list[tuple[str, Trouble]]:
        """What cannot be read or written, by name."""
        steps = [(f"the {self._name}", x) for x in self._failed_steps.by_key.values()]
        return steps + failing(self._stepper.reconciler)

    def troubles(self) -> tuple[t.Trouble, ...]:
        return replies(self._failing())

    # The loop itself.

    async def run(self) -> None:
        """For ever. From its first step on, what is not wanted is removed: begin when the model is completely known. May be
        called again after it has failed: then everything is compared anew."""
        loop = asyncio.get_running_loop()
        self._stepper.reconciler.complete = True
        self._again = None
        self._wake.set()
        loop.add_reader(self._watcher.fileno(), self._heard)
        try:
            while True:
                await self._wait()
                self._stepping = True
                try:
                    await self._step()
                finally:
                    self._stepping = False
                self.started = True
        finally:
            loop.remove_reader(self._watcher.fileno())

    def end(self) -> None:
        """There will be no more steps: whoever waits for one is told so."""
        self._ended = True
        waiters, self._waiters = self._waiters, []
        _refuse(waiters, Unavailable(STOPPING))

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        self._watcher.close()

    def _heard(self) -> None:
        """The kernel has something to tell: it is read in the worker thread, so until then not asked for again."""
        asyncio.get_running_loop().remove_reader(self._watcher.fileno())
        self._events = True
        self._wake.set()

    async def _wait(self) -> None:
        """Until there is work, or a failed object or source is due again, or the interval is over."""
        tries = self._stepper.reconciler.next_try(), self._broken.next_try()
        due = min(t for t in (self._resynced + self._interval, *tries) if t is not None)
        quiet = time.monotonic() + QUIET * self._asked if self._stepper.reconciler.postponed else due
        try:
            async with asyncio.timeout(max(min(due, quiet) - time.monotonic(), 0.01)):
                await self._wake.wait()
            if self._pacing.gather:
                await asyncio.sleep(self._pacing.gather)
        except TimeoutError:
            self._overdue()
        self._wake.clear()

    def _overdue(self) -> None:
        now = time.monotonic()
        self._spare = True
        if now >= self._resynced + self._interval:
            self._again = None
        elif self._again is not None:
            self._again |= self._stepper.reconciler.due(now)

    async def _step(self) -> None:
        sources, self._sources = self._sources | self._broken.due(), set()
        waiters, self._waiters = self._waiters, []
        again, self._again = self._again, set()
        events, self._events = self._events, False
        spare, self._spare, self._asked = self._spare and not sources, False, bool(sources)
        work = Work(namespaces=again, events=events, spare=spare)
        try:
            work.contributions = [(source, self._contribution(source)) for source in sources]
            outcome = await self.in_thread(lambda: self._stepper.step(work))
        except BaseException as error:
            self._sources |= sources  # so that nothing is forgotten
            if isinstance(error, Exception):
                self._failed_steps.add(_STEP, one_line(str(error)) or type(error).__name__, tried=True)
                why = f"this host cannot be changed now: {one_line(str(error))}"
                _answer(waiters, lambda _: [why])
            _refuse(waiters, Unavailable(STOPPING))
            raise
        self._failed_steps.clear(_STEP)
        if events:
            asyncio.get_running_loop().add_reader(self._watcher.fileno(), self._heard)
        self._note(work, outcome)
        _answer(waiters, lambda wanted: [line for s in sorted(wanted) for line in self._failed(s, outcome)])
        if outcome.disturbed:
            self._read_soon(outcome)
        for listener in self.listeners:
            try:
                listener(outcome)
            except Exception as error:
                log.error("who hears of steps failed: %s", one_line(str(error)), exc_info=error)

    def _failed(self, source: Source, outcome: Outcome) -> list[str]:
        return [*self._broken.reasons(source), *outcome.failed.get(source, ())]

    def _contribution(self, source: Source) -> Contribution | None:
        """What a source wants; what it wanted before, with the reason, where its driver fails. A driver is one file, maybe
        somebody's own: a defect in it must not cost other networks anything, so whatever it raises is contained here."""
        try:
            found = self._compile(source)
        except Exception as error:
            reason = f"its driver failed, what it has stays as it is: {one_line(str(error)) or type(error).__name__}"
            if self._broken.note(source, reason):
                log.error("%s: %s", source, reason, exc_info=error)
            return msgspec.structs.replace(self.contribution(source) or Contribution(), problems=(reason,))
        self._broken.clear(source)
        return found

    def _read_soon(self, outcome: Outcome) -> None:
        self._disturbed |= outcome.disturbed
        if self._read_again is None:
            delay = max(SOONEST, SHARE * self._reading)
            self._read_again = asyncio.get_running_loop().call_later(delay, self._read_now)

    def _read_now(self) -> None:
        self._read_again = None
        disturbed, self._disturbed = self._disturbed, set()
        self.resync(disturbed)

    def _note(self, work: Work, outcome: Outcome) -> None:
        for source, contribution in work.contributions:
            self.problems.pop(source, None)
            if contribution and contribution.problems:
                self.problems[source] = contribution.problems
        if outcome.read > 0.001:
            self._reading = outcome.read
        if work.contributions:
            self.conflicts = self._stepper.conflicts()
        if work.namespaces is None:
            self.last_resync, self._resynced = time.time(), time.monotonic()
            self._interval = self._pacing.interval * (1 - self._pacing.jitter * random.random())
        self._complaints.look(dict(self._failing()))
        if outcome.repaired and self.started:
            self.repairs += len(outcome.repaired)
            self.last_repair, self.repaired_at = outcome.repaired[-1], time.time()
            log.info(
                "repaired %s",
                ", ".join(outcome.repaired[:5]) + (" …" if len(outcome.repaired) > 5 else ""),
                extra=events.DRIFT_REPAIRED,
            )

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do something with the kernel between two steps."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _answer(waiters: Iterable[Waiter], lines: Callable[[frozenset[Source]], list[str]]) -> None:
    for wanted, future in waiters:
        if not future.done():
            future.set_result(lines(wanted))


def _refuse(waiters: Iterable[Waiter], error: Exception) -> None:
    for _, future in waiters:
        if not future.done():
            future.set_exception(error)
