"""Data path `ipvlan`: containers on the wire of one of the host's devices, with that device's MAC address.

Packet's way, mode `l2`: eth0, an ipvlan device on the parent → the wire, with the parent's MAC address → another host's parent,
which tells its devices' packets by their IP addresses → eth0. A switch sees one MAC address for each host.

Modes `l3` and `l3s`: eth0 sends without asking for anybody (no ARP, no broadcast) → the routing of the host's own namespace,
by the parent → the wire. So the network has a prefix of its own, behind the hosts: between them Weft makes a route for each
container, `10.5.0.3 via 192.168.1.254 dev eth0`; a router outside needs routes of its own. In `l3s` what comes in passes the
host's connection tracking as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from weft.base.errors import Invalid
from weft.base.net import host_prefix, parse_network
from weft.datapaths import _parts, _physical
from weft.datapaths.change import fixed, option
from weft.datapaths.driver import Answer, Driver, Problem, Site
from weft.datapaths.options import PhysicalOptions
from weft.datapaths.traits import PHYSICAL, KnownBy, Switched
from weft.hoststate import Ipvlan, Object
from weft.model import Endpoint, Location, Node

IpvlanMode = Annotated[
    Literal["l2", "l3", "l3s"],
    option(
        "l2: in the hosts' network, by their MAC addresses; l3: routed by the host, without ARP and broadcast; "
        "l3s: the same, and connections are tracked by the host.",
        fixed("containers' interfaces stand on it, and would have to be made anew"),
    ),
]


class IpvlanOptions(PhysicalOptions, frozen=True, kw_only=True):
    mode: IpvlanMode = "l2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.routed and self.gateway:
            raise Invalid(
                f"gateway={self.gateway}: in mode {self.mode} the host routes: leave -O gateway out, or take mode=l2"
            )

    @property
    def routed(self) -> bool:
        return self.mode != "l2"

    @property
    def features(self) -> tuple[str, ...]:
        return ("ipvlan", *super().features)


def endpoint(site: Site, ep: Endpoint) -> Answer:
    options: IpvlanOptions = site.options
    kind = Ipvlan(dev=_physical.parent(site.host, options), mode=options.mode)
    yield from _physical.interface(site, ep, kind, None)
    yield from _out(site, ep) if options.routed else _physical.routes(site, ep)


def _out(site: Site, ep: Endpoint) -> Iterator[Object]:
    """Whatever it is, by the device: who is where is for the host to know."""
    for fam in sorted(set(ep.families)):
        if ep.default_route:
            yield _parts.default_route(fam, "", ep.interface, ep)


def location(site: Site, node: Node, found: Location) -> Answer:
    """Where the host routes: the other host, for each address. It takes them by the wire that is both uplinks'. Else as
    `_physical`."""
    if not site.options.routed:
        yield from _physical.location(site, node, found)
        return
    if _physical.parent(site.host, site.options) != site.host.node.uplink:
        return
    for address in found.addresses:
        direct = _parts.direct(site, node, parse_network(host_prefix(address)))
        yield direct or Problem(
            f"{node.name} is behind a router: there is no way to {address} unless that has a route; mode "
            f"{site.options.mode} of ipvlan is for hosts of one segment"
        )


DRIVER = Driver(
    name="ipvlan",
    summary="containers in the hosts' own network, by the hosts' MAC addresses; or routed by them",
    options=IpvlanOptions,
    addresses=PHYSICAL,
    known_by=KnownBy.LOCATIONS,
    switched=Switched.NOWHERE,
    own_mac=False,
    passed=False,
    features=("nftables",),
    network=_physical.network,
    segment=_physical.segment,
    location=location,
    endpoint=endpoint,
    host_end=lambda _: "",
    parents=_physical.parents,
    gateways=lambda network, options: () if options.routed else _physical.gateways(network, options),
    refusal=_physical.refusal,
)
