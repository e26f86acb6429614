"""Data path `bridge`: containers of one host on one bridge; the way out by masquerade; no way to other hosts.

Packet's way: eth0 → veth → bridge `weft-NETWORK` → another port, or the host's routing → uplink, masqueraded.
"""

from __future__ import annotations

from weft.datapaths import _parts
from weft.datapaths.driver import Answer, Driver, Site
from weft.datapaths.options import SubnetOptions
from weft.datapaths.traits import OWN_SUBNET, KnownBy, Switched
from weft.model import Endpoint


def _mtu(site: Site) -> int:
    return site.network.mtu or site.host.node.mtu


def network(site: Site) -> Answer:
    yield from _parts.gateway(site, _mtu(site))


def endpoint(site: Site, ep: Endpoint) -> Answer:
    yield from _parts.attachment(site, ep, _mtu(site))


DRIVER = Driver(
    name="bridge",
    summary="containers of one host on a bridge, no way to other hosts",
    options=SubnetOptions,
    addresses=OWN_SUBNET,
    known_by=KnownBy.NOTHING,
    switched=Switched.ON_HOST,
    features=_parts.FEATURES,
    network=network,
    endpoint=endpoint,
    reached=_parts.on_bridge,
    gates=_parts.on_bridge_gates,
    balancer=_parts.on_bridge_balancer,
    also=_parts.also,
)
