"""This node in the store: its record and its presence.

Everything a node writes is bound to one of two store leases. *Presence* lasts seconds and is renewed while the agent lives:
peers withdraw their routes when it ends. *Tenure* lasts a day: a node that is down keeps its subnets and its containers'
addresses, and what a node that never returns left behind frees itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from weft.base.errors import Conflict, WeftError
from weft.base.names import stable_id
from weft.cluster.cluster import Cluster
from weft.cluster.liveness import Attention
from weft.model import Node, encode, keys
from weft.model.node import HIGHEST_NUMBER
from weft.store.protocol import Absent, Guard, Item, Op, Put, Unchanged

log = logging.getLogger(__name__)

SOON = 1.0
"""Seconds until a renewal that failed is tried again."""


def presence_lease(instance: str, node: str) -> int:
    """The store lease that a node's presence is bound to."""
    return stable_id("presence", instance, node)


class Membership:
    def __init__(self, cluster: Cluster, presence_ttl: float) -> None:
        self._cluster, self._store, self._view = cluster, cluster.store, cluster.view
        self._presence_ttl = presence_ttl
        self.presence_lease = presence_lease(cluster.instance, cluster.me)
        self.attention = Attention(presence_ttl)
        self.hurry = asyncio.Event()
        """What this node wrote may be lost: look now, not with the next renewal."""

    async def register(self, node: Node) -> None:
        """Write this node, with its number, and its presence. Raises Conflict where another installation has the name,
        Unavailable."""
        await self._cluster.change(lambda: self._register(node), f"node {node.name}")

    async def _register(self, node: Node) -> None:
        presence, ops = keys.presence(node.name), list[Op]()
        holder = await self._store.get(presence)
        self._check_name(node, holder)
        await self._renew()
        await self._cluster.begin_tenure()
        number, claimed = await self._number(node)
        node = msgspec.structs.replace(node, number=number)
        if isinstance(claimed, Absent):
            ops.append(Put(claimed.key, self._cluster.instance.encode(), self._cluster.tenure_lease))
        if self._view.nodes.get(node.name) != node:
            ops.append(Put(keys.node(node.name), encode(node), self._cluster.tenure_lease))
        if holder is None:
            ops.append(Put(presence, self._cluster.instance.encode(), self.presence_lease))
        if not ops:
            return
        guards: list[Guard] = [Unchanged(presence, holder.revision) if holder else Absent(presence)]
        await self._cluster.commit([*guards, claimed] if claimed else guards, ops)
        log.info("registered node %s with %s", node.name, ", ".join(map(str, node.addresses)))

    async def _number(self, node: Node) -> tuple[int, Absent | Unchanged | None]:
        """The one that it has, if that is still its own, or the smallest that is free; what has to be so for that. 0 where
        there are more nodes than numbers."""
        for number in self._candidates(node.name):
            key = keys.number_claim(number)
            claim = await self._store.get(key)
            if claim is None:
                return number, Absent(key)
            if claim.value == self._cluster.instance.encode():
                return number, Unchanged(key, claim.revision)
        log.warning("all numbers of nodes are taken (1 to %d): no routing mesh on this host", HIGHEST_NUMBER)
        return 0, None

    def _candidates(self, name: str) -> Iterator[int]:
        nodes = self._view.nodes
        if name in nodes and nodes[name].number:
            yield nodes[name].number
        taken = {node.number for node in nodes.values()}
        yield from (number for number in range(1, HIGHEST_NUMBER + 1) if number not in taken)

    def _check_name(self, node: Node, holder: Item | None) -> None:
        if holder is not None and holder.value.decode(errors="replace") != self._cluster.instance:
            other = self._view.nodes.get(node.name)
            where = f" at {other.addresses[0].ip}" if other else ""
            raise Conflict(
                f"the node name {node.name} is in use by a running agent{where}: choose another with --node, "
                f"or wait {self._presence_ttl:g} s if that agent was just stopped"
            )

    async def keep_alive(self, node: Callable[[], Node | None], register: Callable[[], Awaitable[None]]) -> None:
        """Renew both leases for ever; `register` again what was lost meanwhile. After a failure it is tried again soon:
        presences that end with an outage are not to be missed for long after it."""
        interval = self._presence_ttl / 3
        pause, renewed, failed = interval, 0.0, False
        clock = asyncio.get_running_loop().time
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.hurry.wait()
            self.hurry.clear()
            try:
                await self._renew()
                if again := clock() - renewed > self._cluster.tenure / 24:
                    await self._cluster.begin_tenure()
                    renewed = clock()
                me = node()
                if me is not None and (again or not self.registered(me)):  # of a lost claim nothing tells
                    await register()
                pause, failed = interval, False
            except WeftError as error:
                log.log(logging.DEBUG if failed else logging.WARNING, "presence not renewed: %s", error)
                pause, failed = min(interval, SOON), True

    async def _renew(self) -> None:
        await self._store.grant(self.presence_lease, self._presence_ttl)
        self.attention.renewed()

    def registered(self, node: Node) -> bool:
        """`node`: without its number, which is this class's to know."""
        found = self._view.nodes.get(node.name)
        same = found is not None and found == msgspec.structs.replace(node, number=found.number)
        return same and self._view.present.get(node.name) == self._cluster.instance
