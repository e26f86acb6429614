"""Which floating addresses can be had: outside of all networks, no machine's own, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterable

from weft.base.errors import Conflict, Invalid
from weft.base.net import IPAddress, contains
from weft.cluster import records
from weft.cluster.cluster import Cluster
from weft.cluster.view import View
from weft.datapaths.traits import KnownBy
from weft.model import Endpoint, Network, Node, keys
from weft.store.protocol import Guard, NothingNewer, Store


async def taking(cluster: Cluster, endpoint: Endpoint, network: Network, new: Iterable[IPAddress]) -> list[Guard]:
    """What has to hold for the endpoint to get the `new` of its floating addresses, beside their claims being free. Raises
    Invalid, Conflict."""
    store, view = cluster.store, cluster.view
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
    return [NothingNewer(keys.NETWORKS, listing.revision)]


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
