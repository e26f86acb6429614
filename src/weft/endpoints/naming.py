"""In a network no two endpoints have one name: it is claimed as an address is (docs/adr/0066-wishes-and-names.md).

A name that a user asks for is had or refused. One that comes of the container's own (its pid, its namespace, its pod), or that
an engine gives, may be another container's on another host, where nobody did anything wrong: then the endpoint is called
NAME-NODE, and NAME is an alias, by which its network finds it as before.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import msgspec

from weft.api import types as t
from weft.base.errors import Conflict, Unavailable
from weft.cluster import records
from weft.cluster.cluster import Cluster
from weft.cluster.footprint import key_of
from weft.model import Endpoint, keys
from weft.store.protocol import Delete, Item, Unchanged

LONGEST = 63
"""Characters of a name (`weft.base.names.check_name`)."""


def asked_for(request: t.Attach) -> bool:
    """Whether a user says the name."""
    return bool(request.name and not request.owner)


class Naming:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._view = cluster, cluster.view

    async def tries(self, endpoint: Endpoint, *, asked: bool) -> AsyncGenerator[Endpoint]:
        """The endpoint under names that may be free. Whoever asks for the next one has tried in vain to write it; it ends where
        that was not for the name. Raises Conflict where the name is another's and it was `asked` for."""
        for named in _distinct(endpoint):
            if not (holder := await self._known(named)):
                yield named
                item = await self._cluster.store.get(keys.name_claim(named.network, named.name))
                if item is None:
                    return
                if await self._lapsed(item, named):
                    yield named
                    return
                holder = records.holder(item)
            if asked:
                raise Conflict(
                    f"name {endpoint.name} is taken in network {endpoint.network} by {holder}: choose another with --name"
                )

    async def _known(self, wanted: Endpoint) -> str:
        """Who has the name, as far as it is known here and the store does not say otherwise by now. Others' are asked for
        where the store cannot refuse them."""
        for other in list(self._view.endpoints_of(wanted.network)):
            if other.name == wanted.name and other.id != wanted.id and await self._there(key_of(other)):
                return f"{other.name} on {other.node}"
        if not self._cluster.away:
            return ""
        there = self._view.locations.get(wanted.network, {}).items()
        return next((f"{at.name} on {at.node}" for id, at in there if at.name == wanted.name and id != wanted.id), "")

    async def _there(self, key: str) -> bool:
        try:
            self._cluster.check_reached()
            return key in self._view.held or await self._cluster.store.get(key) is not None
        except Unavailable:
            return True

    async def _lapsed(self, claim: Item, wanted: Endpoint) -> bool:
        """Whether it was left behind by an agent of an earlier version, which knows of no such claims. Then it goes. A claim is
        written with its endpoint, so where that is not there after it was seen, it is no more."""
        node = records.holder(claim).rpartition(" on ")[2]
        there = await self._cluster.store.list(f"{keys.endpoints(node)}{wanted.network}/")
        if any(found.name == wanted.name for found in records.readable(Endpoint, there.items)):
            return False
        return await self._cluster.write([Unchanged(claim.key, claim.revision)], [Delete(claim.key)])


def _distinct(endpoint: Endpoint) -> Iterator[Endpoint]:
    yield endpoint
    aliases = tuple(dict.fromkeys((*endpoint.aliases, endpoint.name)))
    for more in (f"-{endpoint.node}", f"-{endpoint.id[:8]}"):
        name = endpoint.name[: max(1, LONGEST - len(more))].rstrip("._-") + more
        yield msgspec.structs.replace(endpoint, name=name[:LONGEST].rstrip("._-"), aliases=aliases)
