"""MAC addresses that users ask for. Where frames are switched no two containers may have the same one, or the first gets
nothing any more: in the whole cluster where all hosts share one segment, else on each host's bridge.

A MAC address that is made of the container's address is as unique as that. So only the others are claimed, and none is given
that would be made of an address somebody else may get.
"""

from __future__ import annotations

from weft.base.errors import Conflict
from weft.base.names import stable_mac
from weft.base.net import contains, parse_address
from weft.cluster import footprint
from weft.cluster.cluster import Cluster
from weft.cluster.view import View
from weft.datapaths.traits import Switched
from weft.model import Endpoint, Network


async def check(cluster: Cluster, endpoint: Endpoint, network: Network) -> None:
    """Raises Conflict where somebody else has its MAC address."""
    view = cluster.view
    key = footprint.mac_claim(endpoint, footprint.place(view, network.name))
    if not key:
        return
    who = _reserved(view, endpoint, network) or _known(view, endpoint, network)
    if not who and (item := await cluster.store.get(key)) is not None:
        who = item.value.decode(errors="replace")
    if who:
        raise Conflict(
            f"MAC address {endpoint.mac} is taken in network {network.name} by {who}: choose another, or leave the "
            "choice to Weft"
        )


def _reserved(view: View, endpoint: Endpoint, network: Network) -> str:
    """Whose it is without anybody's asking: a gateway's, or whoever has the address that it is made of."""
    for node in {view.me, *view.nodes}:
        if endpoint.mac == stable_mac("bridge", node, network.name) and not (endpoint.of_host and node == view.me):
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
    one_segment = view.driver(network.name).switched is Switched.EVERYWHERE
    for id, location in view.locations.get(network.name, {}).items() if one_segment else ():
        if location.mac == endpoint.mac and id != endpoint.id:
            return f"a container on {location.node}"
    return ""
