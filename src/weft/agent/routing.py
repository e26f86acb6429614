"""BGP of this host: what the view says is BIRD's configuration, and BIRD has it.

BIRD runs while there is a routed network, or a router that this node is to peer with. It outlives the agent, which finds
it again, and changes nothing where the configuration is what it should be. Its death is told by its pidfd: it is
started again and takes its routes over, as do its neighbours (graceful restart).

How the sessions are doing is looked at in intervals, for `weft status` and the metrics.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol as Interface

import msgspec

from weft.agent.view import Key, View
from weft.base.errors import Failed, NotFound, Unavailable, WeftError
from weft.base.net import parse_address, parse_network
from weft.bgp import config, diagnose, replies
from weft.bgp.diagnose import Signatures, Verdict
from weft.bgp.plan import Model, Session, Speaker, speaker
from weft.bgp.replies import Line, Protocol, Route
from weft.model import Node

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


class Daemon(Interface):
    """`weft.kernel.bird.Bird`."""

    log: Path

    def pid(self) -> int | None: ...
    def pidfd(self) -> int | None: ...
    def left(self) -> bool: ...
    def configured(self) -> str: ...
    def install(self, text: str) -> None: ...
    def start(self) -> None: ...
    def reload(self) -> None: ...
    def end(self) -> bool: ...
    def ask(self, command: str) -> tuple[Line, ...]: ...
    def tail(self) -> list[str]: ...


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One session, as it was last seen. `down_since`: Unix seconds, by our own clock; 0.0 while it is up."""

    session: Session
    protocol: Protocol
    verdict: Verdict
    down_since: float = 0.0


class Routing:
    def __init__(
        self, view: View, node: Callable[[], Node | None], bird: Daemon, signatures: Callable[[], Signatures]
    ) -> None:
        """`node`: this host, once it is known. `signatures`: the kernel's counters."""
        self._view, self._node, self._bird, self._signatures = view, node, bird, signatures
        self._wake = asyncio.Event()
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

    @staticmethod
    def concerns(key: Key) -> bool:
        """Whether a key of the model may have to do with it."""
        return key[0] in ("networks", "leases", "nodes", "bgp", "endpoints")

    def touch(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """For ever: begin when the model is completely known. Its end leaves BIRD running."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(), name="bird")
            tasks.create_task(self._look_again(), name="bgp sessions")

    # BIRD as it should be.

    async def _keep(self) -> None:
        pause = 1.0
        try:
            while True:
                try:
                    async with self._lock:
                        await self._bring()
                    self.trouble, pause = "", 1.0
                except WeftError as error:
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
        self._wanted = wanted = speaker(me, self._model())
        if wanted is None:
            self._forget()
            self.states, self._started = (), 0.0
            if await asyncio.to_thread(self._bird.end):
                log.info("BIRD ended: there is nothing to announce")
            return
        text = config.render(wanted, str(self._bird.log))
        await asyncio.to_thread(self._apply, text)
        self._watch()

    def _apply(self, text: str) -> None:
        bird = self._bird
        if bird.configured() != text:
            bird.install(text)
            if bird.pid() is not None:
                bird.reload()
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

    def _model(self) -> Model:
        view = self._view
        return Model(
            nodes=view.nodes,
            networks=view.networks,
            leases=view.leases,
            endpoints=view.endpoints.values(),
            settings=view.bgp,
            peers=view.bgp_peers,
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

    # What it says.

    async def _look_again(self) -> None:
        while True:
            with contextlib.suppress(WeftError):  # told by `_keep`, or by who asks
                await self.look()
            await asyncio.sleep(LOOK)

    async def look(self) -> tuple[State, ...]:
        """How the sessions are now. Raises Unavailable where BIRD should answer and does not."""
        wanted = self._wanted
        if wanted is None:
            return ()
        if self.trouble and self._bird.pid() is None:
            raise Unavailable(self.trouble)
        found, counted, tail = await asyncio.to_thread(self._read)
        dropped = self._dropped(counted)
        asns = diagnose.bad_as(tail)
        self.states = tuple(self._state(s, found.get(s.name), dropped, asns, wanted.asn) for s in wanted.sessions)
        self._down = {s.session.name: s.down_since for s in self.states if s.down_since}
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
