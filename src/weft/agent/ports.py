"""Who has which port of this host: its endpoints, as the model says, those on their way into it, and programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from weft.agent.view import View
from weft.base.errors import Conflict, Invalid
from weft.datapaths import registry
from weft.kernel import listeners
from weft.model import Endpoint, Network


class Ports:
    def __init__(self, view: View) -> None:
        self._view = view
        self._coming: dict[str, Endpoint] = {}
        """By id, endpoints that are not in the store yet."""

    @asynccontextmanager
    async def taking(self, endpoint: Endpoint, network: Network) -> AsyncIterator[None]:
        """Within, nobody else gets the endpoint's ports; at the end it is in the store, or has none.
        Raises Invalid, Conflict."""
        if endpoint.ports and network.internal:
            raise Invalid(
                f"network {network.name} is internal: nothing outside of it reaches its containers, so no port can be "
                "published; attach the container to another network as well, and publish there"
            )
        if endpoint.ports and registry.driver(network.driver).gateway and endpoint.gateway is None:
            raise Invalid(
                f"{endpoint.container} has its way out by another network than {network.name}: publish the port there"
            )
        self._refuse_taken(endpoint)
        self._coming[endpoint.id] = endpoint
        try:
            for port in endpoint.ports:
                families = set(endpoint.families) & set(port.families)
                await asyncio.to_thread(listeners.check_free, port, families)
            yield
        finally:
            del self._coming[endpoint.id]

    def _refuse_taken(self, endpoint: Endpoint) -> None:
        for other in (*self._view.endpoints.values(), *self._coming.values()):
            families = set(endpoint.families) & set(other.families)
            for port in endpoint.ports:
                held = next((p for p in other.ports if p.overlaps(port, families)), None)
                if held is not None and other.id != endpoint.id:
                    raise Conflict(
                        f"port {port.outer} leads to {other.name} in network {other.network} already ({held}): "
                        "publish another, or detach that first"
                    )
