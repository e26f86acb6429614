"""The API's operations about services. How they are written is `weft.endpoints.services`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

from weft.agent.parts import Parts
from weft.agent.resources.networks import Networks
from weft.agent.service_counts import Counted
from weft.api import services as s
from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound, WeftError
from weft.base.nearby import unknown
from weft.cluster.services import services as members_of
from weft.compile import routing_mesh
from weft.compile import services as contributor
from weft.endpoints.services import wanted
from weft.model.records import LOCATIONS
from weft.services.index import Member
from weft.services.labels import LABEL
from weft.services.model import Service
from weft.services.record import CONDITIONS, SERVICE, SERVICES, At

CONTRIBUTORS = contributor.NAME, routing_mesh.ENTRY
"""Whose sources are services."""


class Services:
    def __init__(self, parts: Parts, networks: Networks) -> None:
        self._parts, self._networks = parts, networks
        self._view, self._writer = parts.view, parts.services

    # The API's operations.

    async def services(self, network: str = "") -> tuple[s.ServiceInfo, ...]:
        if network:
            await self._networks.known(network)
        self._parts.ready()
        found = [service for service in self._all() if network in ("", service.network)]
        async with self.known({service.network for service in found}):
            return tuple(self._info(service) for service in found)

    async def service(self, ref: str) -> s.ServiceInfo:
        self._parts.ready()
        return await self.shown(self.meant(ref))

    async def create_service(self, request: s.CreateService) -> s.ServiceInfo:
        self._parts.ready()
        network = await self._networks.known(request.network)
        return await self.shown(await self._writer.create(network, wanted(request), request.addresses, request.publish))

    async def set_service(self, ref: str, request: s.SetService) -> s.ServiceInfo:
        self._parts.ready()
        at = _at(self.meant(ref))
        network = await self._networks.known(at.network)
        return await self.shown(await self._writer.change(network, at, request))

    async def remove_service(self, ref: str) -> t.Done:
        self._parts.ready()
        at = self._broken(ref)
        if at is None:
            at = _at(await self._not_asked_for(self.meant(ref)))
        await self._parts.virtual.remove(at)
        return t.Done(what=(f"{at.network}/{at.name}",))

    async def drain(self, ref: str, request: s.Drain) -> s.ServiceInfo:
        self._parts.ready()
        at = _at(self.meant(ref))
        async with self.known({at.network}):
            member = self.member(at, request.member)
        return await self.shown(await self._writer.drain(at, member.id, back=request.back))

    # What they consist of.

    def _all(self) -> list[Service]:
        found = self._view.table(SERVICES).by("network", "name")
        return [service for _, inside in sorted(found.items()) for _, service in sorted(inside.items())]

    def meant(self, ref: str) -> Service:
        """By NAME or NETWORK/NAME. Raises NotFound, Invalid."""
        network, _, name = ref.rpartition("/")
        found = [service for service in self._all() if service.name == name and network in ("", service.network)]
        if not found:
            known = [text for s in self._all() for text in (s.name, f"{s.network}/{s.name}")]
            raise NotFound(unknown("service", ref, known, "weft service ls"))
        if len(found) > 1:
            listed = " or ".join(f"{service.network}/{service.name}" for service in found)
            raise Invalid(f"{ref} is a service of several networks: say {listed}")
        return found[0]

    async def _not_asked_for(self, service: Service) -> Service:
        """Raises Conflict where containers' labels would bring it back."""
        if service.automatic:
            async with self.known({service.network}):
                there = self._view.locations.get(service.network, {}).values()
                names = sorted(found.name for found in there if found.labels.get(LABEL) == service.name)
            if names:
                raise Conflict(
                    f"service {service.name} is made by labels of {', '.join(names[:3])}: it goes with the last of them"
                )
        return service

    def _broken(self, ref: str) -> At | None:
        """One whose record cannot be read, by NETWORK/NAME."""
        network, _, name = ref.rpartition("/")
        return At(network, name) if SERVICE.key(network, name) in self._view.broken else None

    # Members.

    @contextlib.asynccontextmanager
    async def known(self, networks: Iterable[str]) -> AsyncIterator[None]:
        """Where these networks' containers are, and what health checks say of them; while the store is away, as far as that is
        followed here. Raises Unavailable."""
        networks = list(networks)
        if await self._parts.as_of.silent():
            strange = sorted(set(networks) - self._view.followed)
            self._parts.as_of.mark(f"members of services in {', '.join(strange)} are not known here" if strange else "")
            yield
            return
        async with contextlib.AsyncExitStack() as stack:
            for network in networks:
                for kind in (LOCATIONS, CONDITIONS):
                    await stack.enter_async_context(self._parts.follower.held(kind, network))
            yield

    async def shown(self, service: Service) -> s.ServiceInfo:
        at = _at(service)
        async with self.known({service.network}):
            counted: Counted = {}
            with contextlib.suppress(WeftError):  # it is shown without them
                counted = await self._parts.service_counts.count([at])
            return self._info(service, counted.get(at, {}))

    def _info(self, service: Service, connections: Mapping[str, int] = {}) -> s.ServiceInfo:
        """`connections`: by member, where they were counted."""
        members = members_of(self._view).members(_at(service), time.time(), self._parts.liveness.dead)
        until = {draining.member: draining.until for draining in service.draining}
        return s.ServiceInfo(
            service=service,
            members=tuple(
                _member(service, m, until.get(m.id), connections.get(m.id))
                for m in sorted(members, key=lambda m: (m.location.name, m.id))
            ),
            problems=tuple(self._problems(_at(service))),
        )

    def _problems(self, at: At) -> Iterator[str]:
        """What cannot be had of it on this node."""
        for source, texts in self._parts.loops.problems.items():
            own = source.contributor in CONTRIBUTORS and (source.network, source.name) == at
            if own or (source.contributor == contributor.PLACE and source.network == at.network):
                yield from texts
        yield from (text for about, text in self._parts.published.problems() if about == at)

    def member(self, at: At, ref: str) -> Member:
        """Raises NotFound, Invalid."""
        members = list(members_of(self._view).members(at))
        found = [m for m in members if ref in (m.id, m.location.name)]
        if not found:
            listed = ", ".join(sorted(m.location.name for m in members)[:8]) or "it has none"
            raise NotFound(f"service {at.name} has no member {ref}: {listed}")
        if len(found) > 1:
            listed = " or ".join(f"{m.id} (on {m.location.node})" for m in found)
            raise Invalid(f"{ref} is more than one member of service {at.name}: say {listed}")
        return found[0]


def _member(service: Service, m: Member, until: float | None, connections: int | None) -> s.MemberInfo:
    missing = [f"{port.target}/{port.protocol}" for port in service.ports if port.of(m.location.ports) is None]
    return s.MemberInfo(
        id=m.id,
        name=m.location.name,
        node=m.location.node,
        addresses=m.location.addresses,
        state=m.state,
        reason=m.reason or (f"no port called {', '.join(missing)}" if missing else ""),
        until=until,
        connections=connections,
    )


def _at(service: Service) -> At:
    return At(service.network, service.name)
