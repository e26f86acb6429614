"""Who has which port of this host: its endpoints, as the model says, those on their way into it, and programs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import msgspec

from weft.agent.view import View
from weft.base.errors import Conflict, Exhausted, Invalid
from weft.base.net import Family
from weft.datapaths import registry
from weft.kernel import listeners
from weft.model import Endpoint, Network, PublishedPort

ATTEMPTS = 100
"""How many ports to look at, from a place chosen by chance, before giving up."""


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

    def settled(self, ports: tuple[PublishedPort, ...], families: Collection[Family]) -> tuple[PublishedPort, ...]:
        """With ports of the host for those that are left to us: free ones, of those that the kernel gives to programs that
        want any. Raises Exhausted. What is chosen is had by `taking` it before anything else is waited for."""
        held = [port for endpoint in self._others("") for port in endpoint.ports]
        held += [port for port in ports if not port.open]
        chosen = []
        for port in ports:
            chosen.append(self._choose(port, families, held) if port.open else port)
            held.append(chosen[-1])
        return tuple(chosen)

    def _choose(
        self, wish: PublishedPort, families: Collection[Family], held: Collection[PublishedPort]
    ) -> PublishedPort:
        first, last = listeners.given_to_any()
        room = max(last - first + 2 - wish.count, 1)
        start = random.randrange(room)
        for step in range(min(room, ATTEMPTS)):
            port = msgspec.structs.replace(wish, host_port=first + (start + step) % room)
            if any(port.overlaps(other, families) for other in held):
                continue
            try:
                listeners.check_free(port, set(families) & set(port.families))
            except Conflict:
                continue
            return port
        raise Exhausted(f"no port of this host is free for {wish}: {first} to {last} are tried: say which one")

    def _others(self, id: str) -> list[Endpoint]:
        """All that have ports here, or are about to, but one."""
        return [e for e in (*self._view.endpoints.values(), *self._coming.values()) if e.id != id]

    def _refuse_taken(self, endpoint: Endpoint) -> None:
        for other in self._others(endpoint.id):
            families = set(endpoint.families) & set(other.families)
            for port in endpoint.ports:
                held = next((p for p in other.ports if p.overlaps(port, families)), None)
                if held is not None:
                    raise Conflict(
                        f"port {port.outer} leads to {other.name} in network {other.network} already ({held}): "
                        "publish another, or detach that first"
                    )
