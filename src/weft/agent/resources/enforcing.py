"""Hosts say when they enforce what was written of policy: once all of it is known there, the rules are in force, and open
connections were looked at. Who writes policy asks all of them before it is told to the user as done
(docs/adr/0080-applied-is-enforced.md)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from weft.agent.parts import Parts
from weft.api import types as t
from weft.api.operations import BY_NAME, Operation
from weft.base.errors import Invalid, Unavailable, WeftError
from weft.base.numbers import parse_number
from weft.cluster.view import View
from weft.compile.policy import MEMBER, POLICY, SET
from weft.model.codec import decode

PATIENCE = 5.0
"""Seconds for a host's answer."""
AT_ONCE = 64
MOST = 5
"""Hosts that are named, each by a line."""

Ask = Callable[[str, Operation, Mapping[str, str], bytes, float], Awaitable[bytes]]
"""`weft.agent.asking.Asking.ask`."""


class UpTo:
    """What hosts have to know of: by prefix, up to which revision of the store."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.revisions: Counter[str] = Counter()

    def at(self, revision: int, keys: Iterable[str]) -> None:
        """Keys that were written or removed then."""
        for key in keys:
            prefix = next(prefix for prefix in self._view.prefixes() if key.startswith(prefix))
            self.revisions[prefix] = max(self.revisions[prefix], revision)

    def seen(self, keys: Iterable[str]) -> None:
        """Records as they stand, whoever wrote them."""
        for key in keys:
            self.at(self._view.revision(key), [key])


class Enforcing:
    def __init__(self, parts: Parts, ask: Ask) -> None:
        self._parts, self._ask = parts, ask

    async def enforced(self, written: str = "") -> t.Enforced:
        """Waits until this host enforces what was written. `written`: PREFIX=REVISION of the store, with commas between. Raises
        Invalid."""
        parts = self._parts
        parts.ready()
        await parts.reached.wait(_revisions(written))
        await parts.follower.complete()
        await parts.loop.settle(())
        await parts.connections.still()
        return t.Enforced(faults=tuple(parts.loop.failing({POLICY, MEMBER, SET})))

    async def late(self, what: UpTo) -> tuple[str, ...]:
        """Which hosts do not enforce it, a line each. It waits for them, not for ever."""
        nodes, slots = sorted(self._parts.view.nodes), asyncio.Semaphore(AT_ONCE)
        written = ",".join(f"{prefix}={revision}" for prefix, revision in what.revisions.items())

        async def asked(node: str) -> str:
            async with slots:
                return await self._late(node, written)

        lines = [line for line in await asyncio.gather(*map(asked, nodes)) if line]
        more = f"nor on {len(lines) - MOST} more hosts: `weft node ls` shows whose agents are dead"
        return tuple(lines if len(lines) <= MOST + 1 else [*lines[:MOST], more])

    async def _late(self, node: str, written: str) -> str:
        try:
            faults = (await self._answer(node, written)).faults
        except WeftError as error:
            why = str(error)
            return f"not enforced everywhere yet: {why if why.startswith(node) else f'{node}: {why}'}"
        more = f" (and {len(faults) - 1} more)" if faults[1:] else ""
        return f"not enforced on {node}: {faults[0]}{more}" if faults else ""

    async def _answer(self, node: str, written: str) -> t.Enforced:
        if node != self._parts.view.me:
            body = await self._ask(node, BY_NAME["enforced"], {"written": written}, b"", PATIENCE)
            return decode(t.Enforced, body)
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.enforced(written)
        except TimeoutError:
            raise Unavailable("its agent is busy, and does so next: `weft status` says what is amiss") from None


def _revisions(text: str) -> dict[str, int]:
    """Raises Invalid."""
    found = {}
    for each in filter(None, text.split(",")):
        prefix, equals, revision = each.partition("=")
        if not equals:
            raise Invalid(f"written: '{each}' is not PREFIX=REVISION")
        found[prefix] = parse_number("written: the revision", revision)
    return found
