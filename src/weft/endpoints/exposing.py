"""A host in a network itself: `weft expose`.

That is an endpoint as any other, so its address is chosen, claimed, journalled, told to other hosts and given back as a
container's is. It is in the host's own namespace, and its interface is the network's bridge.
"""

from __future__ import annotations

import msgspec

from weft.alloc.bridges import bridge_name
from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound
from weft.base.names import stable_mac
from weft.base.net import IPAddress
from weft.cluster.view import View
from weft.datapaths import registry
from weft.endpoints.attach import Attachments
from weft.model import Endpoint, Network
from weft.model.endpoint import HOST_ITSELF


class Exposing:
    def __init__(self, view: View, attachments: Attachments) -> None:
        self._view, self._attachments = view, attachments

    async def expose(self, network: Network, wishes: tuple[IPAddress, ...]) -> Endpoint:
        """As it was, or newly made. `wishes`: at most one address of each family. Raises Invalid, Conflict, Exhausted,
        Unavailable, Failed."""
        _check(network)
        target = await self._attachments.locate(HOST_ITSELF)
        async with self._attachments.busy(target):
            if present := self._present(network.name):
                return await self._attachments.standing(_same(present, wishes))
            me = self._view.me
            request = t.Attach(
                target=HOST_ITSELF,
                name=me,
                network=network.name,
                addresses=wishes,
                mac=stable_mac("bridge", me, network.name),
                interface=bridge_name(network),
            )
            itself = msgspec.structs.replace(target, name=me, links=(), routed=True)
            return await self._attachments.take(request, network, itself)

    async def hide(self, network: str) -> Endpoint:
        """Raises NotFound, Unavailable, Failed."""
        present = self._present(network)
        if present is None:
            raise NotFound(f"{self._view.me} has no address in network {network}: `weft expose {network}` gives it one")
        await self._attachments.remove([present])
        return present

    def _present(self, network: str) -> Endpoint | None:
        return next((e for e in self._view.endpoints_of(network) if e.of_host), None)


def _check(network: Network) -> None:
    """Raises Invalid."""
    if not registry.of(network).exposes:
        able = ", ".join(name for name, driver in sorted(registry.DRIVERS.items()) if driver.exposes)
        raise Invalid(
            f"network {network.name} has driver {network.driver}, with which no host is among the containers: only with {able}"
        )


def _same(present: Endpoint, wishes: tuple[IPAddress, ...]) -> Endpoint:
    """Raises Conflict."""
    held = [a.ip for a in present.addresses]
    if not set(wishes) <= set(held):
        has = ", ".join(map(str, held))
        raise Conflict(
            f"{present.node} is in network {present.network} with {has}: `weft hide {present.network}` first"
        )
    return present
