"""What rules of policy log on this host: heard, put into words, and kept for a while for who asks.

It is listened to where a rule logs, and only there. However much is logged, it costs the agent no more than `RATE` packets a
second: then it listens to nothing for the rest of that second, and what the kernel cannot keep until then is lost and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from weft.api import observed as o
from weft.base.errors import WeftError
from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.compile.policy import policies
from weft.kernel.host.nflog import Ear, Heard
from weft.model import records
from weft.policy import record
from weft.policy.build import GROUP
from weft.policy.logged import Logged, Names, logging_spaces
from weft.policy.verdict import PROTOCOLS, End, Packet

log = logging.getLogger(__name__)

KEPT = 2_000
"""Packets that are kept for who asks."""
RATE = 200
"""Packets a second that are taken in."""
SOON = 0.2
"""Seconds from a change of policy until it is looked where to listen: changes come in groups."""
AGAIN = 5.0
"""Seconds until it is tried again where it could not be listened."""
CONCERNS = (record.POLICIES, record.TIERS, record.NAMESPACES, records.NETWORKS, records.ENDPOINTS)
_NAMES = {number: name for name, number in reversed(PROTOCOLS.items())}

Listen = Callable[[int, str], Ear]
"""To a group of NFLOG in a namespace. Raises WeftError."""


class PolicyLog:
    def __init__(self, view: View, listen: Listen) -> None:
        self._view, self._listen = view, listen
        self._ears: dict[str, Ear] = {}
        self._names: Names | None = None
        self._outdated = False
        self._kept: deque[o.LogEntry] = deque(maxlen=KEPT)
        self._last = 0
        self._lost = 0
        """By ears that are closed."""
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._second, self._taken = 0, 0
        self._paused = False
        self._problem = ""
        """Why it is not listened everywhere, in one line."""
        view.subscribe("the log of policy", self._changed)

    # What others ask for.

    def problems(self) -> Iterator[str]:
        yield from (self._problem,) if self._problem else ()

    @property
    def last(self) -> int:
        """The number of the last entry."""
        return self._last

    @property
    def lost(self) -> int:
        """Packets that came too fast."""
        return self._lost + sum(ear.lost for ear in self._ears.values())

    async def after(self, number: int, seconds: float) -> o.LogPage:
        """What came after the entry of this number, or the first to come within so many seconds."""
        number = number if number <= self._last else 0  # it is of the agent before this one
        if number == self._last and seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
        entries = tuple(entry for entry in self._kept if entry.number > number)
        first = entries[0].number if entries else self._last + 1
        missed = max(first - number - 1, 0) if 0 < number <= self._last else 0
        return o.LogPage(entries=entries, last=self._last, missed=missed, lost=self.lost, problem=self._problem)

    # Listening.

    async def run(self) -> None:
        """For ever."""
        self._wake.set()
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN if self._problem else None):
                        await self._wake.wait()
                await asyncio.sleep(SOON)
                self._wake.clear()
                await self._look()
        finally:
            for ns in tuple(self._ears):
                self._close(ns)

    def _changed(self, changed: Changed) -> None:
        self._outdated = True
        if changed.any(CONCERNS):
            self._wake.set()

    async def _look(self) -> None:
        wanted = logging_spaces(policies(self._view))
        for ns in self._ears.keys() - wanted:
            self._close(ns)
        self._problem = ""
        for ns in sorted(wanted - self._ears.keys()):
            try:
                self._ears[ns] = await asyncio.to_thread(self._listen, GROUP, ns)
            except WeftError as error:
                if not self._problem:
                    self._problem = str(error)
            else:
                self._hear(ns)

    def _hear(self, ns: str) -> None:
        if not self._paused:
            asyncio.get_running_loop().add_reader(self._ears[ns].fileno(), partial(self._heard, ns))

    def _close(self, ns: str) -> None:
        ear = self._ears.pop(ns)
        asyncio.get_running_loop().remove_reader(ear.fileno())
        self._lost += ear.lost
        ear.close()

    def _heard(self, ns: str) -> None:
        now = time.time()
        if int(now) != self._second:
            self._second, self._taken = int(now), 0
        try:
            found = self._ears[ns].read(RATE - self._taken)
        except WeftError as error:
            log.warning("what policy logs is not heard: %s", error)
            self._close(ns)
            self._wake.set()
            return
        self._taken += len(found)
        for heard in found:
            self._take(heard, ns, now)
        if found:
            news, self._news = self._news, asyncio.Event()
            news.set()
        if self._taken >= RATE:
            self._pause(self._second + 1 - now)

    def _pause(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._paused = True
        for ear in self._ears.values():
            loop.remove_reader(ear.fileno())
        loop.call_later(max(seconds, 0.01), self._resume)

    def _resume(self) -> None:
        self._paused = False
        for ns in self._ears:
            self._hear(ns)

    def _take(self, heard: Heard, ns: str, now: float) -> None:
        packet = Packet(
            protocol=_NAMES.get(heard.protocol, str(heard.protocol)),
            port=heard.dport,
            icmp_type=heard.kind,
            icmp_code=heard.code,
        )
        logged = self._known().logged(heard.prefix, heard.source, heard.target, packet, ns)
        if logged is not None:
            self._last += 1
            self._kept.append(_entry(self._last, now, logged, heard))

    def _known(self) -> Names:
        if self._names is None or self._outdated:
            nodes = ((node.name, a.ip) for node in self._view.nodes.values() for a in node.addresses)
            self._names = Names(policies(self._view), nodes, self._names.chains if self._names else None)
            self._outdated = False
        return self._names


def _entry(number: int, now: float, logged: Logged, heard: Heard) -> o.LogEntry:
    origin = logged.origin
    return o.LogEntry(
        number=number,
        time=now,
        direction=origin.direction,
        source=_end(logged.source),
        target=_end(logged.target),
        protocol=logged.packet.protocol,
        source_port=heard.sport,
        port=heard.dport,
        icmp_type=heard.kind,
        icmp_code=heard.code,
        tier=origin.tier,
        policy=origin.policy,
        rule=origin.index + 1 if origin.policy else 0,
        allowed=logged.allowed,
    )


def _end(end: End) -> o.LogEnd:
    found = end.identity
    return o.LogEnd(
        address=end.address,
        name=found.name if found else "",
        network=found.network if found else "",
        node=found.node if found else end.node,
    )
