"""What the page in the browser shows of a cluster, as tables of rows that are told again only where they changed. The rules of
`weft.api.types` hold here, too."""

from __future__ import annotations

import msgspec

from weft.api.mesh import MeshPeer
from weft.api.services import ServiceInfo
from weft.api.types import BgpSession, NetworkInfo, NodeInfo, Reply, Status
from weft.base.net import IPAddress
from weft.model.identity import DEFAULT_NAMESPACE


class EndpointLine(Reply, frozen=True, kw_only=True, omit_defaults=True):
    """What all hosts know of a container: there are thousands. `device`: its interface's other end, of those on the node that
    answers. The rest is told of one (`EndpointInfo`)."""

    name: str
    network: str
    node: str
    mac: str = ""
    addresses: tuple[IPAddress, ...] = ()
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    policy_namespace: str = DEFAULT_NAMESPACE
    aliases: tuple[str, ...] = ()
    device: str = ""


class LinkCounters(Reply, frozen=True, kw_only=True, omit_defaults=True):
    """A device of the host's namespace that is Weft's or its uplink. `mark`: its alias. `up`: IFF_UP, by the administrator.
    `carrier`: IFF_LOWER_UP. Counters are the kernel's, of packets and octets, since the device was made."""

    kind: str = ""
    mark: str = ""
    uplink: bool = False
    mtu: int = 0
    up: bool = False
    carrier: bool = False
    received: int = 0
    received_octets: int = 0
    sent: int = 0
    sent_octets: int = 0
    errors: int = 0
    dropped: int = 0


class Topology(Reply, frozen=True, kw_only=True, omit_defaults=True):
    """Rows by their keys: `nodes`, `networks` by name, `endpoints` by id, `services` by NETWORK/NAME, `sessions` (BGP) by
    neighbour and address, `peers` (ways of driver mesh) by node, `links` by name, and `status` by the name of the node that
    answers: the last four are of that node alone. `at`: to ask for what changes from here on. `whole`: all rows are here, and
    what is not here is no more; else only those that changed since, None for one that went. `problem`: why rows are missing,
    in one line."""

    at: str
    whole: bool = False
    time: float
    problem: str = ""
    status: dict[str, Status | None] = msgspec.field(default_factory=dict)
    nodes: dict[str, NodeInfo | None] = msgspec.field(default_factory=dict)
    networks: dict[str, NetworkInfo | None] = msgspec.field(default_factory=dict)
    endpoints: dict[str, EndpointLine | None] = msgspec.field(default_factory=dict)
    services: dict[str, ServiceInfo | None] = msgspec.field(default_factory=dict)
    sessions: dict[str, BgpSession | None] = msgspec.field(default_factory=dict)
    peers: dict[str, MeshPeer | None] = msgspec.field(default_factory=dict)
    links: dict[str, LinkCounters | None] = msgspec.field(default_factory=dict)
