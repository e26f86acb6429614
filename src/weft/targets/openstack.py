"""Target `openstack`: extra routes of Neutron's routers, and the allowed address pairs of this host's own port.

A place is a router or the port. Each host writes one route and one pair for each of its subnets, and nobody else's.

A router keeps several next hops of one destination side by side. Of this host's destinations those that lead anywhere else
are its own to remove, as soon as its own is there; of destinations without a lease `weft.targets.routes` says who removes
them. Pairs have no such trouble: those of Weft's networks on this host's port are this host's.

What somebody else has written in another way (with host bits, say) keeps its text here, since only with that it can be removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_network

from weft.base.errors import Conflict, Unsupported
from weft.base.net import IPNetwork
from weft.hoststate import TargetObject
from weft.hoststate.cloud import AddressPair, RouterRoute
from weft.model import Node
from weft.openstack.cloud import Cloud
from weft.openstack.neutron import HostRoute
from weft.openstack.routers import HostPort, Pair, Routers
from weft.targets.calls import Limits
from weft.targets.openstack_checks import checks
from weft.targets.protocol import Check, Page
from weft.targets.routes import Sweep, Territory, Whose

LIMITS = Limits(rate=4.0, burst=10, timeout=60.0, turn=10.0)
"""A busy Neutron takes seconds for a call, and all hosts share it. What it has answered it shows at once."""
TRIES = 3
"""How often pairs are written that somebody else changes at the same time."""


class OpenStack:
    name = "openstack"
    kinds = frozenset({RouterRoute.kind, AddressPair.kind})

    def __init__(self, territory: Callable[[], Territory], clock: Callable[[], float], cloud: Cloud) -> None:
        self._territory, self._api, self._sweep = territory, Routers(cloud), Sweep(clock)
        self._facts: Mapping[str, str] = {}
        self._mine: frozenset[str] = frozenset()
        """This host's addresses."""
        self._ports: dict[str, HostPort] = {}
        """This host's, as it was read or written last."""
        self._written: frozenset[str] = frozenset()
        """Routers with routes of this host's, as of the last reading."""

    @property
    def places(self) -> frozenset[str]:
        return frozenset([*self._facts.get("routers", "").split(), *filter(None, [self._facts.get("port", "")])])

    # What there is to know of this host.

    async def learn(self, node: Node) -> Mapping[str, str]:
        port = await self._port(node)
        near = [one for one in await self._api.joining(port.network_id) if one.subnets & port.subnets]
        seen = await self._api.visible({one.device_id for one in near})
        joined = {subnet for one in await self._api.joins(seen) for subnet in one.subnets}
        subnets = await self._api.subnets(joined | port.subnets)
        gateways = {s.gateway_ip for s in subnets if s.id in port.subnets}
        ways = {p.device_id for p in near if p.device_id in seen for ip in p.fixed_ips if ip.ip_address in gateways}
        self._mine = frozenset(str(a.ip) for a in node.addresses)
        self._facts = {
            "port": port.id,
            "port-security": "on" if port.port_security_enabled else "off",
            "routers": " ".join(sorted(seen)),
            "gateway": ways.pop() if len(ways) == 1 else "",
            "hidden": " ".join(sorted({one.device_id for one in near} - seen)),
            "subnets": " ".join(sorted(s.cidr for s in subnets if s.id in joined)),
        }
        return self._facts

    async def _port(self, node: Node) -> HostPort:
        """Raises Unsupported."""
        wanted = [str(a.ip) for a in node.addresses]
        found = {port.id: port for port in await self._api.host_ports(wanted)}
        if not found:
            raise Unsupported(
                f"no port in Neutron has {' or '.join(wanted)}: is this host a server there, and do the credentials belong "
                "to its project? Name the right device with --iface"
            )
        if len(found) > 1:
            raise Unsupported(
                f"several ports in Neutron have {' or '.join(wanted)}: {', '.join(sorted(found))}: use credentials that see "
                "only this host's project"
            )
        return next(iter(found.values()))

    # Reading.

    async def read(self, place: str, more: str) -> Page:
        if place == self._facts.get("port"):
            return Page(await self._pairs(place))
        router = await self._api.router(place)
        border = self._territory()  # after the routes were read: the lease of each was there before it
        whose: dict[Whose, list[RouterRoute]] = {one: [] for one in Whose}
        for route in router.routes:
            found = RouterRoute(place=place, destination=route.destination, next_hop=route.nexthop)
            here = route.nexthop in self._mine
            whose[border.whose(_prefix(route.destination), to_host=True, here=here)].append(found)
        ours = bool(whose[Whose.OURS])
        self._written = self._written | {place} if ours else self._written - {place}
        return Page(self._sweep.handled(whose, border))

    async def _pairs(self, id: str) -> tuple[AddressPair, ...]:
        """Those that are Weft's: inside its networks, and with the port's own MAC address."""
        port = self._ports[id] = await self._api.port(id)
        border = self._territory()
        own = [p.ip_address for p in port.allowed_address_pairs if port.own(p)]
        return tuple(AddressPair(place=id, prefix=text) for text in own if border.inside(_prefix(text)))

    # Writing.

    async def create(self, obj: TargetObject) -> None:
        if isinstance(obj, RouterRoute):
            await self._api.add_route(obj.place, HostRoute(obj.destination, obj.next_hop))
        elif isinstance(obj, AddressPair):
            await self._change(obj, [Pair(ip_address=obj.prefix)])

    async def change(self, old: TargetObject, new: TargetObject) -> None:
        """There is nothing of them that is not in their names."""

    async def remove(self, obj: TargetObject) -> None:
        if isinstance(obj, RouterRoute):
            await self._api.remove_route(obj.place, HostRoute(obj.destination, obj.next_hop))
        elif isinstance(obj, AddressPair):
            await self._change(obj, [])

    async def _change(self, pair: AddressPair, instead: list[Pair]) -> None:
        """What the port has of it becomes `instead`. Raises Conflict where somebody else changes the port all the time."""
        for left in reversed(range(TRIES)):
            port = self._ports.pop(pair.place, None) or await self._api.port(pair.place)
            others = [p for p in port.allowed_address_pairs if not (port.own(p) and p.ip_address == pair.prefix)]
            try:
                self._ports[pair.place] = await self._api.set_pairs(port, [*others, *instead])
                break
            except Conflict:
                if not left:
                    raise

    # What keeps packets from arriving, or will.

    def checks(self) -> Iterator[Check]:
        return checks(self._api, self._facts, self._written, self._territory().subnets)


def _prefix(text: str) -> IPNetwork:
    """Neutron has seen to it that it is one, but host bits it lets pass."""
    return ip_network(text, strict=False)
