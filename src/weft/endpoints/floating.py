"""Who has which floating address: a claim in the cluster, created and removed with what an endpoint's record says of it.

An endpoint's floating addresses may be changed by any node's agent: the record is in the store, and its node follows it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from weft.api import limits
from weft.api import types as t
from weft.base.errors import Conflict, Failed, Invalid, NotFound, Unavailable
from weft.base.net import IPAddress, contains
from weft.cluster import records
from weft.cluster.membership import Membership
from weft.cluster.view import View
from weft.compile.compiler import sources_of
from weft.datapaths.traits import KnownBy
from weft.ipam.addresses import holder, key_of
from weft.model import Endpoint, Network, Node, decode, encode, keys
from weft.store.protocol import Absent, Delete, Guard, NothingNewer, Op, Put, Store, Unchanged

if TYPE_CHECKING:
    from weft.agent.agent import Agent

log = logging.getLogger(__name__)

RETRIES = 10
"""How often a change is tried again when others wrote meanwhile."""


async def taking(
    store: Store, view: View, endpoint: Endpoint, network: Network, new: Iterable[IPAddress]
) -> list[Guard]:
    """What has to hold for the endpoint to get the `new` of its floating addresses. Raises Invalid, Conflict."""
    if not (new := tuple(new)):
        return []
    if view.driver(network.name).known_by is not KnownBy.BGP:
        raise Invalid(
            f"floating address {new[0]}: network {network.name} is of driver {network.driver}, which speaks no BGP to "
            "announce it: attach the container to one of driver routed"
        )
    if network.internal:
        raise Invalid(
            f"floating address {new[0]}: network {network.name} is internal: nothing outside of it reaches its containers; "
            "attach the container to another network as well, and float there"
        )
    listing = await store.list(keys.NETWORKS)
    networks = records.readable(Network, listing.items)
    nodes = records.readable(Node, (await store.list(keys.NODES)).items)
    for address in new:
        _check_nobodys(address, networks, nodes, view)
        item = await store.get(keys.floating_claim(address))
        if item is not None:
            raise Conflict(
                f"floating address {address} belongs to {records.holder(item)}: `weft endpoint unfloat` "
                "takes it from there, or choose another"
            )
    return [NothingNewer(keys.NETWORKS, listing.revision), *(Absent(keys.floating_claim(a)) for a in new)]


def _check_nobodys(address: IPAddress, networks: Iterable[Network], nodes: Iterable[Node], view: View) -> None:
    """Raises Conflict."""
    for network in networks:
        inside = next((s for s in network.subnets if contains(s, address)), None)
        if inside is not None:
            raise Conflict(
                f"floating address {address} is in {inside} of network {network.name}: give one outside of Weft's networks"
            )
    owners = [(f"node {node.name}", [a.ip for a in node.addresses]) for node in nodes]
    owners += [(f"bgp peer {peer.name}", [peer.address]) for peer in view.bgp_peers.values()]
    for whose, held in owners:
        if address in held:
            raise Conflict(f"floating address {address} is the address of {whose}: give one that no machine has")


def claims(endpoint: Endpoint, tenure: int, addresses: Iterable[IPAddress] | None = None) -> list[Op]:
    """Of all its floating addresses, or of these."""
    wanted = endpoint.floating if addresses is None else addresses
    return [Put(keys.floating_claim(a), holder(endpoint), tenure) for a in wanted]


async def apart(store: Store, network: Network) -> Guard:
    """What keeps floating addresses out of a network to come. Raises Conflict."""
    listing = await store.list(keys.FLOATING)
    for address, item in records.claimed(keys.floating_address, listing.items):
        inside = next((s for s in network.subnets if contains(s, address)), None)
        if inside is not None:
            raise Conflict(
                f"network {network.name}: {inside} contains {address}, the floating address of "
                f"{records.holder(item)}: choose another --subnet"
            )
    return NothingNewer(keys.FLOATING, listing.revision)


async def add(agent: Agent, found: t.EndpointInfo, addresses: tuple[IPAddress, ...]) -> Endpoint:
    """Raises NotFound, Invalid, Conflict, Unavailable, Failed."""
    more = tuple(dict.fromkeys(addresses))
    return await _change(agent, found, lambda now: (*now, *(a for a in more if a not in now)))


async def remove(agent: Agent, found: t.EndpointInfo, addresses: tuple[IPAddress, ...]) -> Endpoint:
    """Raises NotFound, Unavailable, Failed."""

    def less(now: tuple[IPAddress, ...]) -> tuple[IPAddress, ...]:
        if strange := [a for a in addresses if a not in now]:
            has = ", ".join(map(str, now)) or "none"
            raise NotFound(f"endpoint {found.name} has no floating address {strange[0]}: it has {has}")
        return tuple(a for a in now if a not in addresses)

    return await _change(agent, found, less)


async def _change(
    agent: Agent, found: t.EndpointInfo, change: Callable[[tuple[IPAddress, ...]], tuple[IPAddress, ...]]
) -> Endpoint:
    """Where it is this node's, all or nothing; another's agent brings it to its kernel by itself."""
    for _ in range(RETRIES):
        item = await agent.store.get(keys.endpoint(found.node, found.network, found.id))
        network = agent.view.networks.get(found.network)
        if item is None or network is None:
            raise NotFound(f"endpoint {found.name} on {found.node} was just detached, or moved: try again")
        old = decode(Endpoint, item.value)
        new = msgspec.structs.replace(old, floating=change(old.floating))
        limits.at_most(f"endpoint {old.name}: floating addresses", new.floating, limits.FLOATING)
        if new == old:
            return old
        more = [a for a in new.floating if a not in old.floating]
        guards = [Unchanged(item.key, item.revision), *await taking(agent.store, agent.view, new, network, more)]
        if await _write(agent.membership, guards, old, new):
            return await _bring(agent, old, new)
    raise Unavailable(f"endpoint {found.name} changes too fast just now: try again")


async def _write(membership: Membership, guards: list[Guard], old: Endpoint, new: Endpoint) -> bool:
    try:
        tenure = membership.tenure_of(new.node)
        ops: list[Op] = [Put(key_of(new), encode(new), tenure)]
        ops += claims(new, tenure, [a for a in new.floating if a not in old.floating])
        ops += [Delete(keys.floating_claim(a)) for a in old.floating if a not in new.floating]
        return await membership.write(guards, ops)
    except NotFound:
        raise Unavailable(f"{new.node} is just being removed: try again") from None


async def _bring(agent: Agent, old: Endpoint, new: Endpoint) -> Endpoint:
    if new.node != agent.view.me:
        return new
    try:
        return await agent.attachments.standing(new)
    except Failed:
        await _take_back(agent, old, new)
        raise


async def _take_back(agent: Agent, old: Endpoint, new: Endpoint) -> None:
    """As long as it is what this change made of it: who changed it since has seen these addresses."""
    for _ in range(RETRIES):
        item = await agent.store.get(key_of(new))
        if item is None or item.value != encode(new):
            return
        gone = [Absent(keys.floating_claim(a)) for a in old.floating if a not in new.floating]
        if await _write(agent.membership, [Unchanged(item.key, item.revision), *gone], new, old):
            await agent.loop.settle(sources_of(agent.view, new))
            return
    log.warning("endpoint %s keeps floating addresses that do not stand: others changed them too fast", new.name)
