"""Floating addresses are changed: any node's agent may do that, since the record is in the store and its node follows it.

A floating address is a claim in the cluster, created and removed with what an endpoint's record says of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from weft.api import limits
from weft.api import types as t
from weft.base.errors import Failed, NotFound, Unavailable, WeftError
from weft.base.net import IPAddress
from weft.cluster import footprint
from weft.cluster.cluster import Cluster
from weft.cluster.footprint import key_of
from weft.compile.compiler import sources_of
from weft.endpoints.attach import Attachments
from weft.ipam.floating import taking
from weft.model import Endpoint, decode, encode, keys
from weft.store.protocol import Guard, Item, Unchanged

log = logging.getLogger(__name__)

Change = Callable[[tuple[IPAddress, ...]], tuple[IPAddress, ...]]
"""From what an endpoint has to what it is to have. Raises WeftError."""


class Floating:
    def __init__(self, cluster: Cluster, attachments: Attachments) -> None:
        self._cluster, self._view, self._attachments = cluster, cluster.view, attachments

    async def add(self, found: t.EndpointInfo, addresses: tuple[IPAddress, ...]) -> Endpoint:
        """Raises NotFound, Invalid, Conflict, Unavailable, Failed."""
        more = tuple(dict.fromkeys(addresses))
        return await self._change(found, lambda now: (*now, *(a for a in more if a not in now)))

    async def remove(self, found: t.EndpointInfo, addresses: tuple[IPAddress, ...]) -> Endpoint:
        """Raises NotFound, Unavailable, Failed."""

        def less(now: tuple[IPAddress, ...]) -> tuple[IPAddress, ...]:
            if strange := [a for a in addresses if a not in now]:
                has = ", ".join(map(str, now)) or "none"
                raise NotFound(f"endpoint {found.name} has no floating address {strange[0]}: it has {has}")
            return tuple(a for a in now if a not in addresses)

        return await self._change(found, less)

    async def _change(self, found: t.EndpointInfo, change: Change) -> Endpoint:
        """Where it is this node's, all or nothing; another's agent brings it to its kernel by itself."""

        async def attempt() -> tuple[Endpoint, Endpoint]:
            item = await self._cluster.store.get(keys.endpoint(found.node, found.network, found.id))
            network = self._view.networks.get(found.network)
            if item is None or network is None:
                raise NotFound(f"endpoint {found.name} on {found.node} was just detached, or moved: try again")
            old = decode(Endpoint, item.value)
            new = msgspec.structs.replace(old, floating=change(old.floating))
            limits.at_most(f"endpoint {old.name}: floating addresses", new.floating, limits.FLOATING)
            more = [a for a in new.floating if a not in old.floating]
            if new != old:
                await self._commit(item, await taking(self._cluster, new, network, more), old, new)
            return old, new

        old, new = await self._cluster.change(attempt, f"endpoint {found.name}")
        if new == old or new.node != self._view.me:
            return new
        try:
            return await self._attachments.standing(new)
        except Failed:
            await self._take_back(old, new)
            raise

    async def _commit(self, item: Item, guards: list[Guard], old: Endpoint, new: Endpoint) -> None:
        """`item`: what `old` was read from. Raises Refused, Unavailable."""
        at = footprint.place(self._view, new.network)
        try:
            free, ops = footprint.step(old, new, at, self._cluster.tenure_of(new.node))
            await self._cluster.commit([Unchanged(item.key, item.revision), *guards, *free], ops)
        except NotFound:
            raise Unavailable(f"{new.node} is just being removed: try again") from None

    async def _take_back(self, old: Endpoint, new: Endpoint) -> None:
        """As long as it is what this change made of it: who changed it since has seen these addresses."""

        async def attempt() -> bool:
            item = await self._cluster.store.get(key_of(new))
            if item is None or item.value != encode(new):
                return False
            await self._commit(item, [], new, old)
            return True

        try:
            if await self._cluster.change(attempt, f"endpoint {new.name}"):
                await self._attachments.converge(sources_of(self._view, new))
        except WeftError as error:
            log.warning("endpoint %s keeps floating addresses that do not stand: %s", new.name, error)
