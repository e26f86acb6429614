"""Routing and resolving: what a namespace does with a packet."""

from __future__ import annotations

from dataclasses import replace

from weft.api.dump import LinkDump
from weft.base.net import IPAddress
from weft.trace import entries, hooks, ipvs, mending, sizes, sockets, sources
from weft.trace.path import Ending, Outcome, Place, Step
from weft.trace.points import Point
from weft.trace.record import Record
from weft.trace.state import Arrive, Frame, Packet, Send, State, Transmit, Tunnel
from weft.trace.world import RESOLVED, Choice, Found, Namespace, address, longest

_REFUSALS: dict[str, Ending] = {"unreachable": "unreachable", "blackhole": "blackhole", "prohibit": "prohibit"}
_DELIVER = ("local", "anycast")
_ASKED_BY = {4: "ARP", 6: "ND"}


def send(record: Record, state: Send) -> State | Outcome:
    """A packet begins here: a container's, a host's own, or a tunnel's."""
    place, packet = state.place, state.packet
    namespace = record.namespace(place)
    if namespace is None:
        return record.missing(place)
    # The kernel sends v4 only from addresses it has (ip_route_output_key_hash_rcu); v6 takes the sender's word in tunnels.
    if not _has(namespace, packet.src) and (packet.tunnel is None or packet.src.version == 4):
        name = record.world.name(place)
        whose = f"{packet.tunnel.device} sends from {packet.src}, which" if packet.tunnel else str(packet.src)
        text = f"{whose} is not an address of {name} (any more)"
        return record.end("no-address", place, text, fault="address-missing")
    return _sent(record, place, namespace, packet)


def _has(namespace: Namespace, address: IPAddress) -> bool:
    return namespace.owner(address) is not None or namespace.local_by_hand(address)


def _sent(record: Record, place: Place, namespace: Namespace, packet: Packet) -> State | Outcome:
    """Routed, shown to rules, and routed once more where these have changed what routes go by (ip_route_me_harder())."""
    found = _route(record, place, namespace, packet, "lo")
    if isinstance(found, Outcome):
        return found
    at = Point(place, "output", oif=namespace.links.get(found.dev), via=found.via)
    asked = hooks.ask(record, at, packet)
    if isinstance(asked, Outcome):
        return asked
    if (asked.dst, asked.mark) != (packet.dst, packet.mark):
        found = _route(record, place, namespace, asked, "lo")
        if isinstance(found, Outcome):
            return found
    if found.route.type in _DELIVER:
        return _to_itself(record, place, namespace, asked, found)
    return _leaves(record, place, namespace, asked, found, "lo")


def _to_itself(record: Record, place: Place, namespace: Namespace, packet: Packet, found: Choice) -> State | Outcome:
    """By the loopback device, which keeps what conntrack has attached."""
    loopback = next((link for link in namespace.links.values() if link.kind == "loopback"), None)
    for hook, end in (("postrouting", "oif"), ("prerouting", "iif")):
        at = Point(place, hook, **{end: loopback})  # type: ignore[arg-type]
        asked = hooks.ask(record, at, packet)
        if isinstance(asked, Outcome):
            return asked
        packet = asked
    return _taken_in(record, place, namespace, packet, found, loopback)


def arrive(record: Record, state: Arrive) -> State | Outcome:
    """A frame has come to a device that is no port of a bridge, or to the bridge itself."""
    place, frame = state.place, state.frame
    namespace = record.namespace(place)
    if namespace is None:
        return record.missing(place)
    if bad := record.unusable(place, namespace, state.dev):
        return bad
    link = namespace.links[state.dev]
    if frame.mac and link.mac and frame.mac != link.mac:
        name = record.world.name(place)
        who = f"{state.dev} on {name} has MAC {link.mac}, but the frame is for {frame.mac}"
        said = f" as `{frame.by}` has it" if frame.by else ""
        text = f"{who}{said}: that entry is stale or wrong"
        fix = mending.forgetting(record, frame.by) if frame.by else ""
        advice = f"on {place.host}: `{fix}`" if fix else None
        return record.end("wrong-mac", place, text, advice, fault="stale-neighbour", fix=fix)
    if frame.packet.dst.version in link.disabled:
        sysctl = f"net.ipv6.conf.{state.dev.replace('.', '/')}.disable_ipv6"
        fix = record.command(place, f"sysctl -w {sysctl}=0")
        text = f"IPv6 is off at {state.dev} on {record.world.name(place)}"
        return record.end("not-forwarding", place, text, f"on {place.host}: `{fix}`", fault="ipv6-disabled", fix=fix)
    packet = frame.packet
    if not packet.physin:  # a bridge has not shown it to these rules already (ip_sabotage_in())
        asked = hooks.ask(record, Point(place, "prerouting", iif=link, mac=frame.mac, source=frame.source), packet)
        if isinstance(asked, Outcome):
            return asked
        packet = asked
    return _routed(record, place, namespace, packet, state.dev)


