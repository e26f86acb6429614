"""Frames and packets that a tunnel device puts into packets of its own."""

from __future__ import annotations

from weft.api.dump import LinkDump
from weft.base.net import IPAddress
from weft.trace import entries, mending
from weft.trace.namespace import Choice, address
from weft.trace.path import UDP, Flow, Outcome, Place
from weft.trace.record import Record
from weft.trace.state import Frame, Packet, Send, State, Tunnel

FIRST_TTL = 64
_IPIP = 4
"""IP's number for IP in IP (RFC 2003)."""
_HASHED = 0xC000
"""Stands for the source port of VXLAN, which is a hash of what is inside."""
_IPIP_OVERHEAD = 20
"""Octets of a second IPv4 header."""
_OVERHEAD = {4: 50, 6: 70}
"""Octets of VXLAN's headers by the underlay's family: inner Ethernet 14, VXLAN 8, UDP 8, IP 20 or 40."""


def vxlan(record: Record, place: Place, link: LinkDump, frame: Frame) -> State | Outcome:
    namespace, tunnel = record.namespace(place), link.vxlan
    assert namespace is not None  # the device was found in it
    assert tunnel is not None  # of every device of kind vxlan
    entry = namespace.vtep_entry(link.name, frame.mac)
    outer = place if tunnel.outside is None else Place(place.host, tunnel.outside)
    if entry is None:
        said = f" (from `{frame.by}`)" if frame.by else ""
        text = f"{link.name} on {record.world.name(place)} has no FDB entry for {frame.mac}{said}"
        fix = mending.station(record, outer, tunnel.vni, frame.mac)
        return record.end("no-fdb", place, text, f"on {place.host}: `{fix}`" if fix else None, fault="no-fdb", fix=fix)
    dst = address(entry.dst)
    if record.namespace(outer) is None:
        return record.missing(outer)
    src = address(tunnel.local) if tunnel.local else _source(record, outer, tunnel.dev, dst)
    if src is None:
        text = f"{link.name} has no IPv{dst.version} address to send from"
        return record.end("no-address", place, text, fault="tunnel-address-changed")
    overhead = _OVERHEAD[dst.version]
    inner = Tunnel(vni=tunnel.vni, port=tunnel.port, frame=frame, device=link.name, overhead=overhead)
    result = f"VNI {tunnel.vni} to {dst} UDP {tunnel.port}, from {src}"
    record.hop(place, "encapsulate", entries.fdb(entry), result)
    flow = Flow(protocol=UDP, sport=_HASHED, dport=tunnel.port)
    mark = frame.packet.mark if outer == place else 0
    return Send(outer, Packet(src, dst, FIRST_TTL, inner, frame.packet.overhead + overhead, flow, mark))


def ipip(record: Record, place: Place, link: LinkDump, frame: Frame) -> State | Outcome:
    """To the other end, or where the route's next hop says (ip_tunnel_xmit())."""
    tunnel = link.ipip
    assert tunnel is not None  # of every device of kind ipip
    name = record.world.name(place)
    dst = address(tunnel.remote) if tunnel.remote else frame.next_hop
    if frame.packet.dst.version != 4 or dst.version != 4:
        return record.end(
            "no-route", place, f"{frame.packet.dst} is routed to {link.name} on {name}, which carries IPv4 only"
        )
    if not tunnel.local:
        text = f"{link.name} on {name} has no address to send from"
        return record.end("no-address", place, text, fault="tunnel-address-changed")
    inner = Tunnel(vni=None, port=None, frame=frame, device=link.name, overhead=_IPIP_OVERHEAD)
    record.hop(place, "encapsulate", f"{link.name}: IPIP", f"to {dst}, from {tunnel.local}")
    overhead, mark = frame.packet.overhead + _IPIP_OVERHEAD, frame.packet.mark
    outer = Packet(address(tunnel.local), dst, FIRST_TTL, inner, overhead, Flow(protocol=_IPIP), mark)
    return Send(place, outer)


def _source(record: Record, outer: Place, dev: str, dst: IPAddress) -> IPAddress | None:
    """Of a tunnel that has no address of its own: what a route says where its packets go out (vxlan_xmit_one())."""
    namespace = record.namespace(outer)
    found = namespace.route(address("0.0.0.0" if dst.version == 4 else "::"), dst, "lo", oif=dev) if namespace else None
    if not isinstance(found, Choice) or namespace is None:
        return None
    if found.route.src:
        return address(found.route.src)
    return next((i.ip for i, name in namespace.addresses if name == found.dev and i.version == dst.version), None)
