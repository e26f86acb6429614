"""Data path `neutron`: containers beside virtual machines on OpenStack's networks, as Kuryr has it.

A container's interface is a port of Neutron's, with its MAC address and addresses. Packet's way: eth0 → veth → `tap` and the
first eleven characters of the port's id, which Neutron's agent takes up on this host; all else is up to it.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.base.net import IPAddress, family, parse_address, parse_network
from weft.datapaths import _limits, _parts
from weft.datapaths.driver import Answer, Driver, Problem, Site, nothing
from weft.datapaths.neutron_options import GATEWAYS, NeutronOptions, listed
from weft.datapaths.traits import PORTS, KnownBy, Switched, WayOut
from weft.hoststate import Link, Object, Veth, route
from weft.model import Endpoint


def endpoint(site: Site, ep: Endpoint) -> Answer:
    """The pair, and what the container knows of its network."""
    if not ep.data.get("port"):
        yield Problem(f"endpoint {ep.name} has no port in Neutron: detach it and attach it again")
        return
    yield from _pair(site, ep)
    yield from _addresses(ep)
    yield from _routes(ep)


def _mtu(site: Site, ep: Endpoint) -> int | None:
    return int(text) if (text := ep.data.get("mtu", "")) else site.network.mtu


def tap(ep: Endpoint) -> str:
    """As Nova and Kuryr name it, and Neutron's agents look for it."""
    return f"tap{ep.data['port'][:11]}"


def _pair(site: Site, ep: Endpoint) -> Iterator[Object]:
    ns, mark, mtu = ep.namespace.path, f"weft:endpoint/{ep.network}/{ep.name}", _mtu(site, ep)
    yield Link(name=tap(ep), type=Veth(peer=ep.interface, peer_ns=ns), mtu=mtu, alias=mark)
    inside = Veth(peer=tap(ep), peer_ns="", primary=False)
    yield Link(name=ep.interface, type=inside, mtu=mtu, mac=ep.mac, alias=mark, lent=bool(ep.owner), ns=ns)
    yield from _limits.limits(ep.bandwidth, tap(ep), mtu=mtu or 1500, mark=mark, ns="")


def _addresses(ep: Endpoint) -> Iterator[Object]:
    for address in ep.addresses:
        yield from _parts.inside(str(address), ep.interface, ep.namespace.path)
    if 6 in ep.families:
        yield _parts.link_local_of(ep.interface, ep.mac, ep.namespace.path)


def _routes(ep: Endpoint) -> Iterator[Object]:
    """The subnets' host routes ("CIDR via NEXTHOP, …"), and their gateways."""
    for text in listed(ep.data.get("routes", "")):
        prefix, _, hop = text.partition(" via ")
        yield route(str(parse_network(prefix)), via=hop, dev=ep.interface, ns=ep.namespace.path)
    for gateway in _gateways(ep) if ep.default_route else ():
        yield _parts.default_route(family(gateway), str(gateway), ep.interface, ep)


def _gateways(ep: Endpoint) -> Iterator[IPAddress]:
    return (parse_address(text) for key in GATEWAYS if (text := ep.data.get(key, "")))


DRIVER = Driver(
    name="neutron",
    summary="ports of OpenStack Neutron's networks, beside virtual machines, as Kuryr",
    options=NeutronOptions,
    addresses=PORTS,
    known_by=KnownBy.LOCATIONS,
    switched=Switched.ELSEWHERE,
    way_out=WayOut(told=GATEWAYS),
    features=("veth",),
    network=nothing,
    endpoint=endpoint,
)
