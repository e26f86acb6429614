"""An endpoint moves to a container here: name, addresses, MAC, labels, ports, floating addresses stay what
they were.

One transaction takes it from its node and gives it to this one, so there is no moment at which its addresses are nobody's,
or two nodes'. Where the kernel here does not take it, another one brings it back.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from weft.alloc import blocks as alloc
from weft.alloc.blocks import Given
from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound, Unavailable, WeftError
from weft.cluster import footprint
from weft.cluster.cluster import Cluster
from weft.cluster.footprint import key_of
from weft.compile.compiler import sources_of
from weft.containers.find import Target
from weft.datapaths import registry
from weft.endpoints import passing
from weft.endpoints.attach import Attachments
from weft.model import Endpoint, decode, encode, keys
from weft.model.endpoint import endpoint_id
from weft.store.protocol import Guard, Op, Put, Unchanged

log = logging.getLogger(__name__)


class Moves:
    def __init__(self, cluster: Cluster, attachments: Attachments) -> None:
        self._cluster, self._view, self._attachments = cluster, cluster.view, attachments

    async def move(self, found: t.EndpointInfo, request: t.Move) -> Endpoint:
        """To a container here. Raises NotFound, Invalid, Conflict, Unavailable, Failed."""
        self._check_movable(found)
        target = await self._attachments.locate(request.target)
        passing.check_place(request.target, target, self._view.networks.get(found.network))
        async with self._attachments.busy(target):

            async def attempt() -> tuple[Endpoint, Endpoint]:
                old, revision = await self._current(found)
                new = self._moved(old, target, request)
                async with self._attachments.ports.taking(new, self._view.networks[found.network]):
                    await self._transfer(old, revision, new)
                return old, new

            old, new = await self._cluster.change(attempt, f"endpoint {found.name}")
            try:
                await self._attachments.converged(new)
            except BaseException:
                await asyncio.shield(self._bring_back(old, new))
                raise
            return new

    def _check_movable(self, found: t.EndpointInfo) -> None:
        network = self._view.networks[found.network]
        if not self._view.driver(network.name).addresses.movable:
            raise Invalid(
                f"endpoint {found.name} cannot move: in network {network.name} (driver {network.driver}) addresses belong to "
                "their host's subnet or place; detach it there and attach it here"
            )
        if found.handover:
            raise Invalid(f"endpoint {found.name} cannot move: its interface is its container engine's")

    async def _current(self, found: t.EndpointInfo) -> tuple[Endpoint, int]:
        """As it is now, and the leases that it concerns."""
        item = await self._cluster.store.get(keys.endpoint(found.node, found.network, found.id))
        if item is None:
            raise NotFound(f"endpoint {found.name} on {found.node} was just detached")
        home = self._view.home(found.network)
        await self._cluster.look(*(keys.lease(home, node) for node in {found.node, self._view.me}))
        return decode(Endpoint, item.value), item.revision

    def _moved(self, old: Endpoint, target: Target, request: t.Move) -> Endpoint:
        """Raises Conflict."""
        present = [e for e in self._view.endpoints_of(old.network) if e.namespace.cookie == target.namespace.cookie]
        if present:
            raise Conflict(
                f"{request.target} is attached to {old.network} already, by {present[0].interface}: detach it first"
            )
        interface = self._attachments.interface(request.interface, request.target, target)
        return msgspec.structs.replace(
            old,
            id=endpoint_id(old.network, self._view.me, target.namespace.cookie, interface),
            node=self._view.me,
            container=request.target,
            namespace=target.namespace,
            interface=interface,
            owner="",
            rank=self._attachments.rank(target),
        )

    async def _transfer(self, old: Endpoint, revision: int, new: Endpoint) -> None:
        """From the old one's node to the new one's. Raises Refused, Conflict, Unavailable."""
        at, blocks = footprint.place(self._view, old.network), self._attachments.blocks
        async with blocks.lock(at.home):
            try:
                guards, ops = footprint.step(old, new, at, self._cluster.tenure_of(new.node))
                guards.append(Unchanged(key_of(old), revision))
                guards += [self._cluster.unchanged(keys.network(n)) for n in {at.home, old.network}]
                if old.node != new.node:
                    blocks.unroute(old, at.home, guards, ops)
                    self._route(new, at.home, guards, ops)
                await self._cluster.commit(guards, ops)
            except NotFound:
                raise Unavailable(f"{old.node} or {new.node} is just being removed: try again") from None

    def _route(self, new: Endpoint, home: str, guards: list[Guard], ops: list[Op]) -> None:
        """To the addresses that are in no block of their new node."""
        lease = self._view.lease(home, new.node)
        if lease is None:
            raise Unavailable(f"network {home}: {new.node} has no lease in it: try again")
        lone = [Given(a.ip, host=True) for a in new.addresses if alloc.outside(lease, a.ip)]
        if lone and registry.pool_options(self._view.networks[home]).strict_affinity:
            raise Conflict(
                f"{lone[0].address} is in no block of {new.node}, and network {home} has strict-affinity: it cannot move there"
            )
        guards.append(self._attachments.blocks.lease_guard(lease))
        if (left := alloc.with_given(lease, lone)) != lease:
            ops.append(Put(keys.lease(home, lease.node), encode(left), self._cluster.tenure_of(lease.node)))

    async def _bring_back(self, old: Endpoint, new: Endpoint) -> None:
        async def attempt() -> None:
            item = await self._cluster.store.get(key_of(new))
            if item is not None:
                await self._transfer(new, item.revision, old)

        try:
            await self._cluster.change(attempt, f"endpoint {old.name}")
            await self._attachments.converge(sources_of(self._view, new))
        except WeftError as error:
            log.warning("endpoint %s is not back on %s: %s", old.name, old.node, error)
