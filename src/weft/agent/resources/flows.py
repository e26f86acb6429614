"""Connections of this host's containers (`weft.api.operations`): as they are, and as they begin and end."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from weft.agent.drop_counts import dropped as refused
from weft.agent.flow_names import Names
from weft.agent.flow_watch import places_of
from weft.agent.parts import Parts
from weft.agent.resources.flags import yes
from weft.agent.resources.observed import LONGEST
from weft.agent.resources.policy_ends import meant
from weft.alloc.addresses import gateway
from weft.api import flows as f
from weft.api.observed import LogEntry
from weft.base.errors import Invalid, NotFound, WeftError
from weft.base.nearby import unknown
from weft.base.net import IPAddress
from weft.base.numbers import parse_number
from weft.cluster import records
from weft.cluster.services import services
from weft.hoststate import HOST
from weft.kernel.host.short import Repeated
from weft.kernel.host.tracked import Listing, Tracked, concerns, has_end
from weft.model import Endpoint, keys

USUAL, MOST = 100, 5_000
"""Connections in one answer."""
FRESH = 3.0
"""Seconds for which it is remembered who the cluster's containers are."""
NOW = "now"


class Wanted(NamedTuple):
    """Whose connections are told (packed). `places`: of containers, by namespace. `ends`: of these only, if there are any."""

    places: Mapping[str, frozenset[bytes]]
    ends: frozenset[bytes] = frozenset()

    def takes(self, ns: str, found: Tracked) -> bool:
        return concerns(found, self.places.get(ns, frozenset())) and has_end(found, self.ends)


class Flows:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._endpoints: list[Endpoint] = []
        self._read = -FRESH

    async def flows(
        self,
        network: str = "",
        endpoint: str = "",
        dropped: str = "",
        limit: str = "",
        after: str = "",
        wait: str = "",
    ) -> f.FlowPage:
        parts = self._parts
        parts.ready()
        most = parse_number("limit", limit, least=1, most=MOST) if limit else USUAL
        seconds = parse_number("wait", wait, most=LONGEST) if wait else 0
        refusals = yes(dropped)
        wanted = await self._wanted(network, endpoint)
        if after:
            page = await self._followed(wanted, after, seconds, most)
        else:
            page = await self._listed(wanted, most)
        return replace(page, dropped=await self._refused()) if refusals else page

    async def _refused(self) -> tuple[f.Dropped, ...]:
        parts = self._parts
        return await refused(parts.kernel.refused, places_of(parts.view), await parts.policy_counts.of(None))

    async def _wanted(self, network: str, endpoint: str) -> Wanted:
        """Raises NotFound, Invalid."""
        view = self._parts.view
        if network and network not in view.networks:
            raise NotFound(unknown("network", network, view.networks, "weft network ls"))
        places = {ns: own for ns, own in places_of(view, network).items() if own}
        if not endpoint:
            return Wanted(places)
        who = meant(endpoint, await self._known(), view.nodes)
        return Wanted(places, frozenset(address.packed for address in who.addresses) | self._ways_of(who.addresses))

    def _ways_of(self, addresses: tuple[IPAddress, ...]) -> frozenset[bytes]:
        """By which these, where they are containers here, have their way out."""
        own = [
            e for e in self._parts.view.endpoints.values() if e.gateway and {a.ip for a in e.addresses} & {*addresses}
        ]
        return frozenset(a.ip.packed for e in own if e.gateway for a in e.gateway.addresses)

    async def _listed(self, wanted: Wanted, most: int) -> f.FlowPage:
        found, problems = await asyncio.to_thread(self._list, wanted, most)
        names, now = await self._names(), time.time()
        repeated = await asyncio.to_thread(self._repeated, found, problems)
        every = ((tracked, ns) for ns, listing in found.items() for tracked in listing.found)
        largest = heapq.nlargest(most, every, key=lambda each: each[0].weight)
        return f.FlowPage(
            node=self._parts.view.me,
            flows=tuple(names.flow(tracked, _place(ns), now, repeated=repeated[ns]) for tracked, ns in largest),
            total=sum(listing.total for listing in found.values()),
            accounting=all(listing.accounting for listing in found.values() if listing.total),
            timestamps=all(listing.timestamps for listing in found.values() if listing.total),
            problems=tuple(problems),
        )

    def _list(self, wanted: Wanted, most: int) -> tuple[dict[str, Listing], list[str]]:
        found, problems = {}, []
        for ns, addresses in wanted.places.items():
            try:
                found[ns] = self._parts.tracker.listing(ns, addresses, most, wanted.ends)
            except NotFound:
                continue
            except WeftError as error:
                problems.append(str(error))
        return found, list(dict.fromkeys(problems))

    def _repeated(self, spaces: Iterable[str], problems: list[str]) -> dict[str, Repeated]:
        found = dict[str, Repeated]()
        for ns in spaces:
            try:
                found[ns] = self._parts.short.repeated(ns)
            except WeftError as error:
                found[ns] = {}
                problems.append(f"what goes past the rules: {error}")
        return found

    async def _followed(self, wanted: Wanted, after: str, seconds: int, most: int) -> f.FlowPage:
        watch, logs = self._parts.flow_watch, self._parts.policy_log
        await watch.follow()
        number, logged = (watch.last, logs.last) if after == NOW else _cursor(after)
        if after != NOW:
            await _either(watch.wait(number, seconds), logs.after(logged, seconds))
        happened, missed = watch.after(number)
        told, page = happened[:most], await logs.after(logged, 0)
        last = told[-1].number if len(told) < len(happened) else watch.last
        names = await self._names() if told else None
        flows = (
            names.flow(each.found, _place(each.ns), each.time, "new" if each.begins else "end", each.time)
            for each in told
            if names is not None and wanted.takes(each.ns, each.found)
        )
        return f.FlowPage(
            node=self._parts.view.me,
            flows=tuple(flows),
            logged=tuple(_denied(page.entries, wanted)),
            last=f"{last}.{page.last}",
            missed=missed,
            overruns=watch.overruns,
            problems=watch.problems,
        )

    async def _known(self) -> list[Endpoint]:
        """All endpoints of the cluster; where the store is away, those of this host."""
        now = time.monotonic()
        if now - self._read >= FRESH:
            try:
                listing = await self._parts.store.list(keys.ENDPOINTS)
                self._endpoints = await asyncio.to_thread(records.readable, Endpoint, listing.items)
            except WeftError:
                self._endpoints = list(self._parts.view.endpoints.values())
            self._read = now
        return self._endpoints

    async def _names(self) -> Names:
        view = self._parts.view
        ways = {
            address: node
            for leases in view.leases.values()
            for node, lease in leases.items()
            for subnet in lease.subnets
            for address in (subnet.network_address, gateway(subnet))
        }
        return Names(view.me, await self._known(), services(view).services.values(), view.nodes, ways)


async def _either(*waits: Coroutine[Any, Any, Any]) -> None:
    """Until one of them is done."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _denied(entries: tuple[LogEntry, ...], wanted: Wanted) -> Iterator[LogEntry]:
    some = frozenset[bytes]().union(*wanted.places.values())
    for entry in entries:
        ends = {entry.source.address.packed, entry.target.address.packed}
        if entry.allowed is False and some & ends and (not wanted.ends or wanted.ends & ends):
            yield entry


def _cursor(text: str) -> tuple[int, int]:
    number, _, logged = text.partition(".")
    if not logged:
        raise Invalid(f"after '{text[:40]}' is neither 'now' nor the 'last' of an answer")
    return parse_number("after", number), parse_number("after", logged)


def _place(ns: str) -> str:
    return "" if ns == HOST else ns
