"""Probes of `weft check` on this host: containers of a test, which it makes, attaches, has answer, and removes.

Whoever asks for them may be killed at any moment: so they are removed when nobody has asked them for anything for as long as
was said, and all that are left are removed when an agent starts, and before others are made. They are known by their owner
`check/RUN`, and their namespaces by name and mark (`weft.kernel.host.probes`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import msgspec

from weft.api import checks as c
from weft.api import types as t
from weft.base.errors import Conflict, NotFound, WeftError
from weft.base.net import IPAddress
from weft.compile.known import Known
from weft.datapaths import registry
from weft.datapaths.traits import KnownBy
from weft.endpoints.attach import Attachments
from weft.hoststate import HOST
from weft.model import Network

log = logging.getLogger(__name__)

OWNER = "check/"
MOST = 8
"""Checks at a time."""
AT_ONCE = 4
"""Probes that are made at the same time."""


class Answers(Protocol):
    """What answers in a probe. `tcp`, `udp`: its ports."""

    tcp: int
    udp: int

    def close(self) -> None: ...


class Spaces(Protocol):
    """`weft.agent.probing`. What is no coroutine blocks; all raise WeftError."""

    def path(self, name: str) -> str: ...

    def make(self, name: str) -> str: ...

    def unmake(self, where: str) -> None: ...

    def left(self) -> list[str]: ...

    async def answer(self, where: str) -> Answers: ...

    async def run(
        self, where: str, tests: Iterable[c.Test], seconds: float, at_once: int, rate: int
    ) -> tuple[c.Tested, ...]: ...


Attach = Callable[[t.Attach], Awaitable[t.EndpointInfo]]


class Placing(msgspec.Struct):
    """What one check has here. `seconds`: for which it stays."""

    seconds: float
    timer: asyncio.TimerHandle | None = None
    paths: dict[str, str] = {}
    """By endpoint's id, the namespace."""
    made: list[str] = []
    """Namespaces."""
    answering: list[Answers] = []


