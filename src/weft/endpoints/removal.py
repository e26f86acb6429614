"""A node and all that it holds goes out of the store: because somebody says so, or because its host has another name now."""

from __future__ import annotations

from weft.cluster import footprint, records
from weft.cluster.cluster import Cluster
from weft.model import Endpoint, Lease, keys
from weft.services.model import Condition
from weft.services.record import CONDITION
from weft.store.protocol import Delete, DeletePrefix, NothingNewer, Op, Unchanged


async def remove_node(cluster: Cluster, name: str) -> list[str]:
    """The subnets that were freed. Raises Unavailable."""
    freed: dict[str, Lease] = {}
    await cluster.change(lambda: _free_leases(cluster, name, freed), f"node {name}: its subnets")
    await cluster.change(lambda: _forget_endpoints(cluster, name), f"node {name}: its containers")
    await cluster.change(lambda: _forget_conditions(cluster, name), f"node {name}: its containers' health")
    for network in sorted(cluster.view.networks):
        await cluster.store.commit([], [DeletePrefix(keys.mac_claim(network, name, ""))])
    return [str(subnet) for lease in freed.values() for subnet in lease.subnets]


async def _forget_endpoints(cluster: Cluster, name: str) -> None:
    """With what they claim, and then the node. Raises Refused: one came or was changed meanwhile, whose claims would have
    stayed."""
    listing = await cluster.store.list(keys.endpoints(name))
    seen = {item.key: item.revision for item in listing.items}
    found = (e for e, item in records.pairs(Endpoint, listing.items) if footprint.key_of(e) == item.key)
    for some in footprint.together(found):
        guards = [Unchanged(key, seen[key]) for key in map(footprint.key_of, some)]
        places = [(e, footprint.place(cluster.view, e.network)) for e in some]
        await cluster.commit(guards, [op for e, at in places for op in footprint.removal(e, at)])
    rest: list[Op] = [DeletePrefix(keys.endpoints(name)), DeletePrefix(keys.cursors(name))]
    if (node := cluster.view.nodes.get(name)) and node.number:
        rest.append(Delete(keys.number_claim(node.number)))
    none_came = NothingNewer(keys.endpoints(name), listing.revision)
    await cluster.commit([none_came], [*rest, Delete(keys.presence(name)), Delete(keys.node(name))])


async def _forget_conditions(cluster: Cluster, name: str) -> None:
    """What it said of its containers' health. Raises Refused."""
    listing = await cluster.store.list(CONDITION.root)
    said = [item for found, item in records.pairs(Condition, listing.items) if found.node == name]
    for start in range(0, len(said), 100):
        some = said[start : start + 100]
        await cluster.commit([Unchanged(i.key, i.revision) for i in some], [Delete(i.key) for i in some])


async def _free_leases(cluster: Cluster, node: str, freed: dict[str, Lease]) -> None:
    """Adds to `freed`, by network, each of which is looked at once: a node that lives gets another one. The leases are as the
    store has them now: the node may just have got a block."""
    view = cluster.view
    listing = await cluster.store.list(keys.LEASES)
    view.listed((keys.LEASES,), listing.items, listing.revision)
    for lease in [held[node] for network, held in view.leases.items() if node in held and network not in freed]:
        await _free_lease(cluster, lease)
        freed[lease.network] = lease


async def _free_lease(cluster: Cluster, lease: Lease) -> None:
    """Raises Refused."""
    key = keys.lease(lease.network, lease.node)
    ops: list[Op] = [Delete(keys.subnet_claim(lease.network, s)) for s in lease.subnets]
    await cluster.commit([cluster.unchanged(key)], [Delete(key), *ops[:100]])
    for start in range(100, len(ops), 100):
        await cluster.store.commit([], ops[start : start + 100])
