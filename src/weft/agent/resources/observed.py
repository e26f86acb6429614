"""The API's operations that tell what policy does (`weft.api.operations`): verdicts with their reasons, counters, the log."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from weft.agent.parts import Parts
from weft.agent.policy_force import force
from weft.agent.resources.policy_ends import Meant, meant, one_family
from weft.agent.resources.policy_packet import packet
from weft.agent.resources.policy_refs import Written
from weft.api import observed as o
from weft.base.net import parse_family
from weft.base.numbers import parse_number
from weft.cluster import records
from weft.cluster.services import services
from weft.compile.policy import policies
from weft.model import Endpoint, keys
from weft.policy.counting import Count
from weft.policy.evaluate import Judge, isolated
from weft.policy.model import Policy
from weft.policy.program import Origin
from weft.policy.verdict import End, Packet, Side

LONGEST = 30
"""Seconds that somebody can wait for something to be logged."""


class Observed:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def explain(
        self, source: str = "", target: str = "", protocol: str = "", port: str = "", family: str = ""
    ) -> o.Explanation:
        """What this host knows of policies, and of whom there is in the whole cluster. Only of its own endpoints it can say
        whether that is in force."""
        self._parts.ready()
        one, other = await self._ends(source, target)
        fam = one_family(one, other, parse_family(family))
        asked = packet(protocol, port, fam)
        start, end = one.at(fam), other.at(fam)
        judge = Judge(policies(self._parts.view).world)
        verdict, apart = judge.verdict(start, end, asked), isolated(judge.world, start, end)
        return o.Explanation(
            allowed=verdict.allowed and not apart,
            source=one.name,
            source_address=start.address,
            target=other.name,
            target_address=end.address,
            protocol=asked.protocol,
            port=asked.port,
            isolated=apart,
            sides=tuple([await self._side(side, start, end, asked) for side in verdict.sides]),
        )

    async def policy_counters(self, ref: str = "") -> o.PolicyCounters:
        self._parts.ready()
        written = Written(self._parts.view)
        meant = written.meant(ref, written.policies()) if ref else None
        found = await self._parts.policy_counts.of(meant if isinstance(meant, Policy) else None)
        return o.PolicyCounters(
            node=self._parts.view.me,
            rules=tuple(
                o.RuleCount(
                    policy=origin.policy,
                    tier=origin.tier,
                    direction=origin.direction,
                    rule=origin.index + 1 if origin.policy else 0,
                    action=origin.action,
                    packets=count.packets,
                    octets=count.octets,
                )
                for origin, count in sorted(found.items(), key=self._places())
            ),
        )

    def _places(self) -> Callable[[tuple[Origin, Count]], tuple[object, ...]]:
        """The order in which rules are asked."""
        world = policies(self._parts.view).world
        ranks = {id: n for n, id in enumerate(world.policies)}

        def place(found: tuple[Origin, Count]) -> tuple[object, ...]:
            origin = found[0]
            tier = world.tiers.get(origin.tier)
            otherwise = -1 if origin.action == "midway" else len(ranks)
            rank = ranks.get(origin.policy, otherwise)
            return (origin.direction == "egress", tier.order if tier else math.inf, rank, origin.index)

        return place

    async def policy_log(self, after: str = "", wait: str = "") -> o.LogPage:
        number = parse_number("after", after) if after else 0
        return await self._parts.policy_log.after(number, parse_number("wait", wait, most=LONGEST) if wait else 0)

    async def _ends(self, source: str, target: str) -> tuple[Meant, Meant]:
        listing = await self._parts.store.list(keys.ENDPOINTS)
        endpoints = await asyncio.to_thread(records.readable, Endpoint, listing.items)
        nodes, known = self._parts.view.nodes, services(self._parts.view).services.values()
        return meant(source, endpoints, nodes, known), meant(target, endpoints, nodes, known)

    async def _side(self, side: Side, source: End, target: End, asked: Packet) -> o.VerdictSide:
        own = (source if side.direction == "egress" else target).identity
        steps = tuple(
            o.VerdictStep(tier=s.tier, policy=s.policy, rule=s.rule, name=s.name, action=s.action) for s in side.steps
        )
        here = own is not None and own.node == self._parts.view.me
        found = await force(self._parts, side, source, target, asked) if here else None
        return o.VerdictSide(
            direction=side.direction,
            end=side.end,
            node=own.node if own else "",
            allowed=side.allowed,
            reason=side.reason,
            steps=steps,
            enforced=None if found is None else not found.faults,
            rules=found.rules if found else "",
            faults=found.faults if found else (),
        )
