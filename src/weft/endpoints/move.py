"""An endpoint moves to a container here: name, addresses, MAC, labels, ports, floating addresses stay what
they were.

One transaction takes it from its node and gives it to this one, so there is no moment at which its addresses are nobody's,
or two nodes'. Where the kernel here does not take it, another one brings it back.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from weft.alloc import blocks as alloc
from weft.alloc.blocks import Given
from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound, Unavailable, WeftError
from weft.compile.compiler import sources_of
from weft.containers.find import Target
from weft.datapaths import registry
from weft.endpoints import floating
from weft.ipam.addresses import holder, key_of, lease_guard
from weft.model import Endpoint, decode, encode, keys
from weft.model.endpoint import endpoint_id
from weft.store.protocol import Absent, Delete, Guard, Op, Put, Unchanged

if TYPE_CHECKING:
    from weft.agent.agent import Agent

log = logging.getLogger(__name__)

RETRIES = 10


async def move(agent: Agent, found: t.EndpointInfo, request: t.Move) -> Endpoint:
    """Raises NotFound, Invalid, Conflict, Unavailable, Failed."""
    _check_movable(agent, found)
    attachments = agent.attachments
    target = await attachments.locate(request.target)
    async with attachments.busy(target):
        network = agent.view.networks[found.network]
        for _ in range(RETRIES):
            old, revision = await _current(agent, found)
            new = _moved(agent, old, target, request)
            async with attachments.ports.taking(new, network):
                if not await _transfer(agent, old, revision, new):
                    continue
            try:
                await attachments.converged(new)
            except BaseException:
                await asyncio.shield(_bring_back(agent, old, new))
                raise
            return new
    raise Unavailable(f"endpoint {found.name} changes too fast just now: try again")


def _check_movable(agent: Agent, found: t.EndpointInfo) -> None:
    network = agent.view.networks[found.network]
    if not agent.view.driver(network.name).addresses.movable:
        raise Invalid(
            f"endpoint {found.name} cannot move: in network {network.name} (driver {network.driver}) addresses belong to "
            "their host's subnet or place; detach it there and attach it here"
        )
    if found.handover:
        raise Invalid(f"endpoint {found.name} cannot move: its interface is its container engine's")


async def _current(agent: Agent, found: t.EndpointInfo) -> tuple[Endpoint, int]:
    """As it is now, and the leases that it concerns."""
    item = await agent.store.get(keys.endpoint(found.node, found.network, found.id))
    if item is None:
        raise NotFound(f"endpoint {found.name} on {found.node} was just detached")
    home = agent.view.home(found.network)
    for node in {found.node, agent.view.me}:
        lease = await agent.store.get(keys.lease(home, node))
        if lease is not None:
            agent.view.present_now(lease)
    return decode(Endpoint, item.value), item.revision


def _moved(agent: Agent, old: Endpoint, target: Target, request: t.Move) -> Endpoint:
    """Raises Conflict."""
    present = [e for e in agent.view.endpoints_of(old.network) if e.namespace.cookie == target.namespace.cookie]
    if present:
        raise Conflict(
            f"{request.target} is attached to {old.network} already, by {present[0].interface}: detach it first"
        )
    interface = agent.attachments.interface(request.interface, request.target, target)
    return msgspec.structs.replace(
        old,
        id=endpoint_id(old.network, agent.view.me, target.namespace.cookie, interface),
        node=agent.view.me,
        container=request.target,
        namespace=target.namespace,
        interface=interface,
        owner="",
        rank=agent.attachments.rank(target),
    )


async def _transfer(agent: Agent, old: Endpoint, revision: int, new: Endpoint) -> bool:
    """From the old one's node to the new one's. False if others wrote in between."""
    view, home = agent.view, agent.view.home(old.network)
    async with agent.attachments.blocks.lock(home):
        guards: list[Guard] = [Unchanged(key_of(old), revision), Absent(key_of(new))]
        guards += [Unchanged(keys.network(n), view.revision(keys.network(n))) for n in {home, old.network}]
        tenure = agent.membership.tenure_of(new.node)
        ops: list[Op] = [Delete(key_of(old)), Put(key_of(new), encode(new), tenure)]
        ops += [Put(keys.address_claim(home, a.ip), holder(new), tenure) for a in new.addresses]
        ops += floating.claims(new, tenure)
        if old.node != new.node:
            agent.attachments.blocks.unroute(old, home, guards, ops)
            _route(agent, new, home, guards, ops)
        try:
            return await agent.membership.write(guards, ops)
        except NotFound:
            raise Unavailable(f"{old.node} or {new.node} is just being removed: try again") from None


def _route(agent: Agent, new: Endpoint, home: str, guards: list[Guard], ops: list[Op]) -> None:
    """To the addresses that are in no block of their new node."""
    lease = agent.view.lease(home, new.node)
    if lease is None:
        raise Unavailable(f"network {home}: {new.node} has no lease in it: try again")
    lone = [Given(a.ip, host=True) for a in new.addresses if alloc.outside(lease, a.ip)]
    if lone and registry.block_options(agent.view.networks[home]).strict_affinity:
        raise Conflict(
            f"{lone[0].address} is in no block of {new.node}, and network {home} has strict-affinity: it cannot move there"
        )
    guards.append(lease_guard(agent.view, lease))
    if (left := alloc.with_given(lease, lone)) != lease:
        ops.append(Put(keys.lease(home, lease.node), encode(left), agent.membership.tenure_of(lease.node)))


async def _bring_back(agent: Agent, old: Endpoint, new: Endpoint) -> None:
    try:
        for _ in range(RETRIES):
            item = await agent.store.get(key_of(new))
            if item is None or await _transfer(agent, new, item.revision, old):
                break
            await agent.attachments.blocks.refresh(agent.view.home(old.network))
        await agent.loop.settle(sources_of(agent.view, new))
    except WeftError as error:
        log.warning("endpoint %s is not back on %s: %s", old.name, old.node, error)
