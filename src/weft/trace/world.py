"""The dumps, indexed by what the kernel looks things up by. Nothing here decides; it only answers.

A device is a *wire end* if what leaves it cannot be followed by its own host's dump: an ordinary device, or a veth whose other
end is in no namespace that the host knows (an uplink in a virtual machine's host, or in the lab).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from typing import NamedTuple, Protocol

from weft.api.dump import (
    CloudDump,
    CloudRouteDump,
    FdbDump,
    FiltersDump,
    HostDump,
    LinkDump,
    NamespaceDump,
    NeighbourDump,
    NextHopDump,
    RouteDump,
    RuleDump,
    TunnelDump,
)
from weft.base.net import IPAddress, IPInterface, contains
from weft.filters.model import Seen, Verdict
from weft.filters.rules import Filters
from weft.trace.path import Place

RESOLVED = ("permanent", "noarp", "reachable", "stale", "delay", "probe")
"""States of a neighbour entry (NUD_VALID) with which packets are sent at once."""

_LOCAL, _MAIN = 255, 254
_BY_KERNEL = 2
"""RTPROT_KERNEL."""
_OWN_KINDS = ("loopback", "bridge", "vxlan", "ipip", "veth")
ZERO_MAC = "00:00:00:00:00:00"


def _within(address: IPAddress, prefix: str) -> bool:
    return contains(ip_network(prefix), address)


HERE = "here"
"""In a tunnel's table: this host itself."""


def longest(prefixes: Mapping[str, str], address: IPAddress) -> tuple[str, str]:
    """The longest prefix with this address, and what it leads to; both "" where there is none."""
    found = [prefix for prefix in prefixes if _within(address, prefix)]
    best = max(found, key=lambda prefix: ip_network(prefix).prefixlen, default="")
    return best, prefixes.get(best, "")


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


class Choice(NamedTuple):
    """A route, with the next hop that was taken of it."""

    route: RouteDump
    via: str
    dev: str
    hop: NextHopDump | None = None


class Found(NamedTuple):
    """A device somewhere, with the namespace it is in."""

    place: Place
    link: LinkDump


