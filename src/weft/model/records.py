"""The kinds of record of the model, each declared once (`weft.model.record`).

What else lies in the store (the cluster's identity, claims of addresses, subnets, VNIs and MAC addresses) is asked for when
it is needed, and followed by nobody.
"""

from __future__ import annotations

from typing import NamedTuple

from weft.base.net import IPAddress, parse_address
from weft.model import keys
from weft.model.bgp import BgpPeer, BgpSecret, BgpSettings
from weft.model.endpoint import Endpoint
from weft.model.lease import Lease
from weft.model.location import Location
from weft.model.network import Network
from weft.model.node import Node
from weft.model.record import Follow, Record, reads


class Floating(NamedTuple):
    """A floating address, and the node that may announce it."""

    address: IPAddress
    node: str


def _instance(_: keys.OfNode, value: bytes) -> str:
    return value.decode(errors="replace")


def _floating(at: keys.Claimed, value: bytes) -> Floating:
    """A claim says "ENDPOINT on NODE", and neither name has a space."""
    return Floating(parse_address(at.address), value.decode(errors="replace").rpartition(" on ")[2])


NODES = Record("nodes", keys.NODE, reads(Node, name="node"), by=(("node",),))
PRESENCE = Record("presence", keys.PRESENCE_OF, _instance, by=(("node",),), passing=True)
NETWORKS = Record("networks", keys.NETWORK, reads(Network, name="network"), by=(("network",), ("home", "network")))
LEASES = Record(
    "leases",
    keys.LEASE,
    reads(Lease, "network", "node"),
    by=(("network", "node"), ("node", "network")),
    held=True,
)
ENDPOINTS = Record(
    "endpoints",
    keys.ENDPOINT,
    reads(Endpoint, "node", "network", "id"),
    by=(("id",), ("network", "id"), ("namespace.path", "id"), ("namespace.cookie", "id")),
    follow=Follow.OWN,
    held=True,
)
LOCATIONS = Record(
    "locations",
    keys.LOCATION,
    reads(Location),
    by=(("network", "id"), ("network", "addresses"), ("node", "network", "id")),
    follow=Follow.ON_DEMAND,
)
CURSORS = Record("cursors", keys.CURSOR, reads(dict[str, IPAddress]), by=(("network",),), follow=Follow.OWN)
FLOATING = Record("floating", keys.FLOATED, _floating, by=(("address",),))
BGP_SETTINGS = Record("bgp-settings", keys.SETTINGS, reads(BgpSettings), by=((),))
BGP_SECRET = Record("bgp-secret", keys.SECRET, reads(BgpSecret), by=((),), sticky=True)
BGP_PEERS = Record("bgp-peers", keys.PEER, reads(BgpPeer, "name"), by=(("name",),))
