"""What is in the store of an endpoint is changed: any node's agent may do that, and the endpoint's own node follows it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from weft.base.errors import Failed, NotFound, Unavailable, WeftError
from weft.cluster import footprint
from weft.cluster.cluster import Cluster
from weft.cluster.footprint import key_of
from weft.compile.compiler import sources_of
from weft.hoststate.union import Source
from weft.model import Endpoint, Network, decode, keys
from weft.store.protocol import Guard, Item, Unchanged

log = logging.getLogger(__name__)


async def _no_more(_old: Endpoint, _new: Endpoint, _network: Network) -> list[Guard]:
    return []


Alter = Callable[[Endpoint], Endpoint]
"""From what an endpoint is to what it is to be. Raises WeftError."""
Guards = Callable[[Endpoint, Endpoint, Network], Awaitable[list[Guard]]]
"""What has to hold besides, for the one to become the other. Raises WeftError."""


class Which(Protocol):
    """By what an endpoint is found: an `Endpoint`, or what the API says of one."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def network(self) -> str: ...


class Kernel(Protocol):
    """`weft.endpoints.attach.Attachments`, as far as what is attached already is concerned."""

    async def standing(self, endpoint: Endpoint) -> Endpoint:
        """Once it is in the kernel. Raises Failed."""
        ...

    @property
    def converge(self) -> Callable[[Iterable[Source]], Awaitable[Sequence[str]]]: ...


class Changes:
    def __init__(self, cluster: Cluster, attachments: Kernel) -> None:
        self._cluster, self._view, self._attachments = cluster, cluster.view, attachments

    async def change(self, found: Which, alter: Alter, guards: Guards = _no_more) -> Endpoint:
        """Where it is this node's, all or nothing; another's agent brings it to its kernel by itself. Raises NotFound,
        Unavailable, Failed, and what `alter` and `guards` raise."""

        async def attempt() -> tuple[Endpoint, Endpoint]:
            item = await self._cluster.store.get(keys.endpoint(found.node, found.network, found.id))
            network = self._view.networks.get(found.network)
            if item is None or network is None:
                raise NotFound(f"endpoint {found.name} on {found.node} was just detached, or moved: try again")
            old = decode(Endpoint, item.value)
            new = alter(old)
            if new != old:
                await self._commit(item, await guards(old, new, network), old, new)
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
        """As long as it is what this change made of it: who changed it since has seen that."""

        async def attempt() -> bool:
            item = await self._cluster.store.get(key_of(new))
            if item is None or decode(Endpoint, item.value) != new:
                return False
            await self._commit(item, [], new, old)
            return True

        try:
            if await self._cluster.change(attempt, f"endpoint {new.name}"):
                await self._attachments.converge(sources_of(self._view, new))
        except WeftError as error:
            log.warning("endpoint %s keeps what does not stand: %s", new.name, error)
