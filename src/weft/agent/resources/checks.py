"""The cluster's connectivity tested (`weft check`): this host's part of it."""

from __future__ import annotations

from weft.agent.parts import Parts
from weft.agent.resources.endpoints import Endpoints
from weft.api import checks as c
from weft.api import types as t


class Probes:
    def __init__(self, parts: Parts, endpoints: Endpoints) -> None:
        self._parts, self._endpoints = parts, endpoints

    async def place_probes(self, request: c.PlaceProbes) -> c.Placed:
        self._parts.ready()
        return await self._parts.checks.place(request, self._endpoints.attach)

    async def run_tests(self, run: str, request: c.RunTests) -> c.Ran:
        return await self._parts.checks.run(c.check_run(run), request)

    async def remove_probes(self, run: str) -> t.Done:
        return await self._parts.checks.remove(c.check_run(run))
