"""What is delivered to a host and has a packet or a frame inside: which device or program takes that out."""

from __future__ import annotations

from dataclasses import replace

from weft.trace.namespace import address, longest
from weft.trace.path import Outcome, Place
from weft.trace.record import Record
from weft.trace.state import Arrive, Frame, Packet, Send, State, Tunnel


def unpack(record: Record, place: Place, packet: Packet, tunnel: Tunnel) -> State | Outcome:
    if tunnel.network is not None:
        return _out_of_sleeve(record, place, packet, tunnel)
    if tunnel.vni is None:
        return (_out_of_ipip if tunnel.port is None else _to_program)(record, place, packet, tunnel)
    what = f"VNI {tunnel.vni} on UDP port {tunnel.port}"
    for there, link in record.world.vteps(place):
        if link.vxlan and (link.vxlan.vni, link.vxlan.port) == (tunnel.vni, tunnel.port):
            inside = record.namespace(there)
            if inside and (bad := record.unusable(there, inside, link.name)):
                return bad  # a VXLAN device that is down does not listen
            record.hop(there, "decapsulate", f"{link.name}: VXLAN {what}", f"frame for {tunnel.frame.mac}")
            return Arrive(there, link.name, _unpacked(place, there, packet, tunnel.frame))
    name = record.world.name(place)
    text = f"{name} gets the tunnel packet, but has no VXLAN device of {what}"
    return record.end("no-vtep", place, text, fault=_vxlan_fault(record, place, tunnel))


def _vxlan_fault(record: Record, place: Place, tunnel: Tunnel) -> str:
    """What of it is there, but not the same."""
    there = [link.vxlan for _, link in record.world.vteps(place) if link.vxlan]
    if any(one.port == tunnel.port for one in there):
        return "vni-differs"
    return "tunnel-port-differs" if any(one.vni == tunnel.vni for one in there) else "tunnel-device-missing"


def _unpacked(outside: Place, there: Place, packet: Packet, frame: Frame) -> Frame:
    """The mark of a tunnel's packet goes over to what is in it, within one namespace."""
    mark = packet.mark if outside == there else 0
    return replace(frame, packet=replace(frame.packet.moved(), mark=mark))


def _out_of_ipip(record: Record, place: Place, packet: Packet, tunnel: Tunnel) -> State | Outcome:
    """The device made for both ends, or for this one alone (ip_tunnel_lookup())."""
    namespace = record.namespace(place)
    assert namespace is not None  # the packet was delivered there
    ends = (str(packet.dst), str(packet.src)), (str(packet.dst), "")
    found = {(link.ipip.local, link.ipip.remote): link for link in namespace.links.values() if link.ipip}
    link = next((found[pair] for pair in ends if pair in found), None)
    name = record.world.name(place)
    if link is None:
        text = f"{name} gets the tunnel packet, but has no IPIP device at {packet.dst}"
        return record.end("no-vtep", place, text, fault="tunnel-device-missing")
    if bad := record.unusable(place, namespace, link.name):
        return bad
    record.hop(place, "decapsulate", f"{link.name}: IPIP", f"packet for {tunnel.frame.packet.dst}")
    return Arrive(place, link.name, _unpacked(place, place, packet, tunnel.frame))


def _out_of_sleeve(record: Record, place: Place, packet: Packet, tunnel: Tunnel) -> State | Outcome:
    """To the device of its network; by a host that it only passes, on to the other one."""
    name, at = record.world.name(place), (str(packet.dst), tunnel.port)
    here = [t for t in record.world.carried(place.host) if (t.local, t.port) == at and t.network is not None]
    if not here:
        text = f"{name} gets the datagram, but has no sleeve at UDP port {tunnel.port}"
        return record.end("no-vtep", place, text, fault="tunnel-device-missing")
    if tunnel.to != str(packet.dst):
        record.hop(
            place, "forward", f"the sleeve at UDP port {tunnel.port}", f"sent on to {tunnel.to}, from {packet.dst}"
        )
        return Send(place, replace(packet, src=packet.dst, dst=address(tunnel.to)).moved())
    found = next((t for t in here if t.network == tunnel.network), None)
    if found is None:
        text = f"{name} gets the datagram, but has no sleeve of network {tunnel.network}"
        return record.end("no-vtep", place, text, fault="vni-differs")
    namespace = record.namespace(place)
    if namespace and (bad := record.unusable(place, namespace, found.dev)):
        return bad
    record.hop(place, "decapsulate", f"{found.dev}: network {found.network}", f"frame for {tunnel.frame.mac}")
    return Arrive(place, found.dev, tunnel.frame.moved())


def _to_program(record: Record, place: Place, packet: Packet, tunnel: Tunnel) -> State | Outcome:
    """It takes what comes from the host that holds the sender's prefix."""
    world, name, inside = record.world, record.world.name(place), tunnel.frame.packet
    found = next((t for t in world.carried(place.host) if (t.local, t.port) == (str(packet.dst), tunnel.port)), None)
    if found is None:
        text = f"{name} gets the datagram, but carries no tunnel at UDP port {tunnel.port}"
        return record.end("no-vtep", place, text, fault="tunnel-port-differs")
    prefix, holder = longest(found.prefixes, inside.src)
    if holder != str(packet.src):
        said = f"`prefix {prefix} {holder}`" if prefix else "no prefix"
        return record.end("no-route", place, f"{name} drops what comes from {packet.src}: {said} has {inside.src}")
    if inside.ttl <= 1:
        return record.end("ttl", place, f"{found.dev} on {name} drops it: TTL 1", "")
    namespace = record.namespace(place)
    if namespace and (bad := record.unusable(place, namespace, found.dev)):
        return bad
    record.hop(place, "decapsulate", f"{found.dev}: prefix {prefix} {holder}", f"packet for {inside.dst}")
    return Arrive(place, found.dev, replace(tunnel.frame, packet=inside.routed().moved()))
