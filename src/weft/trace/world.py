"""The dumps, indexed by what the kernel looks things up by. Nothing here decides; it only answers.

A device is a *wire end* if what leaves it cannot be followed by its own host's dump: an ordinary device, or a veth whose other
end is in no namespace that the host knows (an uplink in a virtual machine's host, or in the lab).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import NamedTuple, Protocol

from weft.api.dump import (
    CloudDump,
    CloudRouteDump,
    FiltersDump,
    HostDump,
    LinkDump,
    TunnelDump,
)
from weft.base.net import IPAddress
from weft.filters.model import Seen, Verdict
from weft.filters.rules import Filters
from weft.trace.namespace import Namespace, within
from weft.trace.path import Place

_OWN_KINDS = ("loopback", "bridge", "vxlan", "ipip", "veth")


class Judge(Protocol):
    """`weft.filters.rules.Filters`."""

    def asked(self, hook: str, family: str) -> Sequence[object]: ...

    def run(
        self,
        hook: str,
        family: str,
        seen: Seen,
        *,
        above: int | None = None,
        below: int | None = None,
        nat: bool = False,
    ) -> Verdict: ...


class Found(NamedTuple):
    """A device somewhere, with the namespace it is in."""

    place: Place
    link: LinkDump


def _leads_here(link: LinkDump) -> bool:
    """Whether a veth's other end is in a namespace of this host that is known, in the dump or not."""
    return link.peer is not None and link.peer.namespace != "?"


