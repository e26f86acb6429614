"""Which nodes are dead: only those count as dead that fell silent in a store that listened, and that do not answer us.

A node's presence ends when its agent does not renew it in time. That alone says little: the store may have been away, so
that nobody could renew anything; this agent may have been stopped, or the whole machine suspended; the node may have lost
the store and nothing else. Its packets go on in all these cases, so its routes have to stay. Two things are asked for
before they are withdrawn (docs/adr/0014-evidence-of-death.md):

1. Attention. This agent's own renewals have gone through for a whole period of presence, without a gap. Then those of a
   living node could have gone through as well, and its silence means something.
2. No answer. The node's addresses leave several probes in a row unanswered.

A node that answers keeps its routes and is asked again from time to time. One that is dead comes back with its presence, or
with its first answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable

import msgspec

from weft.base import events
from weft.base.errors import WeftError
from weft.base.net import IPAddress
from weft.cluster.view import View
from weft.model import Node

log = logging.getLogger(__name__)

Probe = Callable[[Collection[IPAddress], float], set[IPAddress]]
"""`weft.kernel.host.probe.answering`."""

GAP = 2 / 3
"""A share of the period of presence. Renewals come three times in a period; where ours were further apart than this, others'
may have failed, too."""
PROBES = 3
"""So many in a row are left unanswered by a dead node."""
PATIENCE = 1.0
"""Seconds for one answer."""


def now() -> float:
    """Seconds since boot. Changes of the host's time do not move it, and it goes on while the machine is suspended, during
    which nobody listened (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Attention:
    """Since when nothing that happened in the store can have escaped this agent."""

    def __init__(self, period: float, clock: Callable[[], float] = now) -> None:
        """`period`: seconds for which a presence lasts."""
        self.period, self._clock = period, clock
        self._since: float | None = None
        self._renewed = 0.0

    def renewed(self) -> None:
        """This agent's own presence was renewed just now."""
        at = self._clock()
        if self._since is None or at - self._renewed > GAP * self.period:
            self._since = at
        self._renewed = at

    def interrupted(self) -> None:
        """The store was lost, or changes in it were missed."""
        self._since = None

    def lasted(self) -> float:
        """Seconds; 0.0 while there is none."""
        at = self._clock()
        if self._since is None or at - self._renewed > GAP * self.period:
            return 0.0
        return at - self._since

    @property
    def enough(self) -> bool:
        return self.lasted() >= self.period


class Silence(msgspec.Struct):
    """Of one node. `since`: when it was first missed here. `unanswered`: how many probes in a row. `answered`: which of its
    addresses answered last. `due`: when it is asked again."""

    since: float
    due: float = 0.0
    unanswered: int = 0
    answered: IPAddress | None = None


class Liveness:
    def __init__(
        self,
        view: View,
        attention: Attention,
        probe: Probe,
        changed: Callable[[set[str]], None],
        *,
        withdraw: bool,
        clock: Callable[[], float] = now,
    ) -> None:
        """`changed` is told the nodes that died or came back. `withdraw`: whether routes to the dead are to go at all."""
        self._view, self._attention, self._probe, self._changed = view, attention, probe, changed
        self._withdraw, self._clock = withdraw, clock
        self._silent: dict[str, Silence] = {}
        self.dead: set[str] = set()
        self.trouble = ""
        """Why nobody can be asked, in one line."""
        self._wake = asyncio.Event()

    def review(self) -> None:
        """After presences or nodes came or went."""
        missing = self._view.nodes.keys() - self._view.present.keys() - {self._view.me}
        for name in self._silent.keys() - missing:
            del self._silent[name]
        at = self._clock()
        for name in missing - self._silent.keys():
            self._silent[name] = Silence(at)
        self._set(self.dead & missing)
        self._wake.set()

    def may_withdraw(self, withdraw: bool) -> None:
        """As the setting is from now on."""
        self._withdraw = withdraw
        if not withdraw:
            self._set(set())
        self._wake.set()

    async def run(self) -> None:
        """For ever."""
        pause = min(1.0, self._attention.period / 6)
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            if due := self.due():
                await self._ask(due)

    def due(self) -> dict[str, Node]:
        """Whom to ask now."""
        if not self._withdraw or not self._attention.enough:
            return {}
        at, nodes = self._clock(), self._view.nodes
        return {name: nodes[name] for name, s in self._silent.items() if s.due <= at and name in nodes}

    async def _ask(self, due: dict[str, Node]) -> None:
        addresses = {a.ip for node in due.values() for a in node.addresses}
        try:
            answered = await asyncio.to_thread(self._probe, addresses, PATIENCE)
        except WeftError as error:
            self._cannot(str(error), due)
            return
        self.trouble = ""
        self.judge(due, answered)

    def _cannot(self, trouble: str, due: Iterable[str]) -> None:
        if trouble != self.trouble:
            log.warning("%s; routes to silent nodes are kept", trouble)
        self.trouble = trouble
        for name in due:
            if name in self._silent:
                self._silent[name].due = self._clock() + self._attention.period / 3

    def judge(self, asked: dict[str, Node], answered: Collection[IPAddress]) -> None:
        """What the answers say of those who are still silent."""
        dead, at = set(self.dead), self._clock()
        for name, node in asked.items():
            silence = self._silent.get(name)
            if silence is None:
                continue
            silence.answered = next((a.ip for a in node.addresses if a.ip in answered), None)
            silence.unanswered = 0 if silence.answered else silence.unanswered + 1
            later = at + self._attention.period / 3
            silence.due = at if 0 < silence.unanswered < PROBES else later
            if silence.answered:
                dead.discard(name)
            elif silence.unanswered >= PROBES:
                dead.add(name)
        self._set(dead)
        if any(s.due <= at for s in self._silent.values()):
            self._wake.set()

    def _set(self, dead: set[str]) -> None:
        changed = dead ^ self.dead
        for name in sorted(dead - self.dead):
            log.warning(
                "%s: routes to it are withdrawn", self._told(name, self._silent[name]), extra=events.NODE_MISSED
            )
        for name in sorted(self.dead - dead):
            log.info("node %s is back: routes to it as well", name, extra=events.NODE_BACK)
        self.dead.clear()
        self.dead.update(dead)  # others hold on to the set itself
        if changed:
            self._changed(changed)

    # What is said of it.

    def evidence(self, name: str) -> str:
        """Why a node without presence keeps its routes or has lost them, in one sentence; "" for one that is present."""
        silence = self._silent.get(name)
        if silence is None:
            return ""
        if name in self.dead:
            return f"{self._told(name, silence)}: its routes are withdrawn"
        return f"{self._told(name, silence)}: its routes are kept"

    def _told(self, name: str, silence: Silence) -> str:
        text = f"node {name} has been silent in the store for {self._clock() - silence.since:.0f} s"
        addresses = (
            " and ".join(str(a.ip) for a in self._view.nodes[name].addresses) if name in self._view.nodes else ""
        )
        if silence.unanswered:
            return f"{text} and left {silence.unanswered} probes of {addresses} in a row unanswered"
        if silence.answered:
            return f"{text}, but {silence.answered} answers"
        if not self._withdraw:
            return f"{text}, and the setting withdraw is off"
        if self.trouble:
            return f"{text}, and {self.trouble}"
        return f"{text}, which has not been listened to for a whole presence-ttl yet"
