"""The targets besides the kernel that this agent drives: each from the first network on that needs it.

A target has to be asked first what this host is there (`Target.learn`): the pure functions of data paths say nothing without
it, and what is to be read follows from it as well. Then it gets a loop of its own. It is asked again from time to time, as a
host's place may change.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial

from weft.base.errors import Unavailable, Unsupported, WeftError, one_line
from weft.cluster.view import View
from weft.converge.loops import Loops
from weft.datapaths import registry
from weft.datapaths.driver import Learnt
from weft.model import Node
from weft.targets.remote import Remote
from weft.targets.routes import Border
from weft.targets.table import Make
from weft.tasks import Supervisor, backoff

log = logging.getLogger(__name__)

AGAIN = 300.0
"""Seconds until a target is asked again what this host is there."""


class Targets:
    def __init__(
        self,
        view: View,
        loops: Loops,
        make: Mapping[str, Make],
        hears: Callable[[], bool],
        learnt: Callable[[], Awaitable[None]],
        cloud: str = "",
    ) -> None:
        """`make`: how each is made. `hears`: whether the store's news come in. `learnt`: called when `known` has changed,
        and when a loop was added. `cloud`: which one, of those that clouds.yaml knows."""
        self._cloud = cloud
        self._view, self._loops, self._make = view, loops, make
        self._hears, self._learnt = hears, learnt
        self.known: dict[str, Learnt] = {}
        self._node: Node | None = None
        self._remotes: dict[str, Remote] = {}
        self._borders: dict[str, Border] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        self.wake = asyncio.Event()
        """A network may need another one."""
        self._moved: dict[str, asyncio.Event] = {}
        """This host has other addresses than a target was asked about."""

    def at(self, node: Node) -> None:
        """This host is this node now."""
        moved = self._node is not None and self._node.addresses != node.addresses
        self._node = node
        for event in self._moved.values() if moved else ():
            event.set()

    async def run(self, supervisor: Supervisor) -> None:
        """For ever."""
        begun: set[str] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self.wake.clear()
                for name in sorted(self.wanted() - begun):
                    begun.add(name)
                    facts = supervisor.keep(f"facts of {name}", partial(self._keep, name, supervisor))
                    tasks.create_task(facts, name=f"facts of {name}")
                await self.wake.wait()

    def wanted(self) -> set[str]:
        """The names of those that networks need, of those there are."""
        networks = self._view.networks.values()
        return {target for n in networks for target in registry.of(n).targets if target in self._make}

    async def need(self, names: Sequence[str]) -> None:
        """For a network that is to be made here. Raises Unsupported, Unavailable: what a target says, which cannot be had."""
        for name in names:
            if name in self._loops.targets and name not in self._make:
                continue  # it was given, and nothing is to be learnt from it
            if name not in self._make:
                raise Unsupported(f"this agent knows no target {name}: it is of another version of Weft")
            if not self.known.get(name, Learnt()).facts:
                await self._ask(name)
            if why := self.known[name].why:
                raise Unavailable(why)

    async def _keep(self, name: str, supervisor: Supervisor) -> None:
        """Learn, drive, learn again."""
        delays = backoff(first=1.0, last=60.0)
        while not self.known.get(name, Learnt()).facts:
            await self._ask(name)
            if not self.known[name].facts:
                await asyncio.sleep(next(delays))
        moved = self._moved.setdefault(name, asyncio.Event())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(supervisor.keep(f"target {name}", self._loops.targets[name].run))
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN * (1 + random.random()) / 2):
                        await moved.wait()
                moved.clear()
                await self._ask(name)

    async def _ask(self, name: str) -> None:
        """What it says now becomes known; what it said before stays so where it cannot be asked."""
        async with self._asking.setdefault(name, asyncio.Lock()):
            before = self.known.get(name, Learnt())
            try:
                found = Learnt(await self._facts(name))
            except WeftError as error:
                log.warning("target %s: %s", name, error)
                found = before if before.facts else Learnt(why=str(error))
            except ImportError as error:
                found = Learnt(why=f"{one_line(str(error))}: pip install 'weft[{name}]', and restart the agent")
            self.known = {**self.known, name: found}
            fresh = bool(found.facts) and self._drive(name)
            if found != before or fresh:
                await self._learnt()

    async def _facts(self, name: str) -> Mapping[str, str]:
        if self._node is None:
            raise Unavailable("this host's uplink is not known yet")
        if name not in self._remotes:
            border = self._borders[name] = Border(name, self._view, self._hears)
            self._remotes[name] = await asyncio.to_thread(self._make[name], border, self._cloud)
            self._loops.expect(self._remotes[name])
        return await asyncio.to_thread(self._remotes[name].learn, self._node)

    def _drive(self, name: str) -> bool:
        """Whether it has got its loop now."""
        if name in self._loops.targets:
            return False
        self._loops.add(self._remotes[name])
        return True

    def sweep(self) -> None:
        """A lease has gone: what lies there without one is looked at."""
        for name, border in self._borders.items():
            if name in self._loops.targets and border().sweeps:
                self._loops.targets[name].resync()

    @property
    def remotes(self) -> Mapping[str, Remote]:
        return self._remotes

    def problems(self) -> Iterator[str]:
        for name, learnt in sorted(self.known.items()):
            if learnt.why and name in self.wanted():
                yield f"target {name}: {learnt.why}"

    def close(self) -> None:
        """Those that have no loop, which closes them."""
        for name, remote in self._remotes.items():
            if name not in self._loops.targets:
                remote.close()