class World:
    def __init__(
        self,
        dumps: Mapping[str, HostDump],
        nodes: Mapping[str, str],
        lacking: set[Place] | None = None,
        judging: Callable[[FiltersDump], Judge] = Filters,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """`nodes`: who should have which address on the wire, by address; also hosts whose dump is not at hand. `lacking` is
        told which places are asked about that are in no dump. `judging`: who evaluates packet filters. `names`: of endpoints,
        by their addresses."""
        self.lacking = set() if lacking is None else lacking
        self._dumps = dumps
        self._nodes = nodes
        self._namespaces: dict[Place, Namespace] = {}
        self._judges: dict[Place, Judge | None] = {}
        self._judging = judging
        self._names = names or {}

    def judge(self, place: Place) -> Judge | None:
        """Of the packet filters there, None where there are none."""
        if place not in self._judges:
            namespace = self.namespace(place)
            filters = namespace.dump.filters if namespace else FiltersDump()
            self._judges[place] = self._judging(filters) if filters.nft or filters.xtables else None
        return self._judges[place]

    def named(self, address: str) -> str:
        """Whose address it is: an endpoint or a host; "" for nobody's."""
        if address in self._names:
            return self._names[address]
        place = self.holder(ip_address(address))
        return self.name(place) if place else self._nodes.get(address, "")

    def hosts(self) -> tuple[str, ...]:
        return tuple(self._dumps)

    def alone(self) -> bool:
        """Whether only one host is known of, so that an address of nobody's may be another host's."""
        return len(set(self._nodes.values())) <= 1

    def namespace(self, place: Place, *, need: bool = True) -> Namespace | None:
        """`need`: it is lacking where it is in no dump."""
        if place not in self._namespaces and place.host in self._dumps:
            dump = self._dumps[place.host].namespace(place.ns)
            if dump is not None:
                self._namespaces[place] = Namespace(dump)
        if need and place not in self._namespaces:
            self.lacking.add(place)
        return self._namespaces.get(place)

    def name(self, place: Place) -> str:
        """As it is shown: the host, and an endpoint's name if it is in one's namespace."""
        if not place.ns:
            return place.host
        namespace = self.namespace(place)
        if namespace is None or not namespace.dump.name:
            return f"{place.host} {place.ns}"
        return f"{place.host}/{namespace.dump.name}"

    def elsewhere(self, address: IPAddress) -> str:
        """The host that has this address, if its dump is not at hand."""
        host = self._nodes.get(str(address), "")
        if host in self._dumps:
            return ""
        if host:
            self.lacking.add(Place(host))
        return host

    def expected(self, address: IPAddress) -> str:
        """The host that should have this address, if its dump is at hand."""
        host = self._nodes.get(str(address), "")
        return host if host in self._dumps else ""

    def places(self) -> Iterator[Place]:
        for host, dump in self._dumps.items():
            for namespace in dump.namespaces:
                yield Place(host, namespace.path)

    def holder(self, address: IPAddress) -> Place | None:
        """Any namespace that has this address."""
        for place in self.places():
            namespace = self.namespace(place)
            if namespace is not None and namespace.owner(address) is not None:
                return place
        return None

    # Routers of a cloud.

    def cloud_table(self, host: str, dst: IPAddress) -> str:
        """The table of a cloud's router by which a host's packets to a container go; "" where none carries them."""
        found = (c.table for c in self._clouds(host) if any(within(dst, prefix) for prefix in c.prefixes))
        return next(found, "")

    def cloud_route(self, table: str, dst: IPAddress) -> tuple[CloudRouteDump, Found | None] | None:
        """The route to it in this table, with the device that it leads to."""
        for host in self._dumps:
            for cloud in self._clouds(host):
                for route in cloud.routes:
                    if route.table == table and within(dst, route.prefix):
                        there = self.namespace(Place(host))
                        link = there.links.get(cloud.dev) if there else None
                        return route, Found(Place(host), link) if link else None
        return None

    def _clouds(self, host: str) -> tuple[CloudDump, ...]:
        return self._dumps[host].clouds if host in self._dumps else ()

    # Tunnels that a program carries.

    def carried(self, host: str) -> tuple[TunnelDump, ...]:
        return self._dumps[host].tunnels if host in self._dumps else ()

    def peer(self, place: Place, link: LinkDump, *, need: bool = True) -> Found | None:
        """A veth's other end, where its namespace was dumped."""
        if link.peer is None or link.peer.namespace == "?":
            return None
        there = Place(place.host, link.peer.namespace)
        namespace = self.namespace(there, need=need)
        other = namespace.links.get(link.peer.name) if namespace else None
        return Found(there, other) if other else None

    def under(self, place: Place, link: LinkDump) -> LinkDump | None:
        """What a VLAN device is on, if that can be followed: a bridge, or a veth whose other end is known."""
        lower = self._namespaces[place].links.get(link.lower) if link.kind == "vlan" else None
        return lower if lower and (lower.kind == "bridge" or _leads_here(lower)) else None

    def is_wire_end(self, place: Place, link: LinkDump) -> bool:
        return link.kind not in _OWN_KINDS or (link.kind == "veth" and not _leads_here(link))

    # Who is behind a device.

    def lack(self, place: Place, link: LinkDump) -> None:
        """Nobody who is known behind a device is the one: whoever else is there is needed."""
        for _ in self.behind(place, link, need=True):
            pass

    def behind(
        self, place: Place, link: LinkDump, seen: set[tuple[Place, str]] | None = None, *, need: bool = False
    ) -> Iterator[Found]:
        """The devices that a broadcast sent out of `link` comes to, up or not. Wire ends themselves are among them, as
        the last that is known of the way, and VXLAN devices that answer for those beyond."""
        seen = set() if seen is None else seen
        if (place, link.name) in seen:
            return
        seen.add((place, link.name))
        if link.kind == "bridge":
            for port in self._namespaces[place].ports(link.name):
                yield from self.behind(place, port, seen, need=need)
        elif (lower := self.under(place, link)) is not None:
            yield from self.behind(place, lower, seen, need=need)
        elif (other := self.peer(place, link, need=need)) is not None:
            yield from self._beyond(other, seen, need)
        elif self.is_wire_end(place, link) or (link.vxlan and link.vxlan.proxy):
            yield Found(place, link)

    def _beyond(self, other: Found, seen: set[tuple[Place, str]], need: bool) -> Iterator[Found]:
        place, link = other
        namespace = self._namespaces[place]
        bridge = namespace.links.get(link.master)
        if bridge is None or link.switch:
            yield other
            yield from (
                Found(place, up) for up in namespace.links.values() if up.kind == "vlan" and up.lower == link.name
            )
            return
        seen.add((place, link.name))
        yield Found(place, bridge)
        yield from (
            Found(place, up) for up in namespace.links.values() if up.kind == "vlan" and up.lower == bridge.name
        )
        yield from self.behind(place, bridge, seen, need=need)

    def vteps(self, place: Place) -> Iterator[Found]:
        """The VXLAN devices whose packets come and go in this namespace, wherever they are."""
        for there in self.places():
            namespace = self.namespace(there)
            for link in namespace.links.values() if namespace and there.host == place.host else ():
                if link.vxlan and place.ns == (there.ns if link.vxlan.outside is None else link.vxlan.outside):
                    yield Found(there, link)

    # Who is on the wire.

    def on_wire(self, address: IPAddress, but: str) -> tuple[Found, Found] | None:
        """The device with this address on another host, and the wire end by which frames come to it."""
        for place in self.places():
            namespace = self.namespace(place)
            dev = namespace.owner(address) if namespace and place.host != but else None
            if namespace is None or dev is None or dev not in namespace.links:
                continue
            arrival = self._arrival(place, namespace, namespace.links[dev])
            if arrival is not None:
                return Found(place, namespace.links[dev]), Found(place, arrival)
        return None

    def mac_on_wire(self, mac: str, but: str) -> Found | None:
        """The wire end by which frames for this MAC come to another host."""
        for place in self.places():
            namespace = self.namespace(place)
            if namespace is None or place.host == but:
                continue
            for link in namespace.links.values():
                if link.mac == mac and (arrival := self._arrival(place, namespace, link)) is not None:
                    return Found(place, arrival)
        return None

    def _arrival(self, place: Place, namespace: Namespace, link: LinkDump) -> LinkDump | None:
        """Itself, or the port of a bridge that an uplink is."""
        candidates = [*namespace.ports(link.name), link] if link.kind == "bridge" else [link]
        return next((c for c in candidates if self.is_wire_end(place, c)), None)
