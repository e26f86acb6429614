"""Connections that were open when policy or isolation changed: those that are forbidden now are cut off, those that are allowed
again go on.

Rules let pass what belongs to an open connection. So after each step that changed such rules, which are in force by then,
open connections are looked at and judged by the model, and what has become of each is marked in conntrack. First they are
read, then it is asked what the model says, which thus is never older than what a connection was begun under: none is cut off
that was made when it was allowed already. An agent that starts looks once. Policy and isolation each have a bit of the mark,
and a look of their own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from weft.base import events
from weft.base.errors import NotFound
from weft.base.net import IPAddress
from weft.converge.stepper import Outcome
from weft.kernel.host import connections
from weft.kernel.host.connections import Addresses, Flow
from weft.policy.render.marks import CUT
from weft.policy.standing import Connection

log = logging.getLogger(__name__)

SOONEST = 0.2
"""Seconds from one look to the next."""
SHARE = 2
"""And so many times the duration of one at least."""
PATIENCE = 2.0
"""Seconds for which who changed something waits for a look."""


class About(NamedTuple):
    """`name`: how the names of those begin that make the rules, and what changed. `bit`: of the mark."""

    name: str
    bit: int


POLICY = About("policy", CUT)

Place = Mapping[IPAddress, Any]
"""A namespace in which connections are asked: by address as it is seen there. What stands there only `Standing` knows."""


class Standing(Protocol):
    """What the model says at one moment. Pure."""

    def allows(self, place: Any, connection: Connection) -> bool: ...


class Conntrack(Protocol):
    """Both block."""

    def find(self, places: Mapping[str, Addresses]) -> dict[str, list[Flow]]: ...

    def put(self, ns: str, bit: int, flows: list[tuple[Flow, bool]]) -> int: ...


class Connections:
    """`places`: by namespace, whose connections are asked, and whose might have been before. `standing`: what the model
    says now. `count`: told how many were cut off."""

    def __init__(
        self,
        places: Callable[[], Mapping[str, Place]],
        before: Callable[[], Mapping[str, Place]],
        standing: Callable[[], Standing],
        conntrack: Conntrack = connections,
        count: Callable[[int], None] = lambda _cut: None,
        about: About = POLICY,
    ) -> None:
        self._places, self._standing, self._conntrack = places, standing, conntrack
        self._before = before
        """Also of those that were asked at the last look: what was cut off is not to stay so."""
        self._wake, self._still = asyncio.Event(), asyncio.Event()
        self._wake.set()
        self._seconds = 0.0
        """That the last look took."""
        self._count, self._about = count, about

    def stepped(self, outcome: Outcome) -> None:
        """A step of the kernel's loop. What had to be put back may have let connections begin."""
        if outcome.repaired or any(name.startswith(self._about.name) for name in outcome.contributors):
            self._wake.set()
            self._still.clear()

    async def still(self) -> None:
        """Waits until connections are as the steps so far made them; not for ever, where they cannot be looked at."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._still.wait()

    async def run(self) -> None:
        """For ever. Raises WeftError, after which it is to be called again: nothing is forgotten."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            began = time.monotonic()
            try:
                await self._look()
            except BaseException:
                self._wake.set()
                raise
            if not self._wake.is_set():
                self._still.set()
            self._seconds = time.monotonic() - began
            await asyncio.sleep(max(SOONEST, SHARE * self._seconds) - self._seconds)

    async def _look(self) -> None:
        now, before = self._places(), self._before()
        asked = {ns: _addresses(now.get(ns, {})) | _addresses(before.get(ns, {})) for ns in {**now, **before}}
        if not asked:
            return
        found = await asyncio.to_thread(self._conntrack.find, asked)
        places, standing = self._places(), self._standing()
        cut, mended = await asyncio.to_thread(self._judge, found, places, standing)
        self._before = lambda: now
        self._count(cut)
        if cut or mended:
            log.info(
                "%s changed: %d open connections were cut off, %d go on",
                self._about.name,
                cut,
                mended,
                extra=events.CONNECTIONS_CUT,
            )

    def _judge(
        self, found: Mapping[str, list[Flow]], places: Mapping[str, Place], standing: Standing
    ) -> tuple[int, int]:
        """How many were cut off, and how many are no longer."""
        cut = mended = 0
        for ns, flows in found.items():
            changes = list(changed(flows, places.get(ns, {}), standing, self._about.bit))
            try:
                self._conntrack.put(ns, self._about.bit, changes)
            except NotFound:
                continue
            cut += sum(wanted for _, wanted in changes)
            mended += sum(not wanted for _, wanted in changes)
        return cut, mended


def _addresses(place: Place) -> set[bytes]:
    return {address.packed for address in place}


def changed(flows: Iterable[Flow], place: Place, standing: Standing, bit: int) -> Iterator[tuple[Flow, bool]]:
    """Those whose mark says otherwise than the model, with whether they are to be cut off."""
    for flow in flows:
        allowed = standing.allows(place, Connection(flow.origin, flow.src, flow.protocol, flow.sport, flow.icmp))
        if allowed == bool(flow.mark & bit):
            yield flow, not allowed
