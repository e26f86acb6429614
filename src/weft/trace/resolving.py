"""From a next hop to its MAC: what entries say, or who would answer if it were asked for."""

from __future__ import annotations

from dataclasses import replace

from weft.api.dump import LinkDump
from weft.trace import beside, entries, mending
from weft.trace.namespace import RESOLVED, Choice, Namespace, address
from weft.trace.path import Outcome, Place
from weft.trace.record import Record
from weft.trace.state import Frame, Packet, State, Transmit
from weft.trace.world import Found

_ASKED_BY = {4: "ARP", 6: "ND"}


def resolve(record: Record, place: Place, namespace: Namespace, packet: Packet, found: Choice) -> State | Outcome:
    """From the next hop's address to its MAC."""
    if bad := record.unusable(place, namespace, found.dev):
        return beside.with_port(record, place, namespace, found.dev, bad)
    link = namespace.links[found.dev]
    next_hop = address(found.via) if found.via else packet.dst
    entry = namespace.neighbours.get((link.name, str(next_hop)))
    if link.noarp and link.kind in ("veth", "bridge") and (entry is None or entry.state != "permanent"):
        return beside.arp_off(record, place, link)
    if (link.noarp and (entry is None or entry.state not in RESOLVED)) or link.kind == "loopback":
        return Transmit(place, link.name, Frame("", next_hop, packet, source=link.mac))
    if entry is not None and entry.state in RESOLVED and entry.lladdr:
        text = entries.neighbour(entry)
        record.hop(place, "neighbour", text)
        return Transmit(
            place, link.name, Frame(entry.lladdr, next_hop, packet, f"{text} on {record.world.name(place)}", link.mac)
        )
    failed = entry is not None and entry.state in ("failed", "incomplete")
    return _ask(record, place, link, Frame("", next_hop, packet, source=link.mac), failed)


def _ask(record: Record, place: Place, link: LinkDump, frame: Frame, failed: bool) -> State | Outcome:
    """No entry yet: the kernel would ask by ARP (RFC 826) or Neighbour Discovery (RFC 4861); who would answer?"""
    world, next_hop = record.world, frame.next_hop
    heard = list(world.behind(place, link))
    asked = f"{next_hop} would be asked for by {_ASKED_BY[next_hop.version]} on {link.name}"
    for other in heard:
        namespace = record.namespace(other.place)
        if namespace is not None and other.place != place and namespace.has(other.link.name, next_hop):
            record.hop(place, "neighbour", asked, f"{world.name(other.place)} answers: {other.link.mac}")
            return Transmit(place, link.name, replace(frame, mac=other.link.mac, by=asked))
        if namespace is not None and other.place != place and _answers_for(namespace, other.link, frame):
            on_behalf = f"{other.link.name} of {world.name(other.place)} answers for it (proxy_arp): {other.link.mac}"
            record.hop(place, "neighbour", asked, on_behalf)
            return Transmit(place, link.name, replace(frame, mac=other.link.mac, by=asked))
        proxied = namespace.neighbours.get((other.link.name, str(next_hop))) if namespace and other.link.vxlan else None
        if proxied is not None and proxied.state in RESOLVED:
            text = entries.neighbour(proxied)
            by = f"{text} on {world.name(other.place)}"
            record.hop(place, "neighbour", asked, f"{other.link.name} of {world.name(other.place)} answers: {text}")
            return Transmit(place, link.name, replace(frame, mac=proxied.lladdr, by=by))
    world.lack(place, link)
    name = world.name(place)
    if switched := next((f for f in heard if f.link.switch), None):
        record.hop(
            place, "neighbour", asked, f"{switched.link.name} of {world.name(switched.place)} takes the question on"
        )
        return handed_over(record, switched.place, switched.link, frame)
    if proxy := next((f for f in heard if f.link.vxlan), None):
        there = world.namespace(proxy.place)
        if there is not None and (down := record.unusable(proxy.place, there, proxy.link.name)):
            return down  # which takes its entries away, too
        where = f"{proxy.link.name} on {world.name(proxy.place)}"
        text = f"{asked}; nobody there has it, and {where} has no neighbour entry to answer with"
        fix = mending.known(record, proxy, next_hop)
        advice = f"on {place.host}: `{fix}`" if fix else None
        return record.end("no-neighbour", place, text, advice, fault="no-tunnel-neighbour", fix=fix)
    if not any(world.is_wire_end(f.place, f.link) for f in heard):
        if (cut_off := mending.unheard(record, place, link, next_hop)) is not None:
            return cut_off
        far = world.peer(place, link)
        if far is not None and (left := beside.left_bridge(record, far.place, far.link, next_hop=next_hop)):
            return left
        if silent := beside.gateway_silent(record, place, link, next_hop):
            return silent
        where = f"{link.name} on {name}"
        why = "nobody is asked there" if link.kind == "vxlan" else "nobody behind it has that address"
        fault = "no-tunnel-neighbour" if link.kind == "vxlan" else "neighbour-failed"
        text = f"{where} has no neighbour entry for {next_hop}, and {why}"
        return record.end("no-neighbour", place, text, fault=fault)
    return _ask_wire(record, place, link, frame, asked, failed)


