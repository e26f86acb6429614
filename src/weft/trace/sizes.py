"""Packets that are larger than a device takes. The traced packet may not be fragmented, as TCP's may not (RFC 1191)."""

from __future__ import annotations

from weft.api.dump import LinkDump
from weft.trace.namespace import Namespace
from weft.trace.path import Outcome, Place
from weft.trace.record import LARGEST, Record
from weft.trace.state import Frame, Packet


def too_large_to_route(record: Record, place: Place, namespace: Namespace, packet: Packet, dev: str) -> Outcome | None:
    """A router tells the sender (ip_forward(), ip6_forward())."""
    link = namespace.links.get(dev)
    if link is None or not _exceeds(record, link, packet):
        return None
    name = record.world.name(place)
    told = "that fragments are needed" if packet.dst.version == 4 else "packet too big"
    text = f"{_octets(record, packet)} do not fit into {dev} of {name}, MTU {link.mtu}: it tells {packet.src} {told}"
    return _end(record, place, link, packet, text, "packet-too-big")


def too_large_for(record: Record, place: Place, link: LinkDump, frame: Frame, *, bridged: bool) -> Outcome | None:
    """A bridge, and a veth's other end, say nothing (br_dev_queue_push_xmit(), __dev_forward_skb2())."""
    if not _exceeds(record, link, frame.packet):
        return None
    name = record.world.name(place)
    silent = "it is dropped without a word" if bridged else "its sender is told"
    text = f"{_octets(record, frame.packet)} do not fit into {link.name} of {name}, MTU {link.mtu}: {silent}"
    fault = "tunnel-mtu" if link.kind in ("vxlan", "ipip", "tun") else "port-mtu"
    if fault == "port-mtu":
        fix = _larger(record, place, link, frame.packet) if bridged else ""
        return record.end("too-large", place, text, _smaller(record, link, frame.packet), fault=fault, fix=fix)
    return _end(record, place, link, frame.packet, text, fault)


def _exceeds(record: Record, link: LinkDump, packet: Packet) -> bool:
    """A tunnel over UDP lets its own packets be fragmented."""
    fragments = packet.tunnel is not None and packet.tunnel.port is not None
    return bool(record.size) and not fragments and record.size + packet.overhead > link.mtu


def _octets(record: Record, packet: Packet) -> str:
    size = record.size + packet.overhead
    more = f" ({record.size} and {packet.overhead} for tunnels)" if packet.overhead else ""
    return f"{size} octets{more}"


def _larger(record: Record, place: Place, link: LinkDump, packet: Packet) -> str:
    """As the other end of a veth has it, or as it is needed."""
    other = record.world.peer(place, link)
    mtu = max(record.size + packet.overhead, other.link.mtu if other else 0)
    return record.command(place, f"ip link set {link.name} mtu {mtu}")


def _smaller(record: Record, link: LinkDump, packet: Packet) -> str:
    return f"an MTU of {link.mtu - packet.overhead} at the sender, or a larger one at {link.name}"


def _end(record: Record, place: Place, link: LinkDump, packet: Packet, text: str, fault: str) -> Outcome:
    """A larger MTU mends it where all devices before this one take the packet; it may be too large for the sender's already."""
    advice = _smaller(record, link, packet)
    if not record.size <= record.mtu < LARGEST:
        return record.end("too-large", place, text, advice, fault=fault)
    fix = record.command(place, f"ip link set {link.name} mtu {record.mtu + packet.overhead}")
    return record.end("too-large", place, text, f"{advice}: on {place.host}: `{fix}`", fault=fault, fix=fix)
