"""Whether a program takes what has arrived."""

from __future__ import annotations

from ipaddress import ip_address

from weft.api.dump import SocketDump
from weft.trace.namespace import Namespace
from weft.trace.own import PROTOCOLS
from weft.trace.path import ICMP, ICMPV6, TCP, UDP, Outcome, Place
from weft.trace.record import Record
from weft.trace.state import Packet

_ANY = {4: ("", "0.0.0.0", "::"), 6: ("", "::")}
_SILENT = {4: "net.ipv4.icmp_echo_ignore_all", 6: "net.ipv6.icmp.echo_ignore_all"}


def nobody(record: Record, place: Place, namespace: Namespace, packet: Packet) -> Outcome | None:
    """Why nobody answers, if that is known. Answers are taken by who asked."""
    flow = packet.flow
    if flow.answer:
        return None
    if flow.protocol in (ICMP, ICMPV6):
        return _unanswered(record, place, namespace, packet)
    if namespace.dump.sockets is None or flow.protocol not in (TCP, UDP):
        return None
    there = [s for s in namespace.dump.sockets if (s.protocol, s.port) == (flow.protocol, flow.dport)]
    if takers := [one for one in there if _takes(one, packet)]:
        return _full(record, place, packet, takers)
    name = PROTOCOLS[flow.protocol]
    how = "refused with a reset" if flow.protocol == TCP else "answered with ICMP port unreachable"
    text = f"it arrives at {record.world.name(place)}, where nobody takes {name} port {flow.dport} of {packet.dst}"
    look = record.command(place, f"ss -ln{'t' if flow.protocol == TCP else 'u'}p")
    if there:
        others = ", ".join(sorted({one.address for one in there}))
        advice = f"let the program listen at {packet.dst}, or at all addresses (on {place.host}: `{look}`)"
        return record.end("no-socket", place, f"{text}, only of {others}: {how}", advice, fault="listens-elsewhere")
    advice = f"start the program, or ask for the port that it has (on {place.host}: `{look}`)"
    return record.end("no-socket", place, f"{text}: {how}", advice, fault="port-closed")


def _full(record: Record, place: Place, packet: Packet, takers: list[SocketDump]) -> Outcome | None:
    """A listener drops a SYN while more wait than there is room for (sk_acceptq_is_full())."""
    if packet.flow.protocol != TCP or not all(one.waiting > one.room for one in takers):
        return None
    one = takers[0]
    text = f"it arrives at {record.world.name(place)}, where {one.waiting} connections to port {one.port} wait to be accepted"
    advice = "the program that listens there hangs, or is too slow: restart it, or give it a larger backlog"
    return record.end("no-socket", place, f"{text}, of at most {one.room + 1}: dropped", advice, fault="backlog-full")


def _takes(one: SocketDump, packet: Packet) -> bool:
    if one.address in _ANY[packet.dst.version]:
        return True
    try:
        found = ip_address(one.address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if found.version == 6 else None
    return packet.dst in (found, mapped)


def _unanswered(record: Record, place: Place, namespace: Namespace, packet: Packet) -> Outcome | None:
    name = _SILENT[packet.dst.version]
    if namespace.dump.sysctls.get(name, "0") == "0":
        return None
    fix = record.command(place, f"sysctl -w {name}=0")
    text = f"it arrives at {record.world.name(place)}, which answers no ping: {name} is on"
    return record.end("no-socket", place, text, f"on {place.host}: `{fix}`", fault="echo-ignored", fix=fix)
