"""What is wrong beside the way where a walk ends: a port that is in no bridge, a rule or a device that led it astray."""

from __future__ import annotations

import msgspec

from weft.api.dump import LinkDump
from weft.base.net import IPAddress
from weft.trace import mending
from weft.trace.namespace import Namespace
from weft.trace.path import Outcome, Place
from weft.trace.record import Record
from weft.trace.state import Frame, Packet
from weft.trace.world import Found

_TABLES = (253, 254, 255)
"""default, main and local, which the kernel's own rules ask."""


def left_bridge(
    record: Record, place: Place, link: LinkDump, mac: str = "", next_hop: IPAddress | None = None
) -> Outcome | None:
    """Why what is for somebody behind a bridge comes to a veth's end itself, if that is a port of nothing."""
    namespace = record.namespace(place)
    if namespace is None or link.kind != "veth" or link.master or _addressed(namespace, link):
        return None
    for bridge in namespace.links.values():
        if bridge.kind != "bridge":
            continue
        known = namespace.bridge_entry(bridge.name, mac) if mac else None
        if known is None and not _has(record, Found(place, bridge), mac, next_hop):
            continue
        fix = record.command(place, f"ip link set {link.name} master {bridge.name}")
        text = (
            f"{link.name} on {record.world.name(place)} is no port of {bridge.name}, behind which {mac or next_hop} is"
        )
        return record.end("no-fdb", place, text, f"on {place.host}: `{fix}`", fault="not-in-bridge", fix=fix)
    return None


def _addressed(namespace: Namespace, link: LinkDump) -> bool:
    return any(dev == link.name and not own.ip.is_link_local for own, dev in namespace.addresses)


def _has(record: Record, bridge: Found, mac: str, next_hop: IPAddress | None) -> bool:
    """Whether a bridge, or who is behind it, has that MAC or address."""
    for place, link in (bridge, *record.world.behind(bridge.place, bridge.link)):
        there = record.namespace(place)
        if link.mac == mac or (next_hop is not None and there is not None and there.has(link.name, next_hop)):
            return True
    return False


def with_port(record: Record, place: Place, namespace: Namespace, dev: str, bad: Outcome) -> Outcome:
    """An end at a bridge that has no ports, with the command that gives it the one that is known."""
    if bad.fault != "not-in-bridge" or not (fix := _plugging(record, place, namespace, namespace.links[dev])):
        return bad
    return msgspec.structs.replace(bad, fix=fix, advice=f"on {place.host}: `{fix}`")


def _plugging(record: Record, place: Place, namespace: Namespace, bridge: LinkDump) -> str:
    """The command that gives a bridge without ports the one that it lacks: the veth to somebody in one of its networks."""
    networks = [own.network for own, dev in namespace.addresses if dev == bridge.name and not own.ip.is_link_local]
    for link in namespace.links.values():
        other = record.world.peer(place, link, need=False) if link.kind == "veth" and not link.master else None
        there = record.namespace(other.place) if other is not None and other.place != place else None
        if other is None or there is None or _addressed(namespace, link):
            continue
        if any(dev == other.link.name and own.ip in net for own, dev in there.addresses for net in networks):
            return record.command(place, f"ip link set {link.name} master {bridge.name}")
    return ""


def gateway_silent(record: Record, place: Place, link: LinkDump, gateway: IPAddress) -> Outcome | None:
    """Why nobody answers for a container's next hop, if its host's end of the veth has to, which has no other address."""
    other = record.world.peer(place, link)
    there = record.namespace(other.place) if other else None
    if other is None or there is None or not place.ns or other.link.master or not gateway.is_link_local:
        return None
    dev, name = other.link.name, record.world.name(other.place)
    if gateway.version == 4:
        fix = record.command(other.place, f"sysctl -w net.ipv4.conf.{dev.replace('.', '/')}.proxy_arp=1")
        text = f"{dev} on {name} does not answer for {gateway}, the gateway of {record.world.name(place)}: proxy_arp is off"
    else:
        fix = record.command(other.place, f"ip address add {gateway}/64 dev {dev} nodad")
        text = f"{dev} on {name} does not have {gateway}, the gateway of {record.world.name(place)}"
    if gateway.version == 4 and 4 in other.link.proxying:
        return None
    return record.end("no-neighbour", place, text, f"on {place.host}: `{fix}`", fault="gateway-silent", fix=fix)


def arp_off(record: Record, place: Place, link: LinkDump) -> Outcome:
    """An Ethernet device that neither asks nor answers (arp_constructor(), arp_process()): all it sends is for its own MAC."""
    fix = record.command(place, f"ip link set {link.name} arp on")
    text = f"{link.name} on {record.world.name(place)} does no ARP (NOARP): it neither asks nor answers"
    return record.end("no-neighbour", place, text, f"on {place.host}: `{fix}`", fault="arp-off", fix=fix)