def _routed(record: Record, place: Place, namespace: Namespace, packet: Packet, iif: str) -> State | Outcome:
    link = namespace.links[iif]
    if bad := sources.refused(record, place, namespace, packet, link):
        return bad
    found = namespace.route(packet.src, packet.dst, iif, packet.mark)
    if isinstance(found, Choice) and found.route.type in _DELIVER:
        return _taken_in(record, place, namespace, packet, found, link)
    if packet.dst.version not in link.forwarding:
        return _not_forwarding(record, place, packet, iif)
    packet = packet.routed()
    if packet.ttl <= 0:
        text = f"the packet has gone through {record.world.name(place)} until its TTL was used up: routes point in a circle"
        return record.end("ttl", place, text, fault="ttl-exceeded")
    chosen = _route(record, place, namespace, packet, iif)
    if isinstance(chosen, Outcome):
        return chosen
    if bad := sizes.too_large_to_route(record, place, namespace, packet, chosen.dev):
        return bad
    at = Point(place, "forward", iif=link, oif=namespace.links.get(chosen.dev), physin=_port(namespace, packet))
    asked = hooks.ask(record, at, packet)
    return asked if isinstance(asked, Outcome) else _leaves(record, place, namespace, asked, chosen, iif)


def _port(namespace: Namespace, packet: Packet) -> LinkDump | None:
    return namespace.links.get(packet.physin) if packet.physin else None


def _route(record: Record, place: Place, namespace: Namespace, packet: Packet, iif: str) -> Choice | Outcome:
    """The way on, as a hop; local addresses are no hop of their own."""
    found = namespace.route(packet.src, packet.dst, iif, packet.mark)
    for what in namespace.unsure:
        record.doubt(f"{what} on {record.world.name(place)}")
    if found is None or isinstance(found, str):
        return _no_route(record, place, namespace, packet, found)
    if found.route.type in _REFUSALS:
        return _no_route(record, place, namespace, packet, found.route.type, entries.route(found.route))
    if found.route.type not in _DELIVER:
        via = f"next hop {found.via} by {found.dev}" if found.via else f"on-link by {found.dev}"
        ttl = "" if iif == "lo" else f", TTL {packet.ttl}"
        step: Step = "route" if iif == "lo" else "forward"
        record.hop(place, step, entries.route(found.route, found.hop), via + ttl, dev=found.dev)
    return found


def _leaves(
    record: Record, place: Place, namespace: Namespace, packet: Packet, found: Choice, iif: str
) -> State | Outcome:
    came_by = namespace.links.get(iif) if iif != "lo" else None
    oif = namespace.links.get(found.dev)
    at = Point(place, "postrouting", iif=came_by, oif=oif, via=found.via, physin=_port(namespace, packet))
    asked = hooks.ask(record, at, packet)
    return asked if isinstance(asked, Outcome) else _resolve(record, place, namespace, asked, found)


def _no_route(
    record: Record, place: Place, namespace: Namespace, packet: Packet, refusal: str | None, entry: str = ""
) -> Outcome:
    name, down = record.world.name(place), record.down(namespace)
    if refusal is None:
        text = f"{name} has no route to {packet.dst}"
    elif entry:
        text = f"{name} has no route to {packet.dst} but `{entry}`"
    else:
        text = f"a rule on {name} makes {packet.dst} {refusal}"
    advice = f"on {name}: `ip link set … up`; Weft then puts back what is its own" if down else None
    fix = "" if down or (refusal and not entry) else mending.removing(record, place, entry)
    if refusal is None and not down:
        fix = mending.default_route(record, place, namespace, packet.dst.version)
    advice = f"on {place.host}: `{fix}`" if fix else advice
    ending = _REFUSALS.get(refusal or "", "no-route")
    return record.end(
        ending, place, f"{text}: {down}" if down else text, advice, fault=_route_fault(place, refusal, entry), fix=fix
    )


