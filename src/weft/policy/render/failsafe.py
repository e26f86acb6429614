"""What passes at a host in any case, whatever policies about hosts say: so nobody locks himself out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from weft.base.net import IPAddress
from weft.policy.model import Direction

_SSH, _BGP, _ETCD, _KUBERNETES, _TYPHA = 22, 179, (2379, 2380), (6443, 6666, 6667), 5473
_TCP = (_BGP, *_ETCD, _TYPHA, *_KUBERNETES)
_DHCP_CLIENTS, _DHCP_SERVERS, _DNS = (68, 546), (67, 547), 53

TCP: Mapping[Direction, tuple[int, ...]] = {"ingress": (_SSH, *_TCP), "egress": _TCP}
UDP: Mapping[Direction, tuple[int, ...]] = {"ingress": _DHCP_CLIENTS, "egress": (_DNS, *_DHCP_SERVERS)}
"""Ports of the destination: Calico's, and those of DHCPv6."""
TUNNELS = (4, 41)
"""Protocols. Whose tunnels they are is asked by other rules (`weft.datapaths.guard`)."""
LINK = (
    *("nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert"),
    *("mld-listener-query", "mld-listener-report", "mld2-listener-report"),
)
"""Types of ICMPv6 without which there is no IPv6 on a link (RFC 4861, RFC 3810)."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """What this cluster needs beside, where rules have no set of it. `control`: TCP ports of this host's agent and of a store
    here; `store`: where it is elsewhere; `tunnels`: UDP ports."""

    control: tuple[int, ...] = ()
    store: tuple[tuple[IPAddress, int], ...] = ()
    tunnels: tuple[int, ...] = ()
