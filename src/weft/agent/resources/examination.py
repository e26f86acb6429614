"""`weft doctor`: what the agent knows of itself and its host, and what dumped tables show beside what the cluster says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from weft.agent.parts import Parts
from weft.agent.resources import doctor, infos
from weft.agent.resources.endpoints import Endpoints
from weft.agent.resources.networks import Networks
from weft.agent.resources.nodes import Nodes
from weft.agent.resources.services import Services
from weft.agent.resources.this_node import ThisNode
from weft.api import types as t
from weft.base.errors import WeftError
from weft.faults.examine import examine
from weft.faults.scene import Told

T = TypeVar("T")


class Examination:
    def __init__(
        self,
        parts: Parts,
        here: ThisNode,
        endpoints: Endpoints,
        networks: Networks,
        nodes: Nodes,
        services: Services,
    ) -> None:
        self._parts, self._here = parts, here
        self._endpoints, self._networks, self._nodes, self._services = endpoints, networks, nodes, services

    async def doctor(self) -> tuple[t.Finding, ...]:
        """What cannot be found out is no reason to say nothing of the rest."""
        own = await doctor.findings(self._parts)
        try:
            dump, told = await self._here.kernel(), await self._told()
        except WeftError as error:
            unread = t.Finding(check="dump", result="warning", detail=f"the kernel's tables are not at hand: {error}")
            return (*own, unread)
        found = await asyncio.to_thread(lambda: tuple(examine({dump.node: dump}, told)))
        return (*own, *found)

    async def _told(self) -> Told:
        """Without the store, what the agent itself knows: the endpoints of its own host."""
        view = self._parts.view
        local = tuple(infos.endpoint(self._parts, e) for e in view.endpoints.values())
        return Told(
            endpoints=await _or_else(self._endpoints.endpoints(), local),
            nodes=await self._nodes.nodes(),
            networks=await self._networks.networks(brief="yes"),
            services=await _or_else(self._services.services(), ()),
        )


async def _or_else(asked: Awaitable[T], otherwise: T) -> T:
    try:
        return await asked
    except WeftError:
        return otherwise
