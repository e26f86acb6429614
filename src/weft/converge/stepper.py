"""Union and reconciler, with all that blocks on a kernel or another target. Lives in one worker thread, which alone changes it.

A step is: take new contributions in, hear what the kernel has to tell, bring to the kernel what follows.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Set

import msgspec

from weft.hoststate import HOST, Contribution, Key, Union
from weft.hoststate.union import Source
from weft.reconcile.kinds.table import describe, kind_of
from weft.reconcile.protocol import Kernel, Op, Watcher
from weft.reconcile.reconciler import Drift, Reconciler, key_of
from weft.reconcile.relations import in_order
from weft.reconcile.render import commands

AT_ONCE = 8
"""Of what can be done without, while nobody waits: all else waits as long."""


class Work(msgspec.Struct, kw_only=True):
    """What has come together since the last step. `namespaces`: to be read again; None: all of them. `events`: the kernel
    has something to tell. `spare`: nobody waits, so some of what can be done without is made."""

    contributions: list[tuple[Source, Contribution | None]] = []
    namespaces: set[str] | None = msgspec.field(default_factory=set)
    events: bool = False
    spare: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`failed`: of the sources in the work, what does not stand, a line each. `repaired`: what the kernel had lost, or
    others had changed, also what is made soon. `failures`: of the whole step. `disturbed`: namespaces to read again soon.
    `uplink`: something about it may have changed. `altered`: some device that is lent has another MAC address than it was made
    with. `read`: seconds spent on reading again. `contributors`: those whose sources wanted something else than before."""

    failed: dict[Source, list[str]]
    repaired: tuple[str, ...]
    failures: int
    writes: int
    disturbed: frozenset[str]
    uplink: bool
    altered: bool
    contributors: frozenset[str]
    read: float
    seconds: float


class Stepper:
    def __init__(
        self, kernel: Kernel, watcher: Watcher, union: Union, always: Set[str] = frozenset({HOST}), *, near: bool = True
    ) -> None:
        """`always`: as of `Reconciler`. `near`: as of `Pacing`."""
        self._kernel, self._watcher, self._near = kernel, watcher, near
        self.union = union
        self.reconciler = Reconciler(kernel, union.desired, time.monotonic, always, postpone=True)
        self._adopted = False
        """Whether it was read what an earlier agent left: until then everything would seem to be missing."""

    def step(self, work: Work) -> Outcome:
        began, waiting = time.monotonic(), self.reconciler.later
        changed: set[Key] = set()
        contributors: set[str] = set()
        for source, contribution in work.contributions:
            if keys := self.union.set(source, contribution):
                changed |= keys
                contributors.add(source.contributor)
        adopting, self._adopted = not self._adopted, True
        reports = [self.reconciler.resync()] if adopting else []
        if changed and not adopting:
            reports.append(self.reconciler.update(changed))
        postponed = set(self.reconciler.postponed)
        drift = self.reconciler.observe(self._watcher.drain()) if work.events else Drift()
        repairs = [self.reconciler.repair(drift.keys)] if drift.keys else []
        before_read = time.monotonic()
        if not adopting and (work.namespaces is None or work.namespaces):
            repairs.append(self.reconciler.resync(work.namespaces))
        now = time.monotonic()
        missed = self.reconciler.postponed - postponed - self.reconciler.failures.keys() if repairs else ()
        repaired = [key for r in repairs for op in r.ops if (key := key_of(op)) not in waiting]
        reports += repairs
        if work.spare:
            reports.append(self.reconciler.carry_on(AT_ONCE))
        return Outcome(
            failed={s: lines for s, c in work.contributions if (lines := self._failures(c))},
            repaired=tuple(describe(key) for key in (*repaired, *sorted(missed))),
            failures=sum(len(r.failures) for r in reports),
            writes=sum(len(r.ops) for r in reports),
            disturbed=frozenset(drift.namespaces),
            uplink=drift.uplink,
            altered=bool(self.reconciler.altered),
            contributors=frozenset(contributors),
            read=now - before_read,
            seconds=time.monotonic() - began,
        )

    def _failures(self, contribution: Contribution | None) -> list[str]:
        """Causes first: what waits for something comes after it in the order of making. Nothing of what can be done without."""
        objects = in_order(contribution.objects) if contribution and self.reconciler.failures else ()
        troubles = self.reconciler.failures
        return [line(o.key, t.reason) for o in objects if (t := troubles.get(o.key)) and not kind_of(o).optional]

    def failing(self, contributors: Set[str]) -> list[str]:
        """What does not stand of all that these want, a line each."""
        if not self.reconciler.failures:
            return []
        return [
            line for s, c in self.union.sources.items() if s.contributor in contributors for line in self._failures(c)
        ]

    def conflicts(self) -> list[str]:
        """One line for each wish of a source that another source's stands against."""
        return [f"{describe(c.key)}: {c.source} wants it otherwise than {c.other}" for c in self.union.conflicts()]

    def faults(self, sources: Iterable[Source]) -> list[str]:
        """What of these sources' objects the kernel does not have as it should, a line each; read anew."""
        wanted = [c for source in sources if (c := self.union.sources.get(source))]
        keys = {o.key for c in wanted for o in c.objects if not kind_of(o).optional}
        found = self.reconciler.dry_run({key[1] for key in keys})
        impossible = {f.key: f.reason for f in found.failures if f.key in keys}
        missing = {key: "missing, or not as it should be" for op in found.ops if (key := key_of(op)) in keys}
        return [line(key, reason) for key, reason in (missing | impossible).items()]

    def dry_run(self, network: str = "") -> list[str]:
        """Commands for what would be done now, for all objects or for one network's."""
        ops = self.reconciler.dry_run().ops if self._near else self._forecast()
        if network:
            keys = {o.key for source, c in self.union.sources.items() if source.network == network for o in c.objects}
            ops = tuple(op for op in ops if key_of(op) in keys)
        return [line for op in ops for line in commands(op)]

    def _forecast(self) -> tuple[Op, ...]:
        """Nothing, before it was ever looked at."""
        return self.reconciler.forecast().ops if self._adopted else ()


def line(key: Key, reason: str) -> str:
    """Most of the kernel's reasons begin with the object already."""
    named = f"{describe(key)}: "
    return reason if reason.startswith(named) else named + reason
