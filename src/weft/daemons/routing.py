"""BGP of this host: what the view says is BIRD's configuration, and BIRD has it.

BIRD runs while there is a routed network, or a router that this node is to peer with. It outlives the agent, which finds
it again, and changes nothing where the configuration is what it should be. What BIRD has not confirmed is asked again. Its
death is told by its pidfd: it is started again and takes its routes over, as do its neighbours (graceful restart). The
same is done with one that can no longer be spoken to. Routes that somebody else removes it writes again at once.

How the sessions are doing is looked at in intervals, for `weft status` and the metrics.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol as Interface

import msgspec

from weft.base.errors import Failed, NotFound, Unavailable, WeftError
from weft.base.net import Family, parse_address, parse_network
from weft.bgp import config, diagnose, reach, replies
from weft.bgp.diagnose import Signatures, Verdict
from weft.bgp.plan import Model, Session, Speaker, speaker
from weft.bgp.reach import Unreached
from weft.bgp.replies import Line, Protocol, Refused, Route, Unheard
from weft.cluster.view import View
from weft.model import BgpPeer, Node, keys, records

log = logging.getLogger(__name__)

GATHER = 0.05
"""Seconds in which changes come together before BIRD is told."""
LOOK = 10.0
"""Seconds between looks at the sessions."""
LATELY = 60.0
"""Seconds for which the kernel's counters of dropped segments are remembered."""
LONG = 30.0
"""Seconds: a session that is down for longer is a problem."""
SOON = 5.0
"""Seconds: a BIRD that ends sooner than this after its start is started again after a pause."""
LONGEST_PAUSE = 30.0
"""Seconds between two attempts to start BIRD, after many that failed."""
SILENT = 60.0
"""Seconds: a BIRD that answers nothing for so long is started anew. By then its neighbours have nearly given it up."""
REWRITE = 1.0
"""Seconds between two times that BIRD is asked to write its routes again: who removes them may do so one by one."""


TROUBLE = (WeftError, OSError)
"""What costs BGP a try, and never the agent: with OSError, also that files, processes or descriptors cannot be had just now."""


class Removals(Interface):
    """`weft.daemons.bird_routes.LostRoutes`."""

    def fileno(self) -> int: ...
    def drain(self) -> frozenset[Family]: ...
    def close(self) -> None: ...