def stale_fdb(record: Record, frame: Frame) -> Outcome | None:
    """Why a frame comes to a device that is not meant, if a bridge's table names another port than the one it is behind."""
    hop = next((hop for hop in reversed(record.hops) if hop.step == "bridge"), None)
    if hop is None or not hop.entry.startswith(f"{frame.mac} dev "):
        return None
    place, dev = Place(hop.host, hop.ns), hop.entry.split()[2]
    namespace = record.namespace(place)
    bridge = namespace.links.get(hop.dev) if namespace else None
    if bridge is None or not _has(record, Found(place, bridge), frame.mac, None):
        return None
    fix = record.command(place, f"bridge fdb del {frame.mac} dev {dev} master")
    text = f"{bridge.name} on {record.world.name(place)} sends it out of the wrong port: `{hop.entry}`"
    return record.end("wrong-mac", place, text, f"on {place.host}: `{fix}`", fault="stale-fdb", fix=fix)


def astray(record: Record, packet: Packet) -> Outcome | None:
    """Why a packet took a way that leads nowhere: a rule that is not the kernel's own, or a device whose routes are gone."""
    for hop in reversed(record.hops):
        place = Place(hop.host, hop.ns)
        namespace = record.namespace(place) if hop.step in ("route", "forward") else None
        if namespace is None:
            continue
        if found := diverted(record, place, namespace, packet) or _routes_gone(record, place, namespace, packet):
            return found
    return None


def handed_wrong(record: Record, place: Place, packet: Packet) -> Outcome | None:
    """Why a packet comes to a container that has not its address, if another has it: a host's route led here."""
    holder = record.world.holder(packet.dst)
    hop = next((hop for hop in reversed(record.hops) if hop.step in ("route", "forward")), None)
    if holder is None or holder == place or hop is None:
        return None
    before = Place(hop.host, hop.ns)
    fix = mending.removing(record, before, hop.entry)
    name, owner = record.world.name(before), record.world.name(holder)
    text = f"{name} routes {packet.dst} to {record.world.name(place)}, but it is an address of {owner}"
    advice = f"on {before.host}: `{fix}`" if fix else None
    return record.end("no-address", place, text, advice, fault="wrong-next-hop", fix=fix, host=before.host)


def diverted(record: Record, place: Place, namespace: Namespace, packet: Packet) -> Outcome | None:
    """The rule by which a table of somebody's is asked first, if that has a route for the packet."""
    for rule in namespace.dump.rules:
        if rule.family != packet.dst.version or rule.action != "lookup" or rule.table in _TABLES or rule.more:
            continue
        if not namespace.selects(rule, packet.src, packet.dst, packet.mark):
            continue
        fix = record.command(place, f"ip {'-6 ' if rule.family == 6 else ''}rule del priority {rule.priority}")
        text = f"rule {rule.priority} on {record.world.name(place)} has {packet.src} routed by table {rule.table}"
        return record.end("router", place, text, f"on {place.host}: `{fix}`", fault="rule-diverts", fix=fix)
    return None


def _routes_gone(record: Record, place: Place, namespace: Namespace, packet: Packet) -> Outcome | None:
    for own, dev in namespace.addresses:
        link = namespace.links.get(dev)
        if link is not None and not link.up and packet.dst in own.network:
            text = f"{dev} on {record.world.name(place)} is down, and with it the route to {own.network}"
            fix = record.command(place, f"ip link set {dev} up")
            return record.end("link-down", place, text, f"on {place.host}: `{fix}`", fault="link-down", fix=fix)
    return None


def local_route(record: Record, place: Place, dst: IPAddress) -> str:
    """The command that gives a host its route to a container of its own, behind a veth; "" where there is none."""
    holder, namespace = record.world.holder(dst), record.namespace(place)
    if holder is None or namespace is None or holder.host != place.host or holder == place:
        return ""
    for link in namespace.links.values():
        other = record.world.peer(place, link, need=False) if link.kind == "veth" and not link.master else None
        if other is not None and other.place == holder:
            return record.command(place, f"ip route add {dst} dev {link.name} proto 87")
    return ""


def prefix(record: Record, dst: IPAddress) -> int:
    """The length of the network that an address is in, as somebody else has it; all of it where nobody has."""
    every = (own.network for place in record.world.places() if (n := record.namespace(place)) for own, _ in n.addresses)
    return max((net.prefixlen for net in every if dst in net and net.num_addresses > 1), default=dst.max_prefixlen)