def _route_fault(place: Place, refusal: str | None, entry: str) -> str:
    if refusal is None:
        return "no-route-in-container" if place.ns else "no-route"
    if not entry:
        return "rule-diverts"
    return "blackhole" if refusal == "blackhole" else "prohibited"


def _not_forwarding(record: Record, place: Place, packet: Packet, iif: str) -> Outcome:
    """A host should; a container is not meant to, so there it is the address that is missing."""
    sysctl = "net.ipv4.ip_forward" if packet.dst.version == 4 else "net.ipv6.conf.all.forwarding"
    name = record.world.name(place)
    if place.ns:
        text = f"{packet.dst} is not an address of {name} (any more)"
        return record.end("no-address", place, text, fault="address-missing")
    text = f"{name} does not route on what comes in by {iif}: {sysctl} is off"
    fix = f"sysctl -w {sysctl}=1"
    return record.end("not-forwarding", place, text, f"on {name}: `{fix}`", fault="forwarding-off", fix=fix)


# -- delivery ----------------------------------------------------------------------------------------------------------


def _taken_in(
    record: Record, place: Place, namespace: Namespace, packet: Packet, found: Choice, link: LinkDump | None
) -> State | Outcome:
    """What is for this namespace itself."""
    asked = hooks.ask(record, Point(place, "input", iif=link, physin=_port(namespace, packet)), packet)
    if isinstance(asked, Outcome):
        return asked
    if asked.tunnel is not None:
        return _decapsulate(record, place, asked, asked.tunnel)
    if (on := ipvs.sent_on(record, place, namespace, asked)) is not None:
        return on if isinstance(on, Outcome) else _sent(record, place, namespace, on)
    record.arrived = (place, asked, link.name if link else "")
    if bad := sockets.nobody(record, place, namespace, asked):
        return bad
    record.hop(place, "deliver", entries.route(found.route))
    return record.end("delivered", place, f"delivered to {asked.dst} on {record.world.name(place)}", "")


def _decapsulate(record: Record, place: Place, packet: Packet, tunnel: Tunnel) -> State | Outcome:
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


def handed_over(record: Record, place: Place, link: LinkDump, frame: Frame) -> Outcome:
    """What is asked of Open vSwitch itself goes on with its own tool (ovs-vswitchd(8))."""
    mac = f",dl_dst={frame.mac}" if frame.mac else ""
    ask = f"`ovs-appctl ofproto/trace {link.switch} in_port={link.name}{mac}`"
    record.hop(place, "bridge", f"{link.name} is a port of {link.switch} (Open vSwitch)", f"how it goes on: {ask}")
    name = record.world.name(place)
    text = f"{link.switch} of Open vSwitch on {name} has it, whose flows are not Weft's, to {frame.next_hop}"
    return record.end("left", place, text, "")


# -- resolving ---------------------------------------------------------------------------------------------------------


def _resolve(record: Record, place: Place, namespace: Namespace, packet: Packet, found: Choice) -> State | Outcome:
    """From the next hop's address to its MAC."""
    if bad := record.unusable(place, namespace, found.dev):
        return bad
    link = namespace.links[found.dev]
    next_hop = address(found.via) if found.via else packet.dst
    if link.noarp or link.kind == "loopback":
        return Transmit(place, link.name, Frame("", next_hop, packet, source=link.mac))
    entry = namespace.neighbours.get((link.name, str(next_hop)))
    if entry is not None and entry.state in RESOLVED and entry.lladdr:
        text = entries.neighbour(entry)
        record.hop(place, "neighbour", text)
        return Transmit(
            place, link.name, Frame(entry.lladdr, next_hop, packet, f"{text} on {record.world.name(place)}", link.mac)
        )
    failed = entry is not None and entry.state == "failed"
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
        where = f"{proxy.link.name} on {world.name(proxy.place)}"
        text = f"{asked}; nobody there has it, and {where} has no neighbour entry to answer with"
        return record.end("no-neighbour", place, text, fault="no-tunnel-neighbour")
    if not any(world.is_wire_end(f.place, f.link) for f in heard):
        if (cut_off := mending.unheard(record, place, link, next_hop)) is not None:
            return cut_off
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
            "a network with driver vxlan (-o direct-routing=true) reaches hosts on other segments",
            fault="wrong-next-hop",
        )
    if owner is None and (lost := record.lost(next_hop)):
        return lost
    if owner is None and failed:
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