class Daemon(Interface):
    """`weft.daemons.bird.Bird`."""

    log: Path

    def pid(self) -> int | None: ...
    def pids(self) -> list[int]: ...
    def pidfd(self) -> int | None: ...
    def left(self) -> bool: ...
    def configured(self) -> str: ...
    def check(self, text: str) -> None: ...
    def configure(self, text: str) -> None: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def end(self) -> bool: ...
    def ask(self, command: str) -> tuple[Line, ...]: ...
    def tail(self) -> list[str]: ...
    def lost_routes(self) -> Removals: ...


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One session, as it was last seen. `down_since`: Unix seconds, by our own clock; 0.0 while it is up."""

    session: Session
    protocol: Protocol
    verdict: Verdict
    down_since: float = 0.0


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


class Routing:
    def __init__(
        self,
        view: View,
        node: Callable[[], Node | None],
        bird: Daemon,
        signatures: Callable[[], Signatures],
        make_secret: Callable[[], Awaitable[None]],
    ) -> None:
        """`node`: this host, once it is known. `signatures`: the kernel's counters. `make_secret`: has the cluster's secret
        in the store and the view."""
        self._view, self._node, self._bird, self._signatures = view, node, bird, signatures
        self._make_secret = make_secret
        self._wake = asyncio.Event()
        self._relook = asyncio.Event()
        self._alone = False
        """It was seen that there is one BIRD at most."""
        self._silent_since = 0.0
        self._unreached: tuple[Unreached, ...] | None = None
        self._refused: dict[BgpPeer, str] = {}
        """Routers that BIRD cannot do with, and why."""
        self._wanted: Speaker | None = None
        self._fd: int | None = None
        self._counted: deque[tuple[float, Signatures]] = deque()
        self._down: dict[str, float] = {}
        self.states: tuple[State, ...] = ()
        self.trouble = ""
        """Why BIRD does not run as it should, in one line."""
        self.restarts = 0
        self._started = 0.0
        self._lock = asyncio.Lock()
        """BIRD is told one thing at a time."""

    def touch(self) -> None:
        self._unreached = None
        self._wake.set()

    async def run(self) -> None:
        """For ever: begin when the model is completely known. Its end leaves BIRD running."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(), name="bird")
            tasks.create_task(self._look_again(), name="bgp sessions")
            tasks.create_task(self._rewrite(), name="bgp routes")

    # BIRD as it should be.

    async def _keep(self) -> None:
        pause = 1.0
        try:
            while True:
                try:
                    async with self._lock:
                        await self._bring()
                    if self.trouble:
                        self._relook.set()
                    self.trouble, pause = "", 1.0
                except TROUBLE as error:
                    self._say(str(error))
                    asyncio.get_running_loop().call_later(pause, self._wake.set)
                    pause = min(2 * pause, LONGEST_PAUSE)
                await self._wake.wait()
                await asyncio.sleep(GATHER)
                self._wake.clear()
        finally:
            self._forget()

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("%s", trouble)
        self.trouble = trouble

    async def _bring(self) -> None:
        me = self._node()
        if me is None:
            return
        wanted = speaker(me, self._model())
        if wanted is not None and any(s.signed for s in wanted.sessions) and not self._view.has_bgp_secret():
            await self._have_secret(wanted)
            wanted = speaker(me, self._model())
        self._wanted = wanted
        if wanted is None:
            self._forget()
            self.states, self._started = (), 0.0
            if await asyncio.to_thread(self._bird.end):
                log.info("BIRD ended: there is nothing to announce")
            return
        await asyncio.to_thread(self._apply_what_it_takes)
        self._watch()

    async def _have_secret(self, wanted: Speaker) -> None:
        """Where it is only the store that no longer has it, sessions do not have to wait. Raises Unavailable."""
        try:
            await self._make_secret()
        except WeftError as error:
            if wanted.unsigned:
                raise Unavailable(f"no secret for the BGP sessions between nodes yet: {error}") from None

    def _apply_what_it_takes(self) -> None:
        """All of what is wanted but for routers that BIRD cannot do with: these cost themselves only."""
        assert self._wanted is not None
        whole = self._wanted
        self._refused = {s.router: self._refused[s.router] for s in whole.sessions if s.router in self._refused}
        self._wanted = self._without_refused(whole)
        try:
            self._apply(self._text(self._wanted))
        except Refused:
            self._refused = self._seek(whole)
            if not self._refused:
                raise
            self._wanted = self._without_refused(whole)
            self._apply(self._text(self._wanted))

    def _text(self, wanted: Speaker) -> str:
        return config.render(wanted, str(self._bird.log))

    def _without_refused(self, whole: Speaker) -> Speaker:
        sessions = tuple(s for s in whole.sessions if s.router not in self._refused)
        told = (
            f"bgp peer {peer.name}: {why}: correct it with `weft bgp peer add {peer.name} --replace`, or remove it"
            for peer, why in self._refused.items()
        )
        return msgspec.structs.replace(whole, sessions=sessions, problems=(*whole.problems, *told))

    def _seek(self, whole: Speaker) -> dict[BgpPeer, str]:
        """The routers that BIRD refuses, tried one by one; none where it refuses what is left without them as well."""
        if self._complaint(whole, None):
            return {}
        routers = [s for s in whole.sessions if s.router is not None]
        return {s.router: why for s in routers if s.router and (why := self._complaint(whole, s))}

    def _complaint(self, whole: Speaker, router: Session | None) -> str:
        """BIRD's about what is wanted, of all routers with this one only; "" where there is none."""
        sessions = tuple(s for s in whole.sessions if s.router is None or s is router)
        try:
            self._bird.check(self._text(msgspec.structs.replace(whole, sessions=sessions)))
        except Refused as error:
            return str(error)
        return ""

    def _apply(self, text: str) -> None:
        bird = self._bird
        if not self._alone and len(bird.pids()) > 1:
            log.warning("more than one BIRD runs here for Weft: all are ended, and one is started")
            bird.kill()
        self._alone = True
        if bird.pid() is not None:
            self._hear()
        if bird.configured() != text:
            bird.configure(text)
            if bird.pid() is not None:
                log.info("BIRD has a new configuration")
        if bird.pid() is None:
            if time.monotonic() < self._started + SOON:
                self._started = 0.0
                raise Failed(f"BIRD ended soon after its start: {next(iter(bird.tail()[-1:]), 'it has said nothing')}")
            if bird.left():
                self.restarts += 1
                log.warning("BIRD had ended: starting it again")
            bird.start()
            self._started = time.monotonic()
            log.info("BIRD runs, process %d", bird.pid() or 0)

    def _hear(self) -> None:
        """Whether it can be spoken to. One whose control socket was removed, or that has been silent for long, is ended so that
        another one takes over. Raises Unavailable while it is only silent."""
        now = time.monotonic()
        try:
            self._bird.ask("show status")
            self._silent_since = 0.0
            return
        except Unheard as error:
            log.warning("%s: starting it anew", error)
        except Unavailable as error:
            self._silent_since = self._silent_since or now
            if now - self._silent_since < SILENT:
                raise
            log.warning("%s for %.0f s: starting it anew", error, now - self._silent_since)
        self._silent_since = self._started = 0.0
        self._bird.kill()

    def _model(self) -> Model:
        view = self._view
        return Model(
            nodes=view.nodes,
            networks=view.networks,
            leases=view.leases,
            endpoints=view.endpoints.values(),
            settings=view.bgp,
            peers=view.bgp_peers,
            floating=view.floating.values(),
            present=view.present,
            registered={name: view.revision(keys.node(name)) for name in view.nodes},
            secret=view.bgp_secret,
        )

    def _watch(self) -> None:
        """Be told when it ends."""
        if self._fd is not None:
            return
        self._fd = self._bird.pidfd()
        if self._fd is None:
            self._wake.set()  # it has ended already
            return
        asyncio.get_running_loop().add_reader(self._fd, self._ended)

    def _ended(self) -> None:
        self._forget()
        self._wake.set()

    def _forget(self) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

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
                if families and self._wanted is not None:
                    await self._write_again(families)
                    await asyncio.sleep(REWRITE)
        finally:
            loop.remove_reader(removals.fileno())
            removals.close()

    async def _write_again(self, families: frozenset[Family]) -> None:
        log.warning("someone removed routes of BIRD's: it writes them again")
        try:
            async with self._lock:
                for family in sorted(families):
                    await asyncio.to_thread(self._bird.ask, f"reload out kernel{family}")
        except TROUBLE:
            self._wake.set()  # it is brought back as it should be

    # What it says.

    async def _look_again(self) -> None:
        while True:
            with contextlib.suppress(*TROUBLE):  # told by `_keep`, or by who asks
                await self.look()
            self._relook.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._relook.wait()

    async def look(self) -> tuple[State, ...]:
        """How the sessions are now. Raises Unavailable where BIRD should answer and does not: then nothing is known of them."""
        wanted = self._wanted
        if wanted is None:
            return ()
        try:
            if self.trouble and self._bird.pid() is None:
                raise Unavailable(self.trouble)
            found, counted, tail = await asyncio.to_thread(self._read)
        except TROUBLE:
            self.states = tuple(_unknown(session) for session in wanted.sessions)
            if not self.trouble:
                self._wake.set()
            raise
        dropped = self._dropped(counted)
        asns = diagnose.bad_as(tail)
        self.states = tuple(self._state(s, found.get(s.name), dropped, asns, wanted.asn) for s in wanted.sessions)
        self._down = {s.session.name: s.down_since for s in self.states if s.down_since}
        if self.trouble:
            self._wake.set()  # it answers: what it was asked in vain can be asked again
        return self.states

    def _read(self) -> tuple[dict[str, Protocol], Signatures, list[str]]:
        return replies.protocols(self._bird.ask("show protocols all")), self._signatures(), self._bird.tail()

    def _dropped(self, counted: Signatures) -> Signatures:
        """Lately."""
        now = time.monotonic()
        while len(self._counted) > 1 and self._counted[1][0] < now - LATELY:
            self._counted.popleft()
        self._counted.append((now, counted))
        return counted.since(self._counted[0][1])

    def _state(
        self, session: Session, found: Protocol | None, dropped: Signatures, asns: dict[str, int], own: int
    ) -> State:
        protocol = found or Protocol(name=session.name, state="Down", since=0.0)
        verdict = diagnose.verdict(session, protocol, dropped, asns, own)
        down = 0.0 if protocol.up else self._down.get(session.name, time.time())
        return State(session=session, protocol=protocol, verdict=verdict, down_since=down)

    def count(self, state: str) -> int:
        """Of the sessions, how many were last seen in this state."""
        return sum(s.protocol.state == state for s in self.states)

    async def routes(self, prefix: str = "") -> tuple[Route, ...]:
        """All that BIRD knows but for the links' own. Raises Unavailable, NotFound."""
        if self._wanted is None:
            raise NotFound("BGP is not spoken here: there is no routed network, and no peer that selects this node")
        answer = await asyncio.to_thread(self._bird.ask, f"show route {f'for {prefix} ' if prefix else ''}all")
        return tuple(r for r in replies.routes(answer) if r.protocol != "uplinks")

    def tunnelled(self, route: Route) -> bool:
        """Whether it is Weft's own, through a tunnel."""
        hop = route.next_hop
        return bool(hop and self._wanted and self._wanted.tunnelled(parse_network(route.prefix), parse_address(hop)))

    def session(self, protocol: str) -> Session | None:
        """Whose protocol it is."""
        sessions = self._wanted.sessions if self._wanted else ()
        return next((s for s in sessions if s.name == protocol), None)

    def unreached(self) -> tuple[Unreached, ...]:
        """Containers that no packet will reach, by the model as it is now."""
        if self._unreached is None:
            me = self._node()
            self._unreached = tuple(reach.unreached(me, self._model())) if me else ()
        return self._unreached

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is amiss, a line each, with the neighbour that it concerns or ""."""
        if self.trouble:
            yield "", self.trouble
        for text in self._wanted.problems if self._wanted else ():
            yield "", text
        now = time.time()
        for state in self.states:
            if state.down_since and now - state.down_since > LONG:
                reason, advice = state.verdict
                yield state.session.with_, f"no BGP session with {state.session.remote}: {reason}: {advice}"


def _unknown(session: Session) -> State:
    return State(
        session=session, protocol=Protocol(name=session.name, state="Unknown", since=0.0), verdict=diagnose.WELL
    )
