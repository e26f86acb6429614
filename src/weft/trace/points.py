"""Where in a namespace rules see a packet, and what they are shown of it."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Literal

import msgspec

from weft.api.dump import LinkDump
from weft.filters import octets
from weft.filters.model import Connection, Device, Seen
from weft.trace.conntrack import tuple_of
from weft.trace.namespace import Choice, Namespace
from weft.trace.path import TCP, UDP, Place
from weft.trace.record import Record
from weft.trace.state import Packet

Hook = Literal["prerouting", "input", "forward", "output", "postrouting", "ingress", "egress"]
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_NOBODY = "00:00:00:00:00:00"
_HEADERS = {4: 20, 6: 40}
_DEFAULT_UNTRACKED = Connection(state="untracked")


@dataclass(frozen=True)
class Point:
    """`iif`, `oif`: by which devices the packet comes and goes, as rules are told. `physin`, `physout`: ports of a bridge.
    `mac`, `source`: whom its frame is for and from. `via`: the next hop that its route has, which masquerading asks for."""

    place: Place
    hook: Hook
    iif: LinkDump | None = None
    oif: LinkDump | None = None
    physin: LinkDump | None = None
    physout: LinkDump | None = None
    mac: str = ""
    source: str = ""
    via: str = ""


def seen(record: Record, at: Point, packet: Packet) -> Seen:
    namespace = record.namespace(at.place)
    assert namespace is not None  # the packet is in it
    size = record.size + packet.overhead if record.size else 0
    flow = packet.flow
    return Seen(
        octets=octets.packet(tuple_of(packet), ttl=packet.ttl, flags=flow.flags, answer=flow.answer, size=size),
        link=_link(at, packet) if at.iif or at.physin or at.source else b"",
        protocol=_ETHERTYPES[packet.dst.version],
        iif=_device(at.iif),
        oif=_device(at.oif),
        physin=_device(at.physin),
        physout=_device(at.physout),
        mark=packet.mark,
        connection=packet.tracked.connection() if packet.tracked else _DEFAULT_UNTRACKED,
        local={address: namespace.kind_of(address) for address in (packet.src, packet.dst)},
        uid=flow.uid,
        route=_answered_by(namespace, packet, at),
        draws=record.draws,
        answer=flow.answer,
    )


def _link(at: Point, packet: Packet) -> bytes:
    came_by = at.physin or at.iif
    to = at.mac or (came_by.mac if came_by else "") or _NOBODY
    return octets.ethernet(to, at.source or _NOBODY, _ETHERTYPES[packet.dst.version])


def _device(link: LinkDump | None) -> Device | None:
    if link is None:
        return None
    kind = 772 if link.kind == "loopback" else link.type
    return Device(name=link.name, index=link.ifindex, kind=link.kind, type=kind, group=link.group, master=link.master)


def _answered_by(namespace: Namespace, packet: Packet, at: Point) -> tuple[str, str] | None:
    """The way back to the source, for who asks whether there is one (`fib saddr . iif oif`)."""
    if at.iif is None or at.hook not in ("prerouting", "input", "forward"):
        return None
    found = namespace.route(packet.dst, packet.src, "lo", packet.mark)
    return (found.dev, found.route.type) if isinstance(found, Choice) else ("", "")


def rewritten(packet: Packet, data: bytes) -> Packet:
    """As rules left it that write into packets without conntrack (`ip daddr set …`, TTL)."""
    if data[0] >> 4 == 4:
        src, dst, ttl = ip_address(data[12:16]), ip_address(data[16:20]), data[8]
    else:
        src, dst, ttl = ip_address(data[8:24]), ip_address(data[24:40]), data[7]
    flow = packet.flow
    if flow.protocol in (TCP, UDP):
        sport, dport = struct.unpack_from(">HH", data, _HEADERS[src.version])
        flow = msgspec.structs.replace(flow, sport=sport, dport=dport)
    return replace(packet, src=src, dst=dst, ttl=ttl, flow=flow)
