"""A node and all that it holds goes out of the store: because somebody says so, or because its host has another name now."""

from __future__ import annotations

from weft.base.errors import Unavailable
from weft.cluster import records
from weft.cluster.membership import Membership
from weft.cluster.view import View
from weft.ipam.addresses import removal
from weft.model import Endpoint, Lease, keys
from weft.store.protocol import Delete, DeletePrefix, Guard, NothingNewer, Op, Store, Unchanged

RETRIES = 10
"""How often a decision is taken again when others wrote meanwhile."""


async def remove_node(store: Store, view: View, membership: Membership, name: str) -> list[str]:
    """The subnets that were freed. Raises Unavailable."""
    freed = await _free_leases(store, view, membership, name)
    for _ in range(RETRIES):
        if await _forget_endpoints(store, view, name):
            break
    else:
        raise Unavailable(f"node {name}: its containers change too fast just now: try again")
    for network in sorted(view.networks):
        await store.commit([], [DeletePrefix(keys.mac_claim(network, name, ""))])
    return freed


async def _forget_endpoints(store: Store, view: View, name: str) -> bool:
    """With what they claim, and then the node. False: one came or was changed meanwhile, whose claims would have stayed."""
    listing = await store.list(keys.endpoints(name))
    for endpoint, item in records.pairs(Endpoint, listing.items):
        if view.driver(endpoint.network).addresses.claimed:
            ops = removal(endpoint, view.home(endpoint.network))
            if await store.commit([Unchanged(item.key, item.revision)], ops) is None:
                return False
    rest: list[Op] = [DeletePrefix(keys.endpoints(name)), DeletePrefix(keys.cursors(name))]
    none_came = NothingNewer(keys.endpoints(name), listing.revision)
    return await store.commit([none_came], [*rest, Delete(keys.presence(name)), Delete(keys.node(name))]) is not None


async def _free_leases(store: Store, view: View, membership: Membership, node: str) -> list[str]:
    """The leases are as the store has them now: the node may just have got a block."""
    freed = list[str]()
    done: set[str] = set()
    for _ in range(RETRIES):
        listing = await store.list(keys.LEASES)
        view.listed((keys.LEASES,), listing.items, listing.revision)
        left = [held[node] for name, held in view.leases.items() if node in held and name not in done]
        for lease in left:
            if await _free_lease(store, view, membership, lease):
                done.add(lease.network)
                freed += map(str, lease.subnets)
        if not left:
            return freed
    raise Unavailable(f"node {node}: its subnets change too fast just now: try again")


async def _free_lease(store: Store, view: View, membership: Membership, lease: Lease) -> bool:
    """False: it is not as it was seen."""
    key = keys.lease(lease.network, lease.node)
    ops: list[Op] = [Delete(keys.subnet_claim(lease.network, s)) for s in lease.subnets]
    guards: list[Guard] = [Unchanged(key, view.revision(key))]
    if not await membership.write(guards, [Delete(key), *ops[:100]]):
        return False
    for start in range(100, len(ops), 100):
        await store.commit([], ops[start : start + 100])
    return True
