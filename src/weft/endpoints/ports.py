"""Who has which port of this host: its endpoints, as the model says, those on their way into it, and programs."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import cast

import msgspec

from weft.base.errors import Conflict, Exhausted, Invalid
from weft.base.net import FAMILIES, Family
from weft.cluster.view import View
from weft.datapaths import registry
from weft.kernel.host import listeners
from weft.model import Endpoint, Network, PublishedPort
from weft.model.ports import PortIndex, Protocol
from weft.services.model import Service
from weft.services.publish import CHOSEN_FROM
from weft.services.record import SERVICES

ATTEMPTS = 100
"""How many ports to look at, from a place chosen by chance, before giving up."""


class Ports:
    def __init__(self, view: View) -> None:
        self._view = view
        self._coming: dict[str, Endpoint] = {}
        """By id, endpoints that are not in the store yet."""

    @asynccontextmanager
    async def taking(self, endpoint: Endpoint, network: Network) -> AsyncIterator[None]:
        """Within, nobody else gets the endpoint's ports; at the end it is in the store, or has none. Its own container may
        have the same ones in another network, and an engine that keeps them for it may hold them.
        Raises Invalid, Conflict."""
        if endpoint.ports and network.internal:
            raise Invalid(
                f"network {network.name} is internal: nothing outside of it reaches its containers, so no port can be "
                "published; attach the container to another network as well, and publish there"
            )
        if endpoint.ports and registry.of(network).way_out.second_interface and endpoint.gateway is None:
            raise Invalid(
                f"{endpoint.container} has its way out by another network than {network.name}: publish the port there"
            )
        self._refuse_taken(endpoint)
        if registry.of(network).in_host:
            self._refuse_led_away(endpoint)
        self._coming[endpoint.id] = endpoint
        try:
            if endpoint.ports:
                await asyncio.to_thread(_check_programs, endpoint)
            yield
        finally:
            del self._coming[endpoint.id]

    def settled(self, ports: tuple[PublishedPort, ...], families: Collection[Family]) -> tuple[PublishedPort, ...]:
        """With ports of the host for those that are left to us: free ones, of those that the kernel gives to programs that
        want any. Raises Exhausted. What is chosen is had by `taking` it before anything else is waited for."""
        if not any(port.open for port in ports):
            return ports
        held = self._held_by_others()
        for port in ports:
            if not port.open:
                held.add(port, port.families, "")
        chosen = []
        for port in ports:
            chosen.append(self._choose(port, families, held) if port.open else port)
            held.add(chosen[-1], chosen[-1].families, "")
        return tuple(chosen)

    def for_service(
        self, wishes: Iterable[PublishedPort], families: Collection[Family], others: Iterable[Service]
    ) -> tuple[PublishedPort, ...]:
        """Ports of all hosts, chosen where they are left to us: none that another service has, or that an endpoint or a
        program of this host has. An address of the host may be another host's. Raises Conflict, Exhausted. Blocks."""
        held = self._held_by_others(services=others)
        chosen = []
        for wish in sorted(wishes, key=lambda port: port.open):
            port = self._choose(wish, families, held, CHOSEN_FROM) if wish.open else wish
            if (whose := held.holder(port, families)) is not None:
                raise Conflict(f"port {port.outer} leads to {whose}: publish another, or free that first")
            with contextlib.suppress(Invalid):
                listeners.check_free(port, set(families) & set(port.families))
            held.add(port, families, "another port of the service")
            chosen.append(port)
        return tuple(chosen)

    def _choose(
        self,
        wish: PublishedPort,
        families: Collection[Family],
        held: PortIndex[str],
        span: tuple[int, int] | None = None,
    ) -> PublishedPort:
        first, last = span or listeners.given_to_any()
        room = max(last - first + 2 - wish.count, 1)
        start = random.randrange(room)
        for step in range(min(room, ATTEMPTS)):
            port = msgspec.structs.replace(wish, host_port=first + (start + step) % room)
            if held.holder(port, families) is not None:
                continue
            try:
                listeners.check_free(port, set(families) & set(port.families))
            except Conflict:
                continue
            return port
        raise Exhausted(f"no port of this host is free for {wish}: {first} to {last} are tried: say which one")

    def _held_by_others(self, one: Endpoint | None = None, services: Iterable[Service] | None = None) -> PortIndex[str]:
        """The ports of all that have some here, or are about to, but of one endpoint, and of its container those that are
        just the same; by whom they are held, in words. `services`: else all."""
        held = PortIndex[str]()
        for service in self._services() if services is None else services:
            for port in service.published:
                held.add(port, FAMILIES, f"service {service.network}/{service.name} already ({port})")
        for endpoint in (*self._view.endpoints.values(), *self._coming.values()):
            if one is not None and endpoint.id == one.id:
                continue
            own = one.ports if one is not None and endpoint.shares_namespace(one) else ()
            for port in (p for p in endpoint.ports if p not in own):
                held.add(port, endpoint.families, f"{endpoint.name} in network {endpoint.network} already ({port})")
        return held

    def _services(self) -> Iterator[Service]:
        found = self._view.table(SERVICES).by("network", "name").values()
        return (service for of_network in found for service in of_network.values())

    def _refuse_taken(self, endpoint: Endpoint) -> None:
        if not endpoint.ports:
            return
        held = self._held_by_others(endpoint)
        for port in endpoint.ports:
            whose = held.holder(port, endpoint.families)
            if whose is not None:
                raise Conflict(f"port {port.outer} leads to {whose}: publish another, or free that first")

    def _refuse_led_away(self, endpoint: Endpoint) -> None:
        """Of a container in the host's namespace: where what comes to a port that it names goes to another one."""
        held = self._held_by_others(endpoint)
        for named in endpoint.named_ports:
            port = PublishedPort(
                host_port=named.port, container_port=named.port, protocol=cast(Protocol, named.protocol)
            )
            whose = held.holder(port, FAMILIES)
            if whose is not None:
                raise Conflict(
                    f"port {port.outer} of this host leads to {whose}, and not to {endpoint.name}: free that first, or have "
                    "it listen at another"
                )


def _check_programs(endpoint: Endpoint) -> None:
    """Raises Conflict where a program on this host holds one of its ports. Blocks."""
    for port in endpoint.ports:
        listeners.check_free(port, set(endpoint.families) & set(port.families), endpoint.engine_id)
