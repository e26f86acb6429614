"""BGP of this host: what the view says is BIRD's configuration, and BIRD has it.

BIRD runs while there is a routed network, or a router that this node is to peer with (`bgp_config`). It is kept running
(`supervisor`); when it is started again it takes its routes over, as do its neighbours (graceful restart). Routes that somebody
else removes it writes again at once. How the sessions are doing is looked at in intervals (`bgp_sessions`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from weft.base.errors import NotFound
from weft.base.net import Family, parse_address, parse_network
from weft.bgp import reach, replies
from weft.bgp.diagnose import Signatures
from weft.bgp.plan import PlannedSession, Speaker
from weft.bgp.reach import Unreached
from weft.bgp.replies import BirdRoute
from weft.cluster.view import View
from weft.daemons.bgp_config import BgpConfig, Configured
from weft.daemons.bgp_sessions import Asked, BgpSessions, SessionStatus
from weft.daemons.supervisor import GATHER, TROUBLE, DaemonSupervisor, Supervised
from weft.model import Node, records

log = logging.getLogger(__name__)

REWRITE = 1.0
"""Seconds between two times that BIRD is asked to write its routes again: who removes them may do so one by one."""


CONCERNS = (
    records.NETWORKS,
    records.LEASES,
    records.NODES,
    records.PRESENCE,
    records.ENDPOINTS,
    records.FLOATING,
    records.BGP_SETTINGS,
    records.BGP_SECRET,
    records.BGP_PEERS,
)
"""The kinds of record that may have to do with it."""


class Removals(Protocol):
    """`weft.daemons.bird_routes.LostRoutes`."""

    def fileno(self) -> int: ...
    def drain(self) -> frozenset[Family]: ...
    def close(self) -> None: ...


class BgpSpeaker(Supervised, Configured, Asked, Protocol):
    """`weft.daemons.bird.Bird`."""

    def lost_routes(self) -> Removals: ...


class Routing:
    def __init__(
        self,
        view: View,
        node: Callable[[], Node | None],
        bird: BgpSpeaker,
        signatures: Callable[[], Signatures],
        make_secret: Callable[[], Awaitable[None]],
    ) -> None:
        """`node`: this host, once it is known. `signatures`: the kernel's counters. `make_secret`: has the cluster's secret
        in the store and the view."""
        self._node, self._bird = node, bird
        self._unreached: tuple[Unreached, ...] | None = None
        self.config = BgpConfig(view, node, bird, make_secret)
        self.sessions = BgpSessions(
            bird, signatures, lambda: self.config.wanted, lambda: self.daemon.trouble, self._mend
        )
        self.daemon = DaemonSupervisor(bird, self.config, self._decide, self.sessions.look_soon)

    def touch(self) -> None:
        """The model changed."""
        self._unreached = None
        self.daemon.touch()

    def _mend(self) -> None:
        self.daemon.touch()

    async def run(self) -> None:
        """For ever: begin when the model is completely known. Its end leaves BIRD running."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.daemon.run(), name="bird")
            tasks.create_task(self.sessions.run(), name="bgp sessions")
            tasks.create_task(self._rewrite(), name="bgp routes")

    async def _decide(self) -> Speaker | None:
        wanted = await self.config.decide()
        if wanted is None:
            self.sessions.forget()
        return wanted

    # Its routes in the kernel.

    async def _rewrite(self) -> None:
        """What somebody else removes of them is written again."""
        try:
            removals = self._bird.lost_routes()
        except TROUBLE as error:
            log.warning("routes of BIRD's that someone removes come back only after a minute: %s", error)
            return
        loop, lost = asyncio.get_running_loop(), asyncio.Event()
        try:
            while True:
                loop.add_reader(removals.fileno(), lost.set)
                await lost.wait()
                loop.remove_reader(removals.fileno())
                lost.clear()
                await asyncio.sleep(GATHER)
                families = await asyncio.to_thread(removals.drain)
                if families and self.config.wanted is not None:
                    await self._write_again(families)
                    await asyncio.sleep(REWRITE)
        finally:
            loop.remove_reader(removals.fileno())
            removals.close()

    async def _write_again(self, families: frozenset[Family]) -> None:
        log.warning("someone removed routes of BIRD's: it writes them again")
        try:
            async with self.daemon.lock:
                for family in sorted(families):
                    await asyncio.to_thread(self._bird.ask, f"reload out kernel{family}")
        except TROUBLE:
            self._mend()  # it is brought back as it should be

    # What it says.

    @property
    def trouble(self) -> str:
        """Why BIRD does not run as it should, in one line."""
        return self.daemon.trouble

    @property
    def restarts(self) -> int:
        return self.daemon.restarts

    @property
    def states(self) -> tuple[SessionStatus, ...]:
        """Of the sessions, as they were last seen."""
        return self.sessions.states

    async def look(self) -> tuple[SessionStatus, ...]:
        """As `BgpSessions.look`."""
        return await self.sessions.look()

    def count(self, state: str) -> int:
        """Of the sessions, how many were last seen in this state."""
        return self.sessions.count(state)

    async def routes(self, prefix: str = "") -> tuple[BirdRoute, ...]:
        """All that BIRD knows but for the links' own. Raises Unavailable, NotFound."""
        if self.config.wanted is None:
            raise NotFound("BGP is not spoken here: there is no routed network, and no peer that selects this node")
        answer = await asyncio.to_thread(self._bird.ask, f"show route {f'for {prefix} ' if prefix else ''}all")
        return tuple(r for r in replies.routes(answer) if r.protocol != "uplinks")

    def tunnelled(self, route: BirdRoute) -> bool:
        """Whether it is Weft's own, through a tunnel."""
        hop, wanted = route.next_hop, self.config.wanted
        return bool(hop and wanted and wanted.tunnelled(parse_network(route.prefix), parse_address(hop)))

    def session(self, protocol: str) -> PlannedSession | None:
        """Whose protocol it is."""
        sessions = self.config.wanted.sessions if self.config.wanted else ()
        return next((s for s in sessions if s.name == protocol), None)

    def unreached(self) -> tuple[Unreached, ...]:
        """Containers that no packet will reach, by the model as it is now."""
        if self._unreached is None:
            me = self._node()
            self._unreached = tuple(reach.unreached(me, self.config.model())) if me else ()
        return self._unreached

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is amiss, a line each, with the neighbour that it concerns or ""."""
        if self.trouble:
            yield "", self.trouble
        for text in self.config.wanted.problems if self.config.wanted else ():
            yield "", text
        yield from self.sessions.problems()
