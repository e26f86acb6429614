"""What is declared and kept in the store: frozen, validated when built, no I/O.

Node       a host: its underlay addresses and uplink
Network    a data path (driver) over one prefix of each family
Lease      which node holds which subnet of which network
Endpoint   one container's interface in one network, the ports of the host that lead to it, its limits of bandwidth
BgpSettings, BgpPeer   how BGP is spoken, and with whom besides the nodes; BgpSecret: what nodes know each other by
Location   where a container is, and what policy can say of it, for the other hosts
"""

from weft.model.bandwidth import Bandwidth
from weft.model.bgp import BgpPeer, BgpSecret, BgpSettings
from weft.model.codec import decode, encode, to_builtins
from weft.model.endpoint import Endpoint, Gateway, Namespace
from weft.model.identity import NamedPort
from weft.model.lease import Lease
from weft.model.location import Location
from weft.model.network import Network, Pool
from weft.model.node import Node
from weft.model.ports import ExposedPort, PublishedPort
from weft.model.ranges import AddressRange

__all__ = [
    "AddressRange",
    "Bandwidth",
    "BgpPeer",
    "BgpSecret",
    "BgpSettings",
    "Endpoint",
    "ExposedPort",
    "Gateway",
    "Lease",
    "Location",
    "NamedPort",
    "Namespace",
    "Network",
    "Node",
    "Pool",
    "PublishedPort",
    "decode",
    "encode",
    "to_builtins",
]
