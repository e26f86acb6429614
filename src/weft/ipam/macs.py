"""MAC addresses that users ask for. Where frames are switched no two containers may have the same one, or the first gets
nothing any more: in the whole cluster where all hosts share one segment, else on each host's bridge.

A MAC address that is made of the container's address is as unique as that. So only the others are claimed, and none is given
that would be made of an address somebody else may get.
"""

from __future__ import annotations

from weft.base.errors import Conflict
from weft.base.names import stable_mac
from weft.base.net import contains, parse_address
from weft.cluster.view import View
from weft.datapaths import registry
from weft.datapaths.traits import Switched
from weft.ipam.addresses import asked_for, holder
from weft.model import Endpoint, Network, keys
from weft.store.protocol import Absent, Guard, Op, Put, Store


def key_of(endpoint: Endpoint, network: Network) -> str:
    """Of the claim; "" where this endpoint needs none: its MAC address is the usual one, or it is alone on its link."""
    switched = registry.of(network).switched
    if switched is Switched.NOWHERE or not asked_for(endpoint):
        return ""
    return keys.mac_claim(network.name, "" if switched is Switched.EVERYWHERE else endpoint.node, endpoint.mac)


async def taking(store: Store, view: View, endpoint: Endpoint, network: Network) -> list[Guard]:
    """What has to hold for it to have its MAC address. Raises Conflict."""
    key = key_of(endpoint, network)
    if not key:
        return []
    who = _reserved(view, endpoint, network) or _known(view, endpoint, network)
    if not who and (item := await store.get(key)) is not None:
        who = item.value.decode(errors="replace")
    if who:
        raise Conflict(
            f"MAC address {endpoint.mac} is taken in network {network.name} by {who}: choose another, or leave the "
            "choice to Weft"
        )
    return [Absent(key)]


async def back(store: Store, endpoint: Endpoint, network: Network, tenure: int) -> tuple[list[Guard], list[Op]]:
    """For the record of one that runs already: it keeps its MAC address, whoever has claimed that meanwhile."""
    key = key_of(endpoint, network)
    if not key or await store.get(key) is not None:
        return [], []
    return [Absent(key)], claims(endpoint, network, tenure)


def claims(endpoint: Endpoint, network: Network, tenure: int) -> list[Op]:
    key = key_of(endpoint, network)
    return [Put(key, holder(endpoint), tenure)] if key else []


def _reserved(view: View, endpoint: Endpoint, network: Network) -> str:
    """Whose it is without anybody's asking: a gateway's, or whoever has the address that it is made of."""
    for node in {view.me, *view.nodes}:
        if endpoint.mac == stable_mac("bridge", node, network.name):
            return f"the gateway on {node}"
    if endpoint.mac.startswith("02:42:"):
        address = parse_address(".".join(str(octet) for octet in bytes.fromhex(endpoint.mac.replace(":", ""))[2:]))
        if any(contains(subnet, address) for subnet in network.subnets):
            return f"the container with {address}"
    return ""


def _known(view: View, endpoint: Endpoint, network: Network) -> str:
    """As far as it is known here."""
    for other in view.endpoints_at(network.name):
        if other.mac == endpoint.mac and other.id != endpoint.id:
            return other.name
    for id, location in view.locations.get(network.name, {}).items():
        if location.mac == endpoint.mac and id != endpoint.id:
            return f"a container on {location.node}"
    return ""
