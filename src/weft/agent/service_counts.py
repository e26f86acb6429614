"""Connections that services have on this host, by member. Conntrack is read when somebody asks."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping

from weft.base.errors import WeftError
from weft.base.net import IPAddress
from weft.cluster.services import services
from weft.compile import routing_mesh
from weft.compile import services as virtual
from weft.compile.endpoint import site_of
from weft.compile.known import Known
from weft.datapaths import registry
from weft.hoststate import HOST
from weft.kernel.host.connections import Addresses, Flow
from weft.model.ports import BY_NUMBER
from weft.policy.counting import Counts
from weft.services.index import Member
from weft.services.record import At

MOST = 200
"""Services that have time series of their own."""

Counted = dict[At, Counter[str]]
"""By service and by the endpoint's id of the member."""


class ServiceCounts:
    def __init__(
        self,
        known: Known,
        find: Callable[[Mapping[str, Addresses]], dict[str, list[Flow]]],
        counts: Callable[[str], Counts],
    ) -> None:
        """`find`: open connections by namespace, of these addresses; `counts`: what the rules of a namespace have counted;
        raises WeftError. Both block."""
        self._known, self._find, self._counts = known, find, counts
        self._before: dict[tuple[str, str], int] = {}
        self.connections: Counted = {}
        """As of the last `refresh`, like the next."""
        self.refused = 0
        """First packets of connections that no member took."""

    def shown(self) -> list[At]:
        """The services that have time series of their own."""
        return sorted(services(self._known.view).services)[:MOST]

    @property
    def dead(self) -> Container[str]:
        """Nodes to which no connections are led."""
        return self._known.dead

    async def refresh(self) -> None:
        """For the metrics."""
        try:
            self.connections = await self.count(self.shown())
            await self._count_refused()
        except WeftError:
            self.connections = {}

    async def _count_refused(self) -> None:
        """A chain that was made anew begins at 0."""
        for ns in self._places():
            counted = await asyncio.to_thread(self._counts, ns)
            for chain in (virtual.REFUSED, routing_mesh.REFUSED):
                was, now = self._before.get((ns, chain), 0), sum(rule.packets for rule in counted.get(chain, ()))
                self._before[ns, chain] = now
                self.refused += now - was if now >= was else now

    def _places(self) -> set[str]:
        """Namespaces in which services are translated."""
        networks = {at.network for at in services(self._known.view).services}
        return {ns for network in networks if (ns := virtual.place(self._known, network)) is not None} | (
            {HOST} if networks else set()
        )

    async def count(self, wanted: Iterable[At]) -> Counted:
        """Raises Denied, Failed. Of a network that is not on this host nothing is counted."""
        seen = _Seen()
        for at in wanted:
            ns = virtual.place(self._known, at.network)
            if ns is not None:
                seen.add(at, ns, self._known)
        if not seen.places:
            return {}
        found = await asyncio.to_thread(self._find, seen.places)
        for ns, flows in found.items():
            for flow in flows:
                seen.note(ns, flow)
        return seen.counted


class _Seen:
    def __init__(self) -> None:
        self.places: dict[str, set[bytes]] = defaultdict(set)
        self.counted: Counted = {}
        self._members: dict[tuple[str, At, bytes], str] = {}
        self._virtual: dict[tuple[str, bytes, str, int], At] = {}
        self._published: dict[tuple[str, int], At] = {}

    def add(self, at: At, ns: str, known: Known) -> None:
        index = services(known.view)
        service, members = index.services[at], list(index.members(at))
        self.counted[at] = Counter({member.id: 0 for member in members})
        for member in members:
            ends = [(ns, address) for address in member.location.addresses]
            ends += [(HOST, address) for address in _targets(known, member)] if service.published else []
            for where, address in ends:
                self.places[where].add(address.packed)
                self._members[where, at, address.packed] = member.id
        for port in service.ports:
            for address in service.addresses:
                self._virtual[ns, address.packed, port.protocol, port.port] = at
        for published in service.published:
            self._published |= {(published.protocol, outer): at for outer, _ in published.pairs}

    def note(self, ns: str, flow: Flow) -> None:
        """`flow.dst` is what the client called, `flow.src` who answers."""
        if flow.over:
            return
        protocol = BY_NUMBER.get(flow.protocol, "")
        at = self._virtual.get((ns, flow.dst, protocol, flow.dport))
        if at is None and ns == HOST and flow.translated:
            at = self._published.get((protocol, flow.dport))
        member = self._members.get((ns, at, flow.src)) if at else None
        if at is not None and member is not None:
            self.counted[at][member] += 1


def _targets(known: Known, member: Member) -> tuple[IPAddress, ...]:
    """By which this host itself reaches a member here."""
    endpoint = known.view.endpoints.get(member.id)
    site = site_of(known, endpoint) if endpoint else None
    if endpoint is None or site is None:
        return ()
    reached = registry.of(site.network).reached(site, endpoint)
    return reached.targets if reached else ()
