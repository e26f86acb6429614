"""Ports and security groups of this node's that no container has: removed at once, or as soon as Neutron is there again.

What an agent left that was killed between two steps is found by asking Neutron, with no ledger of our own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from weft.base.errors import WeftError
from weft.base.net import IPAddress, parse_address
from weft.cluster.view import View
from weft.ipam.neutron_networks import Marks
from weft.ipam.promises import Promises
from weft.openstack.neutron import OWNER, Neutron, Port

log = logging.getLogger(__name__)

GROUP = "group"
"""Key of an endpoint's data: the id of the security group that is its own."""


class Leftovers:
    def __init__(self, neutron: Neutron, marks: Marks, view: View, promises: Promises) -> None:
        self._neutron, self._marks, self._view, self._promises = neutron, marks, view, promises
        self.underway = set[str]()
        """Endpoints whose port is there, or may be, and that are not in the store yet."""
        self._missed = set[str]()
        """Ports that no container had when they were last looked at."""

    async def drop(self, port: str) -> None:
        """Now, or as soon as Neutron is there again."""
        await self._drop(port, self._neutron.delete_port)

    async def drop_group(self, group: str) -> None:
        await self._drop(group, self._neutron.delete_group)

    async def _drop(self, id: str, delete: Callable[[str], Awaitable[None]]) -> None:
        try:
            await delete(id)
        except WeftError as error:
            self._missed.add(id)
            log.warning("%s is not removed from Neutron yet: %s", id, error)

    async def run(self, interval: Callable[[], float], doubtful: Callable[[], bool]) -> None:
        """For ever: remove ports of this node's that no container has. `interval`: the seconds between looks. `doubtful`:
        whether what the store says may not be so."""
        while True:
            used = any(self._view.driver(name).addresses.made_elsewhere for name in self._view.networks)
            if (used or self._missed) and not doubtful():
                try:
                    await self.sweep()
                except WeftError as error:
                    log.warning("ports in Neutron are not looked at: %s", error)
            await asyncio.sleep(interval())

    async def sweep(self) -> list[str]:
        """The ports removed: those that no container had in two looks either, so that what is just coming stays."""
        listed = await self._neutron.ports(device_owner=OWNER, description=self._marks.port)
        groups = {g.id for g in await self._neutron.groups(description=self._marks.port)}
        groups -= {e.data.get(GROUP, "") for e in self._view.endpoints.values()}
        ports = {p.id for p in listed if not self._needed(p)}
        gone, unused = sorted(ports & self._missed), sorted(groups & self._missed)
        self._missed = ports | groups
        for id in gone:
            await self.drop(id)
        for id in unused:
            await self.drop_group(id)
        if gone:
            log.info("removed %d ports from Neutron that no container has", len(gone))
        return gone

    def _needed(self, port: Port) -> bool:
        if port.device_id in self.underway or any(e.data.get("port") == port.id for e in self._view.endpoints.values()):
            return True
        return not port.device_id and any(parse_address(ip.ip_address) in self._promised() for ip in port.fixed_ips)

    def _promised(self) -> set[IPAddress]:
        """All that is promised to containers to come."""
        return {a for name in self._view.networks for a in self._promises.of_others(self._view.home(name), "")}
