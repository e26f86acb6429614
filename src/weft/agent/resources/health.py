"""Whether members of services take connections, where whoever watches them tells it."""

from __future__ import annotations

import time

from weft.agent.parts import Parts
from weft.agent.resources.services import Services
from weft.api import services as s
from weft.base.errors import Invalid
from weft.health.state import State, condition
from weft.model import encode, keys
from weft.services.health import shown
from weft.services.index import Member
from weft.services.model import Service
from weft.services.record import CONDITION, CONDITIONS, SERVICE, At, Of
from weft.store.protocol import Put


class Health:
    def __init__(self, parts: Parts, services: Services) -> None:
        self._cluster, self._view, self._services, self._parts = parts.cluster, parts.view, services, parts

    async def report_health(self, ref: str, request: s.ReportHealth) -> s.ServiceInfo:
        """It counts at once, whatever `rise` and `fall` are. Raises NotFound, Invalid, Unavailable."""
        self._parts.ready()

        async def attempt() -> Service:
            service = self._services.meant(ref)
            if service.health is None or service.health.kind != "api":
                does = f"its health check is {shown(service.health)}" if service.health else "it has no health check"
                raise Invalid(
                    f"service {service.name}: nobody has to tell whether its members are ready: {does}; to change that, "
                    f"`weft service set {service.network}/{service.name} --health api`"
                )
            await self._write(
                service, self._services.member(At(service.network, service.name), request.member), request
            )
            return service

        async with self._services.known({self._services.meant(ref).network}):
            service = await self._cluster.change(attempt, f"health of {request.member}")
        return await self._services.shown(service)

    async def _write(self, service: Service, member: Member, said: s.ReportHealth) -> None:
        """As long as there is such a member there. Raises Refused."""
        of, node = Of(service.network, service.name, member.id), member.location.node
        before = self._view.table(CONDITIONS).get(of)
        new = condition(State(said.ready, said.reason), before, node, time.time())
        if new != before:
            there = (SERVICE.key(service.network, service.name), keys.location(service.network, member.id))
            put = Put(CONDITION.key(*of), encode(new), self._cluster.tenure_of(node))
            await self._cluster.commit([self._cluster.unchanged(key) for key in there], [put])
