"""The API's operation that the page in the browser lives on: all there is to show, and then what changes.

Nothing of it is kept up while nobody asks. With the first question the containers of all networks are followed, and a while
after the last one no more. Rows are made where somebody asks or waits (`look`), for all who do at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator

import msgspec

from weft.agent.parts import Parts
from weft.agent.resources import infos, paths
from weft.agent.resources.services import Services
from weft.agent.rows import Rows
from weft.api.mesh import MeshPeer
from weft.api.topology import EndpointLine, Topology
from weft.base.errors import WeftError
from weft.base.numbers import parse_number
from weft.cluster.changes import Changed
from weft.kernel.host.traffic import traffic
from weft.model import Location, keys
from weft.model.records import LOCATIONS
from weft.services.record import CONDITIONS

LONGEST = 30
"""Seconds that somebody can wait for a change."""
PACE = 0.25
"""Seconds between two looks: what changes meanwhile is told at once."""
INTERVAL = 2.0
"""Seconds from one look to the next while nothing is heard: of counters and sessions nobody tells."""
IDLE = 60.0
"""Seconds after the last question until nothing is followed for it any more."""
USER = "topology"
"""By which name the follower knows us."""


class TopologyOf:
    def __init__(self, parts: Parts, services: Services) -> None:
        self._parts, self._services = parts, services
        self._rows = Rows()
        self._instance = ""
        """Of this agent's numbers; "" until somebody asks."""
        self._news = asyncio.Event()
        self._looking = asyncio.Lock()
        self._looked = 0.0
        self._located: set[tuple[str, str]] | None = None
        """Network and id of endpoints that may have changed since the last look; None: all may have."""
        self._rest: asyncio.TimerHandle | None = None
        self._problem = ""

    async def topology(self, after: str = "", wait: str = "") -> Topology:
        """`after`: the `at` of an earlier answer, to be told what changed since, within `wait` seconds. Raises Invalid."""
        seconds = parse_number("wait", wait, most=LONGEST) if wait else 0
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        self._begin()
        while True:
            self._news.clear()
            await self._look()
            answer = self._since(after)
            left = end - clock()
            if answer is not None:
                return answer
            if left <= 0:
                return Topology(at=self._at, time=time.time(), problem=self._problem)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, INTERVAL)):
                    await self._news.wait()

    @property
    def _at(self) -> str:
        return f"{self._instance}.{self._rows.number}"

    def _since(self, after: str) -> Topology | None:
        """None where nothing has changed."""
        instance, _, number = after.partition(".")
        known = instance == self._instance and number.isascii() and number.isdigit()
        tables = self._rows.since(int(number)) if known else None
        if tables is not None and not tables:
            return None
        whole = tables is None
        return Topology(
            at=self._at,
            whole=whole,
            time=time.time(),
            problem=self._problem,
            **(self._rows.all() if tables is None else tables),
        )

    # Following.

    def _begin(self) -> None:
        if not self._instance:
            self._instance = secrets.token_hex(4)
            self._parts.view.subscribe("the page", self._heard)
            self._parts.loop.listeners.append(lambda _: self._news.set())
        if self._rest is not None:
            self._rest.cancel()
        self._rest = asyncio.get_running_loop().call_later(LONGEST + IDLE, self._end)
        self._need()

    def _end(self) -> None:
        self._rest, self._located = None, None
        self._parts.follower.need(USER, ())

    def _need(self) -> None:
        networks = self._parts.view.networks
        self._parts.follower.need(USER, ((kind, name) for name in networks for kind in (LOCATIONS, CONDITIONS)))

    def _heard(self, changed: Changed) -> None:
        if self._rest is None:
            return
        if changed.parts(LOCATIONS):
            self._located = None
        if self._located is not None:
            self._located.update((at.network, at.id) for at in changed.of(LOCATIONS))
        self._news.set()

    # Looking.

    async def _look(self) -> None:
        async with self._looking:
            clock = asyncio.get_running_loop().time
            if (early := self._looked + PACE - clock()) > 0:
                await asyncio.sleep(early)
            self._looked, before = clock(), self._rows.number
            self._need()
            self._put_cluster()
            self._put_endpoints()
            await self._put_links()
            self._problem = await self._put_services()
            if self._rows.number != before:
                self._news.set()  # others wait, too

    def _put_cluster(self) -> None:
        parts, put = self._parts, self._rows.replace
        view = parts.view
        put("status", {view.me: infos.status(parts)})
        nodes = [infos.node(parts, n) for n in view.nodes.values()]
        put("nodes", {n.name: n for n in (*nodes, *infos.foreign_nodes(parts))})
        put("networks", {n.name: infos.network_alone(parts, n) for n in view.networks.values()})
        sessions = map(infos.bgp_session, parts.routing.states)
        put("sessions", {f"{s.name} {s.address}": s for s in sessions})
        put("peers", {found.name: found for found in map(self._steady, paths.peers(parts))})

    def _steady(self, peer: MeshPeer) -> MeshPeer:
        """Since when it is so is computed, and differs by what that took: it is no change."""
        before = self._rows.get("peers", peer.name)
        if before is None or abs(before.since - peer.since) > INTERVAL:
            return peer
        return msgspec.structs.replace(peer, since=before.since)

    def _put_endpoints(self) -> None:
        view, located = self._parts.view, self._located
        self._located = set()
        if located is None:
            self._rows.replace("endpoints", dict(self._all()))
            return
        for network, id in located:
            found = view.table(LOCATIONS).get(keys.Located(network, id))
            self._rows.put("endpoints", id, None if found is None else self._line(network, id, found))

    def _all(self) -> Iterator[tuple[str, EndpointLine]]:
        for network, found in self._parts.view.locations.items():
            for id, location in found.items():
                yield id, self._line(network, id, location)

    def _line(self, network: str, id: str, found: Location) -> EndpointLine:
        view = self._parts.view
        own = view.endpoints.get(id)
        return EndpointLine(
            name=found.name or id,
            network=network,
            node=found.node,
            mac=found.mac,
            addresses=found.addresses,
            labels=found.labels,
            policy_namespace=found.namespace,
            aliases=found.aliases,
            device=view.driver(network).host_end(own) if own else "",
        )

    async def _put_links(self) -> None:
        node = self._parts.node
        with contextlib.suppress(WeftError):  # they are shown as they were
            self._rows.replace("links", await asyncio.to_thread(traffic, node.uplink if node else ""))

    async def _put_services(self) -> str:
        """Why they are shown as they were."""
        try:
            found = await self._services.services()
        except WeftError as error:
            return str(error)
        self._rows.replace("services", {f"{s.service.network}/{s.service.name}": s for s in found})
        return ""
