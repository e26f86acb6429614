"""Hosts say when they enforce what was written of policy: once all of it is known there, the rules are in force, and open
connections were looked at. Who writes policy asks all of them before it is told to the user as done
(docs/adr/0080-applied-is-enforced.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from weft.agent.parts import Parts
from weft.api import types as t
from weft.api.operations import BY_NAME, Operation
from weft.base.errors import Unavailable, WeftError
from weft.base.numbers import parse_number
from weft.compile.policy import MEMBER, POLICY, SET
from weft.model.codec import decode

PATIENCE = 5.0
"""Seconds for a host's answer."""
AT_ONCE = 64
MOST = 5
"""Hosts that are named, each by a line."""

Ask = Callable[[str, Operation, Mapping[str, str], bytes, float], Awaitable[bytes]]
"""`weft.agent.asking.Asking.ask`."""


class Enforcing:
    def __init__(self, parts: Parts, ask: Ask) -> None:
        self._parts, self._ask = parts, ask

    async def enforced(self, revision: str = "") -> t.Enforced:
        """Waits until this host enforces what was written up to this revision of the store."""
        parts = self._parts
        parts.ready()
        await parts.reached.wait(parse_number("revision", revision or "0"))
        await parts.follower.complete()
        await parts.loop.settle(())
        await parts.connections.still()
        return t.Enforced(faults=tuple(parts.loop.failing({POLICY, MEMBER, SET})))

    async def late(self) -> tuple[str, ...]:
        """Which hosts do not enforce all that was written until now, a line each. It waits for them, not for ever."""
        nodes, revision, slots = sorted(self._parts.view.nodes), self._parts.cluster.written, asyncio.Semaphore(AT_ONCE)

        async def late(node: str) -> str:
            async with slots:
                return await self._late(node, str(revision))

        lines = [line for line in await asyncio.gather(*map(late, nodes)) if line]
        more = f"nor on {len(lines) - MOST} more hosts: `weft node ls` shows whose agents are dead"
        return tuple(lines if len(lines) <= MOST + 1 else [*lines[:MOST], more])

    async def _late(self, node: str, revision: str) -> str:
        try:
            faults = (await self._answer(node, revision)).faults
        except WeftError as error:
            why = str(error)
            return f"not enforced everywhere yet: {why if why.startswith(node) else f'{node}: {why}'}"
        more = f" (and {len(faults) - 1} more)" if faults[1:] else ""
        return f"not enforced on {node}: {faults[0]}{more}" if faults else ""

    async def _answer(self, node: str, revision: str) -> t.Enforced:
        if node != self._parts.view.me:
            body = await self._ask(node, BY_NAME["enforced"], {"revision": revision}, b"", PATIENCE)
            return decode(t.Enforced, body)
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.enforced(revision)
        except TimeoutError:
            raise Unavailable("its agent is busy, and does so next: `weft status` says what is amiss") from None