class Checks:
    def __init__(self, known: Known, attachments: Attachments, spaces: Spaces) -> None:
        self._spaces = spaces
        self._known, self._view, self._attachments = known, known.view, attachments
        self._runs: dict[str, Placing] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def run_for_ever(self) -> None:
        """Sweeps, and then has nothing to do. Raises WeftError, after which it is to be called again."""
        await self.sweep()
        await asyncio.Event().wait()

    async def place(self, request: c.PlaceProbes, attach: Attach) -> c.Placed:
        """One probe in each network, two where the hosts of a network are apart. Raises Conflict."""
        if request.run in self._runs:
            raise Conflict(f"check {request.run} has its probes here already: take another id")
        if len(self._runs) >= MOST:
            raise Conflict(f"{MOST} checks run on this host already: wait until one is over")
        self._runs[request.run] = Placing(request.seconds)
        try:
            await self.sweep()
            self._stay(request.run)
            view, room = self._view, asyncio.Semaphore(AT_ONCE)
            names = sorted(request.networks or (n for n in view.networks if not view.driver(n).addresses.bare))
            wanted = [(name, n) for name in names for n in range(2 if self._apart(name) else 1)]

            async def one(network: str, number: int) -> c.Probe | c.Unplaced:
                async with room:
                    return await self._probe(request.run, network, number, attach)

            found = await asyncio.gather(*(one(*each) for each in wanted))
        except BaseException:
            self._end(request.run)
            raise
        return c.Placed(
            node=view.me,
            probes=tuple(each for each in found if isinstance(each, c.Probe)),
            unplaced=tuple({each.network: each for each in found if isinstance(each, c.Unplaced)}.values()),
            local=tuple(name for name in names if self._apart(name)),
        )

    async def run(self, run: str, request: c.RunTests) -> c.Ran:
        """Raises NotFound."""
        placing = self._placing(run)
        self._stay(run)
        where = placing.paths.get(request.probe) if request.probe else HOST
        if where is None:
            raise NotFound(f"check {run} has no probe {request.probe} here")
        found = await self._spaces.run(where, request.tests, request.seconds, request.at_once, request.rate)
        self._stay(run)
        return c.Ran(node=self._view.me, results=found)

    async def remove(self, run: str) -> t.Done:
        placing = self._runs.pop(run, None)
        if placing is None:
            return t.Done(what=())
        if placing.timer is not None:
            placing.timer.cancel()
        for each in placing.answering:
            each.close()
        removed = await self._attachments.detach_owned(OWNER + run)
        await asyncio.to_thread(self._unmake, list(placing.made))
        return t.Done(what=tuple(f"{e.name} from {e.network}" for e in removed))

    async def sweep(self) -> None:
        """What agents before this one left."""
        owners = {e.owner for e in self._view.endpoints.values() if e.owner.startswith(OWNER)}
        for owner in sorted(owners):
            if owner.removeprefix(OWNER) not in self._runs:
                removed = await self._attachments.detach_owned(owner)
                log.info("cleaning up after a check: %s", ", ".join(e.name for e in removed))
        held = {path for placing in self._runs.values() for path in placing.made}
        await asyncio.to_thread(lambda: self._unmake([path for path in self._spaces.left() if path not in held]))

    # One probe.

    async def _probe(self, run: str, name: str, number: int, attach: Attach) -> c.Probe | c.Unplaced:
        network = self._view.networks.get(name)
        if network is None:
            return c.Unplaced(network=name, reason="there is no such network")
        if self._view.driver(name).addresses.bare:
            return c.Unplaced(network=name, reason=f"driver {network.driver} gives containers no addresses")
        try:
            return await self._made(run, network, number, attach)
        except WeftError as error:
            return c.Unplaced(network=name, reason=str(error))

    async def _made(self, run: str, network: Network, number: int, attach: Attach) -> c.Probe:
        placing, me = self._placing(run), self._view.me
        short = f"{run}-{len(placing.made)}"
        path = self._spaces.path(short)
        placing.made.append(path)
        await asyncio.to_thread(self._spaces.make, short)
        name = f"check-{run}-{number + 1}-{me}" if number else f"check-{run}-{me}"
        request = t.Attach(target=path, network=network.name, name=name[:63].rstrip("-"), owner=OWNER + run)
        info = await attach(request)
        answering = await self._spaces.answer(path)
        if self._runs.get(run) is not placing:  # it is over meanwhile
            answering.close()
            await self._attachments.detach_owned(OWNER + run)
            await asyncio.to_thread(self._unmake, [path])
            raise NotFound("the check is over already")
        placing.answering.append(answering)
        placing.paths[info.id] = path
        return c.Probe(
            id=info.id,
            name=info.name,
            network=network.name,
            addresses=tuple(a.ip for a in info.addresses),
            mtu=info.mtu,
            tcp=answering.tcp,
            udp=answering.udp,
            resolver=bool(info.resolver),
            reached=self._reached(network, info.id),
        )

    def _reached(self, network: Network, id: str) -> tuple[IPAddress, ...]:
        endpoint, site = self._view.endpoints.get(id), self._known.here(network.name)
        if endpoint is None or site is None:
            return ()
        reached = registry.of(network).reached(site, endpoint)
        return reached.targets if reached else ()

    def _apart(self, network: str) -> bool:
        """Whether each host has such a network of its own."""
        if network not in self._view.networks:
            return False
        driver = self._view.driver(network)
        return driver.known_by is KnownBy.NOTHING and not driver.addresses.bare

    # How long.

    def _placing(self, run: str) -> Placing:
        placing = self._runs.get(run)
        if placing is None:
            raise NotFound(f"check {run} has no probes here (any more): they are removed after a while")
        return placing

    def _stay(self, run: str) -> None:
        placing = self._runs.get(run)
        if placing is None:
            return
        if placing.timer is not None:
            placing.timer.cancel()
        placing.timer = asyncio.get_running_loop().call_later(placing.seconds, self._end, run)

    def _end(self, run: str) -> None:
        """In a task of its own: whoever asked may be gone."""
        task = asyncio.get_running_loop().create_task(self._removed(run))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _removed(self, run: str) -> None:
        try:
            await self.remove(run)
        except WeftError as error:
            log.warning("probes of check %s are removed when the agent starts anew: %s", run, error)

    def _unmake(self, paths: list[str]) -> None:
        for path in paths:
            try:
                self._spaces.unmake(path)
            except WeftError as error:
                log.warning("%s", error)
