"""Routing: what a namespace does with a packet."""

from __future__ import annotations

from weft.api.dump import LinkDump
from weft.base.names import sysctl_name
from weft.base.net import IPAddress
from weft.trace import beside, entries, hooks, ipvs, mending, resolving, sizes, sockets, sources, unpacking
from weft.trace.namespace import Choice, Namespace
from weft.trace.path import Ending, Outcome, Place, Step
from weft.trace.points import Point
from weft.trace.record import Record
from weft.trace.state import Arrive, Packet, Send, State

_REFUSALS: dict[str, Ending] = {"unreachable": "unreachable", "blackhole": "blackhole", "prohibit": "prohibit"}
_DELIVER = ("local", "anycast")


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
        fault = "tunnel-address-changed" if packet.tunnel else "address-missing"
        return record.end("no-address", place, text, fault=fault)
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
        if left := beside.stale_fdb(record, frame) or beside.left_bridge(record, place, link, frame.mac):
            return left
        name = record.world.name(place)
        who = f"{state.dev} on {name} has MAC {link.mac}, but the frame is for {frame.mac}"
        said = f" as `{frame.by}` has it" if frame.by else ""
        text = f"{who}{said}: that entry is stale or wrong"
        fix = mending.forgetting(record, frame.by) if frame.by else ""
        advice = f"on {place.host}: `{fix}`" if fix else None
        return record.end("wrong-mac", place, text, advice, fault="stale-neighbour", fix=fix)
    if frame.packet.dst.version in link.disabled:
        sysctl = sysctl_name(f"net/ipv6/conf/{state.dev}/disable_ipv6")
        fix = record.command(place, f"sysctl -w {sysctl}=0")
        if place.ns and record.world.holder(frame.packet.dst) is None:  # the kernel took its addresses with it
            prefix = beside.prefix(record, frame.packet.dst)
            again = f"ip address add {frame.packet.dst}/{prefix} dev {state.dev}"
            fix = f"{fix} && {record.command(place, again)}"
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
    return asked if isinstance(asked, Outcome) else resolving.resolve(record, place, namespace, asked, found)


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
    if dev := next(iter(record.unused(namespace)), "") if refusal is None or mending.OWN in f"{entry} " else "":
        fix = record.command(place, f"ip link set {dev} up")
        ending = _REFUSALS.get(refusal or "", "no-route")
        return record.end(ending, place, f"{text}: {down}", f"on {place.host}: `{fix}`", fault="link-down", fix=fix)
    if refusal == "blackhole" and (fix := beside.local_route(record, place, packet.dst)):
        text = f"{name} has no route to {packet.dst}, which is on it"
        return record.end("blackhole", place, text, f"on {place.host}: `{fix}`", fault="local-route-missing", fix=fix)
    advice = f"on {name}: `ip link set … up`; Weft then puts back what is its own" if down else None
    fix = "" if down or (refusal and not entry) else mending.removing(record, place, entry)
    if refusal is None and not down:
        fix = mending.default_route(record, place, namespace, packet.dst.version)
    advice = f"on {place.host}: `{fix}`" if fix else advice
    ending = _REFUSALS.get(refusal or "", "no-route")
    fault = _route_fault(place, packet, refusal, entry)
    return record.end(ending, place, f"{text}: {down}" if down else text, advice, fault=fault, fix=fix)


def _route_fault(place: Place, packet: Packet, refusal: str | None, entry: str) -> str:
    if refusal is None and packet.tunnel is not None and packet.tunnel.vni is not None:
        return "fdb-unroutable"
    if refusal is None or mending.OWN in f"{entry} ":
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
        if astray := beside.handed_wrong(record, place, packet):
            return astray
        fix = record.command(place, f"ip address add {packet.dst}/{beside.prefix(record, packet.dst)} dev {iif}")
        return record.end("no-address", place, text, f"on {place.host}: `{fix}`", fault="address-missing", fix=fix)
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
        return unpacking.unpack(record, place, asked, asked.tunnel)
    if (on := ipvs.sent_on(record, place, namespace, asked)) is not None:
        return on if isinstance(on, Outcome) else _sent(record, place, namespace, on)
    record.arrived = (place, asked, link.name if link else "")
    if bad := sockets.nobody(record, place, namespace, asked):
        return bad
    record.hop(place, "deliver", entries.route(found.route))
    return record.end("delivered", place, f"delivered to {asked.dst} on {record.world.name(place)}", "")
