"""What the rules of policy have counted on this host. It is read when somebody asks: rules alone, never the sets that they
name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from weft.base.errors import WeftError
from weft.cluster.view import View
from weft.compile.policy import policies, renderer_of
from weft.datapaths.driver import Host
from weft.policy.counting import Counts, Places, Tally, tally
from weft.policy.model import DIRECTIONS, Direction, Policy
from weft.policy.program import Chain

MOST = 200
"""Policies that have a time series of their own; the drops of all others together are one."""
OTHERS, SEVERAL = "others", "several"

Dropped = tuple[str, str, Direction]
"""Policy, tier, direction."""


class PolicyCounts:
    def __init__(self, view: View, host: Callable[[], Host | None], counts: Callable[[str], Counts]) -> None:
        """`counts`: what the rules of a namespace have counted; raises WeftError."""
        self._view, self._host, self._counts = view, host, counts
        self._before: list[tuple[str, Counts]] = []
        self.drops: dict[Dropped, int] = {}
        """Packets that were refused since the agent's start, as of the last `refresh`; those before it as long as the rules are
        the same."""

    async def of(self, policy: Policy | None) -> Tally:
        """What the rules of a policy, and the defaults behind them, have counted since they were made; None: of all."""
        chains = self._chains() if policy is None else self._chains_of(policy)
        found = tally(chains.values(), self._places(), [counts for _, counts in await self._read()])
        keep = {"", policy.id} if policy else set()
        return {origin: count for origin, count in found.items() if not keep or origin.policy in keep}

    async def refresh(self) -> None:
        """For the metrics."""
        counted = await self._read()
        blame, places, before = self._blamed(), self._places(), dict(self._before)
        for name, chain in self._chains().items():
            for kernels, place, n in places(chain):
                origin = chain.lines[n].origin
                if origin.action != "deny":
                    continue
                about = self._bounded((origin.policy or blame.get(name, SEVERAL), origin.tier, origin.direction))
                self.drops.setdefault(about, 0)
                for ns, counts in counted:
                    was, now = (_at(some, kernels, place) for some in (before.get(ns, {}), counts))
                    self.drops[about] += now - was if now >= was else now
        self._before = counted

    def numbers(self) -> tuple[int, int, int]:
        """How many policies the cluster has, and how many chains and sets they come to on this host."""
        index = policies(self._view)
        return len(index.world.policies), len(self._chains()), len(list(index.specs()))

    # What there is.

    def _places(self) -> Places:
        ask = renderer_of(self._host())
        return (lambda _: ()) if ask is None else ask.counted

    def _chains(self) -> dict[str, Chain]:
        return {chain.name: chain for program in policies(self._view).programs() for chain in program.chains}

    def _chains_of(self, policy: Policy) -> dict[str, Chain]:
        """Those that a policy has a say in."""
        index = policies(self._view)
        return {
            chain.name: chain
            for key in index.local
            if policy.id in index.selecting(key)
            for direction in DIRECTIONS
            if policy.rules(direction) is not None
            for chain in index.program(key, direction).chains
            if _tier(chain) == policy.tier
        }

    def _blamed(self) -> dict[str, str]:
        """The policy that alone has a say in a chain: what none of its rules allows is dropped because of it."""
        index = policies(self._view)
        said: dict[str, set[str]] = {}
        for key in index.local:
            for direction in DIRECTIONS:
                for chain in index.program(key, direction).chains:
                    said.setdefault(chain.name, set()).update(self._in(_tier(chain), direction, index.selecting(key)))
        return {name: ids.pop() for name, ids in said.items() if len(ids) == 1}

    def _in(self, tier: str, direction: Direction, ids: frozenset[str]) -> Iterator[str]:
        known = policies(self._view).world.policies
        return (id for id in ids if known[id].tier == tier and known[id].rules(direction) is not None)

    def _bounded(self, about: Dropped) -> Dropped:
        return about if about in self.drops or len(self.drops) < MOST else (OTHERS, "", about[2])

    async def _read(self) -> list[tuple[str, Counts]]:
        index = policies(self._view)
        spaces = {
            ns
            for key, local in index.local.items()
            if any(index.program(key, direction).chains for direction in DIRECTIONS)
            for ns in local.spaces
        }
        return await asyncio.to_thread(lambda: list(self._each(sorted(spaces))))

    def _each(self, spaces: list[str]) -> Iterator[tuple[str, Counts]]:
        for ns in spaces:
            try:
                yield ns, self._counts(ns)
            except WeftError:  # it is gone
                continue


def _tier(chain: Chain) -> str:
    """What stands at its end is the tier's default."""
    return chain.lines[-1].origin.tier


def _at(counts: Counts, chain: str, place: int) -> int:
    found = counts.get(chain, ())
    return found[place].packets if place < len(found) else 0
