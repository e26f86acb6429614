"""How the BGP sessions are doing: looked at in intervals, for `weft status` and the metrics."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from weft.base.errors import Unavailable
from weft.bgp import diagnose, replies
from weft.bgp.diagnose import Diagnosis, Signatures
from weft.bgp.plan import PlannedSession, Speaker
from weft.bgp.replies import BirdProtocol, Line
from weft.daemons.supervisor import TROUBLE

LOOK = 10.0
"""Seconds between looks at the sessions."""
LATELY = 60.0
"""Seconds for which the kernel's counters of dropped segments are remembered."""
LONG = 30.0
"""Seconds: a session that is down for longer is a problem."""


class Asked(Protocol):
    """`weft.daemons.bird.Bird`, as far as it is asked."""

    def pid(self) -> int | None: ...
    def ask(self, command: str) -> tuple[Line, ...]: ...
    def tail(self) -> list[str]: ...


class SessionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One session, as it was last seen. `down_since`: Unix seconds, by our own clock; 0.0 while it is up."""

    session: PlannedSession
    protocol: BirdProtocol
    verdict: Diagnosis
    down_since: float = 0.0


class BgpSessions:
    def __init__(
        self,
        bird: Asked,
        signatures: Callable[[], Signatures],
        wanted: Callable[[], Speaker | None],
        trouble: Callable[[], str],
        mend: Callable[[], None],
    ) -> None:
        """`signatures`: the kernel's counters. `wanted`: what BIRD was told; `trouble`: why it does not run as it should.
        `mend`: it may be as it should not be, or may be mended now."""
        self._bird, self._signatures = bird, signatures
        self._wanted, self._trouble, self._mend = wanted, trouble, mend
        self._relook = asyncio.Event()
        self._counted: deque[tuple[float, Signatures]] = deque()
        self.down: dict[str, float] = {}
        """Since when those that are down have been so, by name; Unix seconds."""
        self.states: tuple[SessionStatus, ...] = ()

    async def run(self) -> None:
        """For ever."""
        while True:
            with contextlib.suppress(*TROUBLE):  # told by BIRD's supervisor, or by who asks
                await self.look()
            self._relook.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._relook.wait()

    def look_soon(self) -> None:
        self._relook.set()

    def forget(self) -> None:
        """There are none any more."""
        self.states = ()

    async def look(self) -> tuple[SessionStatus, ...]:
        """How the sessions are now. Raises Unavailable where BIRD should answer and does not: then nothing is known of them."""
        wanted = self._wanted()
        if wanted is None:
            return ()
        try:
            if (trouble := self._trouble()) and self._bird.pid() is None:
                raise Unavailable(trouble)
            found, counted, tail = await asyncio.to_thread(self._read)
        except TROUBLE:
            self.states = tuple(_unknown(session) for session in wanted.sessions)
            if not self._trouble():
                self._mend()
            raise
        dropped = self._dropped(counted)
        asns = diagnose.bad_as(tail)
        self.states = tuple(self._state(s, found.get(s.name), dropped, asns, wanted.asn) for s in wanted.sessions)
        self.down = {s.session.name: s.down_since for s in self.states if s.down_since}
        if self._trouble():
            self._mend()  # it answers: what it was asked in vain can be asked again
        return self.states

    def _read(self) -> tuple[dict[str, BirdProtocol], Signatures, list[str]]:
        return replies.protocols(self._bird.ask("show protocols all")), self._signatures(), self._bird.tail()

    def _dropped(self, counted: Signatures) -> Signatures:
        """Lately."""
        now = time.monotonic()
        while len(self._counted) > 1 and self._counted[1][0] < now - LATELY:
            self._counted.popleft()
        self._counted.append((now, counted))
        return counted.since(self._counted[0][1])

    def _state(
        self,
        session: PlannedSession,
        found: BirdProtocol | None,
        dropped: Signatures,
        asns: dict[str, int],
        own: int,
    ) -> SessionStatus:
        protocol = found or BirdProtocol(name=session.name, state="Down", since=0.0)
        verdict = diagnose.verdict(session, protocol, dropped, asns, own)
        down = 0.0 if protocol.up else self.down.get(session.name, time.time())
        return SessionStatus(session=session, protocol=protocol, verdict=verdict, down_since=down)

    def count(self, state: str) -> int:
        """How many were last seen in this state."""
        return sum(s.protocol.state == state for s in self.states)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Sessions that are down for long, a line each, with the neighbour that it concerns."""
        now = time.time()
        for state in self.states:
            if state.down_since and now - state.down_since > LONG:
                reason, advice = state.verdict
                yield state.session.with_, f"no BGP session with {state.session.remote}: {reason}: {advice}"


def _unknown(session: PlannedSession) -> SessionStatus:
    return SessionStatus(
        session=session, protocol=BirdProtocol(name=session.name, state="Unknown", since=0.0), verdict=diagnose.WELL
    )
