"""One run: takes the plan's steps one after the other, and checks during and after each what has to hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from chaos import checks, evidence, host, steady
from chaos.account import Account, Span
from chaos.faults import NOTHING, Fault
from chaos.flat import Flat
from chaos.model import HOSTS, STEADY, Model
from chaos.operations import Detach, Operation, RemoveNet
from chaos.plan import Step, steps
from chaos.probes import PATIENCE, Prober
from chaos.world import World, pause
from weft.base.errors import WeftError

ALL_EVERY = 5
"""After so many steps everything is checked, not only that all is settled."""
_POLL = 0.2


@dataclass(frozen=True)
class Limits:
    """`deadline`: seconds for everything to be as it should be again after a fault. `slack`: how many times slower than
    promised a repair may be; the promises are those of an idle machine."""

    deadline: float = 60.0
    slack: float = 5.0


@dataclass
class Run:
    """`say`: is told each step. `stop`: whether no further step is to be begun."""

    world: World
    seed: int
    folder: Path
    say: Callable[[str], None]
    limits: Limits = field(default_factory=Limits)
    account: Account = field(default_factory=Account)
    violations: list[str] = field(default_factory=list)
    steps_done: int = 0
    _flat: Flat = field(default_factory=Flat)
    _model: Model = STEADY

    def go(self, stop: Callable[[int], bool], *, short: bool, without: Collection[str]) -> bool:
        """Whether all held. What was seen of a failure is in the folder afterwards."""
        self._until(checks.CHECKS, STEADY, "before anything has happened")
        before = {name: host.snapshot(self.world, name) for name in HOSTS}
        prober = Prober(steady.probes(self.world))
        try:
            for step in steps(self.seed, short=short, without=without):
                if stop(self.steps_done) or self.violations:
                    break
                self._take(step, prober)
            if not self.violations:
                self._clear(before, prober)
        finally:
            prober.close()
        if self.violations:
            self.world.recover()
            evidence.keep(self.world, self.folder, self.violations)
        return not self.violations

    # A step.

    def _take(self, step: Step, prober: Prober) -> None:
        self.say(str(step))
        start = time.monotonic()
        span = self._happen(step)
        self._model = step.after
        self.steps_done = step.number
        self._recovered(prober, span, checks.QUICK)
        if step.number % ALL_EVERY == 0 and not self.violations:
            self._until(checks.CHECKS, step.after, f"after step {step.number}")
            self._bad(self._flat.look(self.world), f"after step {step.number}")
        self._settle_account(prober, start, span)

    def _happen(self, step: Step) -> Span:
        """The fault and the operations, at the same time."""
        fault = step.fault or Fault("no fault", lambda world, name, pick: None)
        with ThreadPoolExecutor(max(1, len(step.operations))) as pool:
            start = time.monotonic()
            self._each(step.hosts, fault.begin, step.pick)
            under_way = {operation: pool.submit(self._do, operation) for operation in step.operations}
            pause(max(0.0, start + step.seconds - time.monotonic()))
            if fault.undoes:
                self._finished(under_way)
            self._each(step.hosts, fault.end, step.pick)
            end = time.monotonic()
            if fault.undoes:
                under_way = {operation: pool.submit(self._do, operation) for operation in step.operations}
            self._finished(under_way)
        return Span(fault.name, fault.cost, frozenset(step.hosts), start, end, self.limits.slack)

    def _each(self, hosts: Collection[str], act: Callable[[World, str, int], None], pick: int) -> None:
        with ThreadPoolExecutor(len(hosts)) as pool:
            for done in [pool.submit(act, self.world, name, pick) for name in hosts]:
                try:
                    done.result()
                except WeftError as error:
                    self.violations.append(f"the fault could not be made or ended: {error}")

    def _do(self, operation: Operation) -> None:
        """Again and again, as an engine would, until it is done. Raises WeftError when it never is."""
        deadline = time.monotonic() + self.limits.deadline
        while True:
            try:
                operation.perform(self.world)
                return
            except WeftError as error:
                if "\n" in str(error) or "defect" in str(error) or time.monotonic() > deadline:
                    raise
            pause(_POLL)

    def _finished(self, under_way: Mapping[Operation, Future[None]]) -> None:
        for operation, done in under_way.items():
            try:
                done.result()
            except WeftError as error:
                self.violations.append(f"{operation}: {error}")

    # What has to hold.

    def _recovered(self, prober: Prober, span: Span, names: Iterable[str]) -> None:
        """All is settled again, and every flow that is wanted goes on."""
        if self.violations:
            return
        self._until(names, self._model, f"after '{span.name}'")
        wanted = [probe for probe in prober.probes if probe.wanted]
        since, deadline = time.monotonic(), time.monotonic() + self.limits.deadline
        while stuck := [probe for probe in wanted if not probe.flows(since)]:
            if time.monotonic() > deadline:
                self.violations += [f"{p.name} ({p.address}) never passed again after '{span.name}'" for p in stuck]
                return
            pause(_POLL)

    def _settle_account(self, prober: Prober, start: float, span: Span) -> None:
        end = time.monotonic()
        pause(PATIENCE)
        self.violations += self.account.settle(prober.probes, start, end, span)

    def _until(self, names: Iterable[str], model: Model, when: str) -> None:
        """Each of these checks finds nothing, within the deadline."""
        deadline = time.monotonic() + self.limits.deadline
        for name in names:
            while bad := self._checked(name, model):
                if time.monotonic() > deadline or name in checks.FINAL:
                    self._bad(bad, f"{when}: {name}")
                    break
                pause(_POLL)

    def _checked(self, name: str, model: Model) -> list[str]:
        try:
            return list(checks.CHECKS[name](self.world, model))
        except WeftError as error:
            return [f"could not be checked: {error}"]

    def _bad(self, found: Iterable[str], when: str) -> None:
        self.violations += [f"{when}: {each}" for each in islice(found, 20)]

    # The end.

    def _clear(self, before: dict[str, frozenset[str]], prober: Prober) -> None:
        """Removes all that was made: then every host is as it was at first."""
        self.say("the end: everything that was made is removed again")
        start = time.monotonic()
        for operation in self._removals():
            with ThreadPoolExecutor(1) as pool:
                self._finished({operation: pool.submit(self._do, operation)})
        span = Span("removal of everything", NOTHING, frozenset(HOSTS), start, time.monotonic(), self.limits.slack)
        self._recovered(prober, span, checks.CHECKS)
        if not self.violations:
            self._as_before(before)
        self._bad(self._flat.look(self.world), "at the end")
        self._settle_account(prober, start, span)

    def _removals(self) -> list[Operation]:
        boxes, nets = self._model.random_boxes(), self._model.random_nets()
        self._model = STEADY
        return [*(Detach(box) for box in boxes), *(RemoveNet(net, HOSTS[0]) for net in nets)]

    def _as_before(self, before: dict[str, frozenset[str]]) -> None:
        deadline = time.monotonic() + self.limits.deadline
        for name, was in before.items():
            while (now := host.snapshot(self.world, name)) != was:
                if time.monotonic() > deadline:
                    self._bad((f"- {line}" for line in sorted(was - now)), f"{name} at the end, missing")
                    self._bad((f"+ {line}" for line in sorted(now - was)), f"{name} at the end, left over")
                    break
                pause(_POLL)