class Namespace:
    def __init__(self, dump: NamespaceDump) -> None:
        self.dump = dump
        self.links: dict[str, LinkDump] = {link.name: link for link in dump.links}
        self.addresses: list[tuple[IPInterface, str]] = [(ip_interface(a.address), a.dev) for a in dump.addresses]
        self.neighbours: dict[tuple[str, str], NeighbourDump] = {(n.dev, n.address): n for n in dump.neighbours}
        self.unsure: list[str] = []
        self._rules = {f: sorted((r for r in dump.rules if r.family == f), key=lambda r: r.priority) for f in (4, 6)}
        self._tables: dict[tuple[int, int], dict[int, dict[int, list[RouteDump]]]] = {}
        for r in dump.routes:
            version, head, length = _head(r.prefix)
            by_length = self._tables.setdefault((version, r.table), {})
            by_length.setdefault(length, {}).setdefault(head, []).append(r)

    def ports(self, bridge: str) -> list[LinkDump]:
        return [link for link in self.links.values() if link.master == bridge]

    def owner(self, address: IPAddress) -> str | None:
        """The device that has this address."""
        return next((dev for interface, dev in self.addresses if interface.ip == address), None)

    def local_by_hand(self, address: IPAddress) -> bool:
        """Whether somebody has made it local without giving it to a device (`ip route add local …`)."""
        found = self._lookup(RuleDump(priority=0, family=address.version, table=_LOCAL), address)
        return found is not None and found.route.type == "local" and found.route.proto != _BY_KERNEL

    def has(self, dev: str, address: IPAddress) -> bool:
        """Whether it is this device's. A link-local address may be several devices'."""
        return any(interface.ip == address and name == dev for interface, name in self.addresses)

    def bridge_entry(self, bridge: str, mac: str, vlan: int = 0) -> FdbDump | None:
        """`vlan`: 0 where the bridge knows none."""
        return next((f for f in self.dump.fdb if f.master == bridge and f.lladdr == mac and f.vlan == vlan), None)

    def vtep_entry(self, dev: str, mac: str) -> FdbDump | None:
        """Of this MAC, else the one for all others (all zeros)."""
        own = [f for f in self.dump.fdb if f.dev == dev and f.dst and not f.master]
        for wanted in (mac, ZERO_MAC):
            for entry in own:
                if entry.lladdr == wanted:
                    return entry
        return None

    # Routing.

    def route(
        self, packet_src: IPAddress, dst: IPAddress, iif: str, mark: int = 0, oif: str = ""
    ) -> Choice | str | None:
        """By the rules, then the longest prefix, then the metric. The word of a rule that refuses; None: no route. What it
        depends on that is not known here is added to `unsure`."""
        skip_to = 0
        for rule in self._rules[dst.version] or _default_rules(dst.version):
            if rule.priority < skip_to or not _selects(rule, packet_src, dst, iif, mark, oif):
                continue
            if rule.more:
                self._doubt(rule, dst)
            elif rule.action == "goto":
                skip_to = rule.target
            elif rule.action == "lookup":
                found = self._lookup(rule, dst)
                if found is not None and found.route.type != "throw":
                    return found
            elif rule.action != "nop":
                return rule.action
        return None

    def _doubt(self, rule: RuleDump, dst: IPAddress) -> None:
        """Of a rule that selects by what is not known, such as ports. One that leads nowhere does not matter."""
        if rule.action in ("nop", "goto") or (rule.action == "lookup" and self._lookup(rule, dst) is None):
            return
        what = f"ip rule {rule.priority}, which selects by what is not seen here"
        if what not in self.unsure:
            self.unsure.append(what)

    def _lookup(self, rule: RuleDump, dst: IPAddress) -> Choice | None:
        """A dead route is passed over. `suppress`: what is found of so short a prefix does not count."""
        number, bits = int(dst), dst.max_prefixlen
        by_length = self._tables.get((dst.version, rule.table), {})
        for length in sorted(by_length, reverse=True):
            routes = by_length[length].get(number >> (bits - length), ())
            for route in sorted(routes, key=lambda r: r.metric):
                choice = _alive(route)
                if choice is not None:
                    return None if length <= rule.suppress else choice
        return None

    def kind_of(self, address: IPAddress) -> str:
        """As the tables of addresses have it: "local", "broadcast", "multicast", "unicast" (inet_addr_type())."""
        if address.is_multicast:
            return "multicast"
        found = self._lookup(RuleDump(priority=0, family=address.version, table=_LOCAL), address)
        return found.route.type if found is not None else "unicast"


def _head(prefix: str) -> tuple[int, int, int]:
    """Version, the bits of the prefix, and how many."""
    net = ip_network(prefix)
    return net.version, int(net.network_address) >> (net.max_prefixlen - net.prefixlen), net.prefixlen


def _alive(route: RouteDump) -> Choice | None:
    """A dead route, or one all of whose next hops are dead, is passed over (RTNH_F_DEAD)."""
    if not route.nexthops:
        return None if "dead" in route.flags else Choice(route, route.via, route.dev)
    return next((Choice(route, h.via, h.dev, h) for h in route.nexthops if "dead" not in h.flags), None)


def _default_rules(family: int) -> list[RuleDump]:
    """What the kernel begins with; and where routing by policy is not built in."""
    return [RuleDump(priority=0, family=family, table=_LOCAL), RuleDump(priority=32766, family=family, table=_MAIN)]


def _selects(rule: RuleDump, src: IPAddress, dst: IPAddress, iif: str, mark: int, oif: str) -> bool:
    """Whether a rule is for this packet. `iif` of what is sent from here is "lo"."""
    matches = (
        (not rule.src or contains(ip_network(rule.src), src))
        and (not rule.dst or contains(ip_network(rule.dst), dst))
        and rule.iif in ("", iif)
        and rule.oif in ("", oif)
        and not (mark ^ rule.mark) & rule.mask
    )
    return matches != rule.invert


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
        found = (c.table for c in self._clouds(host) if any(_within(dst, prefix) for prefix in c.prefixes))
        return next(found, "")

    def cloud_route(self, table: str, dst: IPAddress) -> tuple[CloudRouteDump, Found | None] | None:
        """The route to it in this table, with the device that it leads to."""
        for host in self._dumps:
            for cloud in self._clouds(host):
                for route in cloud.routes:
                    if route.table == table and _within(dst, route.prefix):
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


def address(text: str) -> IPAddress:
    return ip_address(text)
