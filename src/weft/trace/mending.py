"""Commands that mend what a walk ends at, where the dumps tell what should be there instead."""

from __future__ import annotations

import re

from weft.api.dump import LinkDump
from weft.base.net import IPAddress
from weft.trace.namespace import Namespace
from weft.trace.path import Outcome, Place
from weft.trace.record import Record
from weft.trace.state import Packet
from weft.trace.world import Found

_ENTRY = re.compile(r"(\S+) dev (\S+) lladdr ")
OWN = " proto 87"
_ENGINES = re.compile(r"docker0|br-[0-9a-f]{12}|(cni-)?podman\d+|cni\d+|nerdctl\d+")
"""Bridges of engines that give their containers a way out by masquerading."""


def forgetting(record: Record, entry: str) -> str:
    """The command that removes a neighbour entry, which was the last that the packet went by; "" where that is not known."""
    found = _ENTRY.match(entry)
    hop = next((hop for hop in reversed(record.hops) if hop.step == "neighbour"), None)
    if found is None or hop is None:
        return ""
    return record.command(Place(hop.host, hop.ns), f"ip neigh del {found[1]} dev {found[2]}")


def removing(record: Record, place: Place, route: str) -> str:
    """The command that removes a route that refuses; "" where it is Weft's own, which would put it back."""
    return record.command(place, f"ip route del {route}") if route and OWN not in f"{route} " else ""


def default_route(record: Record, place: Place, namespace: Namespace, version: int) -> str:
    """The command that gives a container its way out by the host's address in its subnet; "" where there is none."""
    host = record.namespace(Place(place.host))
    if not place.ns or host is None:
        return ""
    for link in namespace.links.values():
        if beyond := _beyond_veth(record, place, namespace, link, version):
            return record.command(place, f"ip route add default via {beyond} dev {link.name}{_whose(namespace)}")
    for own, dev in namespace.addresses:
        if own.version != version or dev == "lo" or own.ip.is_link_local:
            continue
        for gateway, _ in host.addresses:
            if gateway.ip in own.network and gateway.ip != own.ip:
                return record.command(place, f"ip route add default via {gateway.ip} dev {dev}{_whose(namespace)}")
    return ""


def _whose(namespace: Namespace) -> str:
    """In a container of Weft's, whose routes they are: an agent leaves alone what is marked as another's, and calls it so."""
    return OWN if any(route.proto == 87 for route in namespace.dump.routes) else ""


def _beyond_veth(record: Record, place: Place, namespace: Namespace, link: LinkDump, version: int) -> str:
    """The gateway that the host's end of a veth answers for where it is no port: a link-local route's (v4), its own (v6)."""
    other = record.world.peer(place, link, need=False) if link.kind == "veth" else None
    host = record.namespace(other.place) if other and other.place.ns == "" and not other.link.master else None
    if other is None or host is None:
        return ""
    if version == 6:
        own = (
            str(a.ip) for a, dev in host.addresses if dev == other.link.name and a.version == 6 and a.ip.is_link_local
        )
        return next(own, "")
    to = (r.prefix.removesuffix("/32") for r in namespace.dump.routes if r.dev == link.name)
    return next((gateway for gateway in to if gateway.startswith("169.254.") and "/" not in gateway), "")


def unplugged(record: Record, place: Place, mac: str) -> LinkDump | None:
    """The end in this namespace of a veth to the device with that MAC, if it is a port of nothing."""
    for there in record.world.places():
        namespace = record.namespace(there) if there.host == place.host and there != place else None
        for link in namespace.links.values() if namespace else ():
            other = record.world.peer(there, link) if link.mac == mac else None
            if other is not None and other.place == place and not other.link.master:
                return other.link
    return None


def not_in_bridge(record: Record, place: Place, bridge: str, mac: str) -> Outcome | None:
    """Why nobody behind this bridge has that MAC, if its veth is a port of nothing."""
    port = unplugged(record, place, mac)
    if port is None:
        return None
    fix = record.command(place, f"ip link set {port.name} master {bridge}")
    text = f"{port.name} on {record.world.name(place)}, behind which {mac} is, is no port of {bridge}"
    return record.end("no-fdb", place, text, f"on {place.host}: `{fix}`", fault="not-in-bridge", fix=fix)


def unheard(record: Record, place: Place, link: LinkDump, address: IPAddress) -> Outcome | None:
    """Why nobody on the segment of this device answers for an address, if who has it is cut off from the segment's bridge."""
    other = record.world.peer(place, link)
    where, bridge = (place, link.name) if link.kind == "bridge" or other is None else (other.place, other.link.master)
    for there in record.world.places() if bridge else ():
        namespace = record.namespace(there) if there.host == place.host else None
        dev = namespace.owner(address) if namespace else None
        holder = namespace.links.get(dev) if namespace and dev else None
        if holder is not None and (found := not_in_bridge(record, where, bridge, holder.mac)) is not None:
            return found
    return None


def station(record: Record, outer: Place, vni: int | None, mac: str) -> str:
    """The command that tells the tunnel of that VNI which host has this MAC; "" where no dump says so. `outer`: the namespace
    that the tunnel's packets leave by."""
    mine = next(
        (found for found in record.world.vteps(outer) if found.link.vxlan and found.link.vxlan.vni == vni), None
    )
    for there in record.world.places() if mine else ():
        namespace = record.namespace(there) if there.host != outer.host else None
        if mine is None or namespace is None or all(link.mac != mac for link in namespace.links.values()):
            continue
        for other in record.world.vteps(Place(there.host)):
            if other.link.vxlan and other.link.vxlan.vni == vni and other.link.vxlan.local:
                entry = f"{mac} dev {mine.link.name} dst {other.link.vxlan.local} self permanent"
                return record.command(mine.place, f"bridge fdb replace {entry}")
    return ""


def known(record: Record, proxy: Found, address: IPAddress) -> str:
    """The command that lets a tunnel answer for who has this address; "" where no dump says who."""
    for there in record.world.places():
        namespace = record.namespace(there) if there.host != proxy.place.host else None
        dev = namespace.owner(address) if namespace else None
        holder = namespace.links.get(dev) if namespace and dev else None
        if holder is not None:
            entry = f"{address} lladdr {holder.mac} dev {proxy.link.name} nud permanent"
            return record.command(proxy.place, f"ip neigh replace {entry}")
    return ""


def no_masquerade(record: Record, place: Place, packet: Packet, link: LinkDump) -> Outcome | None:
    """A packet that leaves with the address of a container that an engine should have hidden: nobody out there answers that."""
    namespace = record.namespace(place)
    if namespace is None or place.ns:
        return None
    for own, dev in namespace.addresses:
        bridge = namespace.links.get(dev)
        if bridge is None or bridge.kind != "bridge" or not _ENGINES.fullmatch(dev) or packet.src not in own.network:
            continue
        program = "iptables-nft" if packet.src.version == 4 else "ip6tables-nft"
        fix = f"{program} -t nat -A POSTROUTING -s {own.network} ! -o {dev} -j MASQUERADE"
        text = (
            f"{record.world.name(place)} sends it out by {link.name} with the container's own address {packet.src}, "
            f"which nobody out there knows: no rule masquerades what comes from {own.network} of {dev}"
        )
        return record.end("router", place, text, f"on {place.host}: `{fix}`", fault="no-masquerade", fix=fix)
    return None
