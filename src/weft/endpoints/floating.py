"""Floating addresses are changed.

A floating address is a claim in the cluster, created and removed with what an endpoint's record says of it.
"""

from __future__ import annotations

import msgspec

from weft.api import limits
from weft.api import types as t
from weft.base.errors import NotFound
from weft.base.net import IPAddress
from weft.cluster.cluster import Cluster
from weft.endpoints.attach import Attachments
from weft.endpoints.change import Changes
from weft.ipam.floating import taking
from weft.model import Endpoint, Network
from weft.store.protocol import Guard


class Floating:
    def __init__(self, cluster: Cluster, attachments: Attachments) -> None:
        self._cluster, self._changes = cluster, Changes(cluster, attachments)

    async def add(self, found: t.EndpointInfo, addresses: tuple[IPAddress, ...]) -> Endpoint:
        """Raises NotFound, Invalid, Conflict, Unavailable, Failed."""

        def more(now: Endpoint) -> Endpoint:
            added = [a for a in dict.fromkeys(addresses) if a not in now.floating]
            new = msgspec.structs.replace(now, floating=(*now.floating, *added))
            limits.at_most(f"endpoint {now.name}: floating addresses", new.floating, limits.FLOATING)
            return new

        return await self._changes.change(found, more, self._free)

    async def remove(self, found: t.EndpointInfo, addresses: tuple[IPAddress, ...]) -> Endpoint:
        """Raises NotFound, Unavailable, Failed."""

        def less(now: Endpoint) -> Endpoint:
            if strange := [a for a in addresses if a not in now.floating]:
                has = ", ".join(map(str, now.floating)) or "none"
                raise NotFound(f"endpoint {now.name} has no floating address {strange[0]}: it has {has}")
            return msgspec.structs.replace(now, floating=tuple(a for a in now.floating if a not in addresses))

        return await self._changes.change(found, less, self._free)

    async def _free(self, old: Endpoint, new: Endpoint, network: Network) -> list[Guard]:
        more = [a for a in new.floating if a not in old.floating]
        return await taking(self._cluster, new, network, more)
