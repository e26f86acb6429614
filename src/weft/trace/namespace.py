"""One namespace's dump, indexed by what the kernel looks things up by: addresses, routes and rules, neighbours, FDB entries."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import NamedTuple

from weft.api.dump import FdbDump, LinkDump, NamespaceDump, NeighbourDump, NextHopDump, RouteDump, RuleDump
from weft.base.net import IPAddress, IPInterface, contains

RESOLVED = ("permanent", "noarp", "reachable", "stale", "delay", "probe")
"""States of a neighbour entry (NUD_VALID) with which packets are sent at once."""

_LOCAL, _MAIN = 255, 254
_BY_KERNEL = 2
"""RTPROT_KERNEL."""
ZERO_MAC = "00:00:00:00:00:00"


def address(text: str) -> IPAddress:
    return ip_address(text)


def within(address: IPAddress, prefix: str) -> bool:
    return contains(ip_network(prefix), address)


HERE = "here"
"""In a tunnel's table: this host itself."""


def longest(prefixes: Mapping[str, str], address: IPAddress) -> tuple[str, str]:
    """The longest prefix with this address, and what it leads to; both "" where there is none."""
    found = [prefix for prefix in prefixes if within(address, prefix)]
    best = max(found, key=lambda prefix: ip_network(prefix).prefixlen, default="")
    return best, prefixes.get(best, "")


class Choice(NamedTuple):
    """A route, with the next hop that was taken of it."""

    route: RouteDump
    via: str
    dev: str
    hop: NextHopDump | None = None


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

    def selects(self, rule: RuleDump, src: IPAddress, dst: IPAddress, mark: int) -> bool:
        """Whether a rule selects a packet that this namespace sends or routes on, and its table has a route for it."""
        chosen = _selects(rule, src, dst, rule.iif, mark, rule.oif)
        return chosen and self._lookup(rule, dst) is not None

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