def _answers_for(namespace: Namespace, link: LinkDump, frame: Frame) -> bool:
    """Proxy ARP: for what is routed, but not back to who asks (arp_process())."""
    if 4 not in link.proxying or 4 not in link.forwarding or frame.next_hop.version != 4:
        return False
    found = namespace.route(frame.packet.src, frame.next_hop, link.name)
    return isinstance(found, Choice) and found.route.type == "unicast" and found.dev != link.name


def _ask_wire(record: Record, place: Place, link: LinkDump, frame: Frame, asked: str, failed: bool) -> State | Outcome:
    world, next_hop, name = record.world, frame.next_hop, record.world.name(place)
    owner = world.on_wire(next_hop, but=place.host)
    if owner is not None and not _shares_segment(record, Found(place, link), owner[0]):
        return record.end(
            "no-neighbour",
            place,
            f"{next_hop} cannot be found by {link.name} on {name}: {owner[0].place.host}, whose it is, is on another segment",
            "a network with driver vxlan (-O direct-routing=true) reaches hosts on other segments",
            fault="wrong-next-hop",
        )
    if owner is None and (lost := record.lost(next_hop)):
        return lost
    # A tunnel's far end that is no host at all is told as that, however often it was asked for.
    stray = frame.packet.tunnel is not None and next_hop == frame.packet.dst and not world.elsewhere(next_hop)
    if owner is None and failed and not stray:
        text = f"nobody answers for {next_hop} on {link.name} of {name} (neighbour entry FAILED)"
        advice = f"is {next_hop} up? on {name}: `ping {next_hop}`"
        fault = "next-hop-dead" if next_hop != frame.packet.dst else "neighbour-failed"
        return record.end("no-neighbour", place, text, advice, fault=fault)
    again = ", though nobody answered the last time" if failed else ""
    who = f"{owner[0].place.host} answers: {owner[0].link.mac}" if owner else ""
    record.hop(place, "neighbour", asked + again, who)
    return Transmit(place, link.name, replace(frame, mac=owner[0].link.mac if owner else "", by=asked))


def _shares_segment(record: Record, mine: Found, theirs: Found) -> bool:
    """Whether the two devices have an on-link prefix in common."""
    return not _networks(record, mine).isdisjoint(_networks(record, theirs))


def _networks(record: Record, found: Found) -> set[object]:
    namespace = record.namespace(found.place)
    assert namespace is not None  # a device was found in it
    return {i.network for i, dev in namespace.addresses if dev == found.link.name and not i.ip.is_link_local}


def handed_over(record: Record, place: Place, link: LinkDump, frame: Frame) -> Outcome:
    """What is asked of Open vSwitch itself goes on with its own tool (ovs-vswitchd(8))."""
    mac = f",dl_dst={frame.mac}" if frame.mac else ""
    ask = f"`ovs-appctl ofproto/trace {link.switch} in_port={link.name}{mac}`"
    record.hop(place, "bridge", f"{link.name} is a port of {link.switch} (Open vSwitch)", f"how it goes on: {ask}")
    name = record.world.name(place)
    text = f"{link.switch} of Open vSwitch on {name} has it, whose flows are not Weft's, to {frame.next_hop}"
    return record.end("left", place, text, "")
