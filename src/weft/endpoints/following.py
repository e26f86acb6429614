"""What a container got because of what its network was then, it gets anew where the network has become another: its way out.

An attachment writes into the container's record whether it has a way out by its interface, and by which second interface,
where networks of the driver have none themselves. Where a network becomes internal, or no longer is, each agent decides that
again for the containers of its own host, as it would for one that is attached now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import msgspec

from weft.base.errors import NotFound
from weft.cluster.cluster import Cluster
from weft.endpoints.attach import Attachments
from weft.endpoints.change import Changes
from weft.model import Endpoint, Gateway, Network, keys
from weft.store.protocol import Guard

log = logging.getLogger(__name__)


class Following:
    def __init__(self, cluster: Cluster, attachments: Attachments) -> None:
        self._cluster, self._view, self._attachments = cluster, cluster.view, attachments
        self._changes = Changes(cluster, attachments)
        self.wake = asyncio.Event()
        """A network may have become another."""
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """For ever. Raises WeftError, after which it is to be called again."""
        while True:
            self.wake.clear()
            for name in sorted({endpoint.network for endpoint in self._behind()}):
                await self.settle(name)
            await self.wake.wait()

    async def settle(self, network: str) -> None:
        """Of one network, now. Raises WeftError where one cannot have what the network gives by now."""
        async with self._lock:
            for endpoint in [e for e in self._behind() if e.network == network]:
                try:
                    await self._follow(endpoint)
                except NotFound as error:  # its container has just ended
                    log.debug("%s: %s", endpoint.name, error)

    def _behind(self) -> Iterator[Endpoint]:
        """Containers of this host whose record rests on what their network was."""
        for endpoint in tuple(self._view.endpoints.values()):
            network = self._view.networks.get(endpoint.network)
            if network is not None and endpoint.default_route == network.internal:
                yield endpoint

    async def _follow(self, endpoint: Endpoint) -> None:
        network = self._view.networks[endpoint.network]

        async def as_seen(_old: Endpoint, _new: Endpoint, _now: Network) -> list[Guard]:
            return [self._cluster.unchanged(keys.network(network.name))]

        async with self._attachments.way_out(endpoint, network) as gateway:
            await self._changes.change(endpoint, lambda old: _renewed(old, network, gateway), as_seen)


def _renewed(old: Endpoint, network: Network, gateway: Gateway | None) -> Endpoint:
    return msgspec.structs.replace(old, default_route=not network.internal, gateway=gateway)
