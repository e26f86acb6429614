"""Frames: what becomes of one that leaves by a device, by the device's kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from weft.api.dump import LinkDump, TunnelDump
from weft.model.foreign import kind_of
from weft.trace import beside, bridges, hooks, l3, mending, packing, resolving, sizes
from weft.trace.namespace import HERE, Namespace, address, longest
from weft.trace.path import UDP, Flow, Outcome, Place
from weft.trace.points import Point
from weft.trace.record import Record
from weft.trace.state import Arrive, Frame, Packet, Send, State, Transmit, Tunnel

_ONE_OF_MANY = ("bond", "team")
_CARRIED = {4: 28, 6: 48}
"""Octets of UDP's and IP's headers before a bare packet."""


def transmit(record: Record, state: Transmit) -> State | Outcome:
    place, frame = state.place, state.frame
    namespace = record.namespace(place)
    if namespace is None:
        return record.missing(place)
    if bad := record.unusable(place, namespace, state.dev):
        return bad
    link = namespace.links[state.dev]
    record.room(link, frame)
    if bad := sizes.too_large_for(record, place, link, frame, bridged=False):
        return bad
    at = Point(place, "egress", oif=link, mac=frame.mac, source=frame.source)
    packet = hooks.device(record, at, frame.packet)
    if isinstance(packet, Outcome):
        return packet
    return _KINDS.get(link.kind, _wire)(record, place, link, replace(frame, packet=packet))


def arrive(record: Record, state: Arrive) -> State | Outcome:
    """A port of a bridge hands the frame to the bridge; any other device to its namespace."""
    place, frame = state.place, state.frame
    namespace = record.namespace(place)
    link = namespace.links.get(state.dev) if namespace else None
    if namespace is None or link is None:
        return l3.arrive(record, state)
    if link.switch:
        return record.unusable(place, namespace, state.dev) or resolving.handed_over(record, place, link, frame)
    if bad := record.unusable(place, namespace, state.dev):
        return bad
    at = Point(place, "ingress", iif=link, mac=frame.mac, source=frame.source)
    packet = hooks.device(record, at, frame.packet)
    if isinstance(packet, Outcome):
        return packet
    frame = replace(frame, packet=packet)
    master = namespace.links.get(link.master)
    if master is not None and master.kind == "bridge":
        return bridges.switch(record, place, master, frame, link)
    if master is not None and master.kind in _ONE_OF_MANY:
        return Arrive(place, master.name, frame)
    return _up(record, place, namespace, link, frame)


def _up(record: Record, place: Place, namespace: Namespace, link: LinkDump, frame: Frame) -> State | Outcome:
    """A frame with a tag is for the device of that VLAN."""
    if not frame.vlan:
        return l3.arrive(record, Arrive(place, link.name, frame))
    above = (up for up in namespace.links.values() if (up.kind, up.lower, up.vlan) == ("vlan", link.name, frame.vlan))
    up = next(above, None)
    if up is None:
        text = f"{link.name} on {record.world.name(place)} has no device for VLAN {frame.vlan}"
        return record.end("no-device", place, text, fault="vlan-filtered")
    return Arrive(place, up.name, replace(frame, vlan=0))


def _bridge(record: Record, place: Place, link: LinkDump, frame: Frame) -> State | Outcome:
    return bridges.switch(record, place, link, frame, None)


def _vlan(record: Record, place: Place, link: LinkDump, frame: Frame) -> State | Outcome:
    """To what it is on, with its tag; where that cannot be followed it counts as a wire of its own."""
    lower = record.world.under(place, link)
    if lower is None:
        return _wire(record, place, link, frame)
    return Transmit(place, lower.name, replace(frame, vlan=link.vlan))


# -- veth --------------------------------------------------------------------------------------------------------------


def _veth(record: Record, place: Place, link: LinkDump, frame: Frame) -> State | Outcome:
    other = record.world.peer(place, link)
    if other is None and link.peer is not None and not record.world.is_wire_end(place, link):
        return record.missing(Place(place.host, link.peer.namespace))
    if other is None:
        return _wire(record, place, link, frame)
    there = f"{other.link.name} on {record.world.name(other.place)}"
    record.hop(place, "veth", f"{link.name} is one end, {there} the other", dev=link.name)
    if bad := sizes.too_large_for(record, other.place, other.link, frame, bridged=True):
        return bad
    return Arrive(other.place, other.link.name, frame.moved(elsewhere=other.place != place))


# -- tunnels -----------------------------------------------------------------------------------------------------------


def _carried(record: Record, place: Place, link: LinkDump, frame: Frame) -> State | Outcome:
    """By a program, in UDP; it counts as a router, as the one at the other end does."""
    tunnel = next((t for t in record.world.carried(place.host) if t.dev == link.name and not place.ns), None)
    if tunnel is None:
        return _wire(record, place, link, frame)
    if tunnel.network is not None:
        return _in_sleeve(record, place, tunnel, frame)
    packet, name = frame.packet, record.world.name(place)
    prefix, to = longest(tunnel.prefixes, packet.dst)
    if to in ("", HERE):
        what = "is this host's own, and nobody's here" if to else "is in no prefix of it"
        text = f"{link.name} on {name} carries nothing to {packet.dst}, which {what}"
        return record.end("no-route", place, text, fault="no-route")
    if packet.ttl <= 1:
        return record.end("ttl", place, f"{link.name} on {name} drops it: TTL 1", "")
    dst, src = address(to), address(tunnel.local)
    overhead = _CARRIED[dst.version]
    bare = replace(frame, mac="", packet=packet.routed())
    inner = Tunnel(vni=None, port=tunnel.port, frame=bare, device=link.name, overhead=overhead)
    record.hop(place, "encapsulate", f"prefix {prefix} {to}", f"bare in UDP to {dst} port {tunnel.port}, from {src}")
    flow = Flow(protocol=UDP, sport=tunnel.port, dport=tunnel.port)
    return Send(place, Packet(src, dst, packing.FIRST_TTL, inner, packet.overhead + overhead, flow))


def _in_sleeve(record: Record, place: Place, tunnel: TunnelDump, frame: Frame) -> State | Outcome:
    """As a whole, by the MAC address it is for."""
    name, hosts = record.world.name(place), tunnel.stations.get(frame.mac)
    if not hosts:
        return record.end("no-fdb", place, f"{tunnel.dev} on {name} has no station {frame.mac}", fault="no-fdb")
    first, last = hosts[0], hosts[-1]
    inner = Tunnel(None, tunnel.port, frame, tunnel.dev, tunnel.overhead, network=tunnel.network, to=last)
    onward = f", which sends it on to {last}" if first != last else ""
    result = f"frame in UDP to {first} port {tunnel.port}, from {tunnel.local}{onward}"
    record.hop(place, "encapsulate", f"station {frame.mac} {last}", result)
    flow = Flow(protocol=UDP, sport=tunnel.port, dport=tunnel.port)
    overhead = frame.packet.overhead + tunnel.overhead
    return Send(place, Packet(address(tunnel.local), address(first), packing.FIRST_TTL, inner, overhead, flow))


# -- the wire ----------------------------------------------------------------------------------------------------------


def _wire(record: Record, place: Place, link: LinkDump, frame: Frame) -> State | Outcome:
    """To another host's device, if one has the next hop's address; else to a router."""
    world, next_hop = record.world, frame.next_hop
    owner = world.on_wire(next_hop, but=place.host)
    if owner is None:
        return record.lost(next_hop) or _unknown(record, place, link, frame)
    device, arrival = owner
    if frame.mac not in ("", device.link.mac):
        stray = world.mac_on_wire(frame.mac, but=place.host)
        if stray is None:
            text = f"{device.place.host}'s {device.link.name} has MAC {device.link.mac}, but `{frame.by}` sends to {frame.mac}"
            fix = mending.forgetting(record, frame.by)
            return record.end("wrong-mac", place, text, f"on {place.host}: `{fix}`", fault="stale-neighbour", fix=fix)
        arrival = stray
    record.hop(place, "wire", f"out of {link.name}", f"to {arrival.link.name} of {world.name(arrival.place)}")
    return Arrive(arrival.place, arrival.link.name, frame.moved())


def _unknown(record: Record, place: Place, link: LinkDump, frame: Frame) -> State | Outcome:
    world, packet, next_hop = record.world, frame.packet, frame.next_hop
    for known in (next_hop, packet.dst):
        if host := world.elsewhere(known):
            return _elsewhere(record, place, frame, host, str(known))
    if next_hop == packet.dst:
        return _left(record, place, link, packet, "")
    owner = world.on_wire(packet.dst, but=place.host)
    if owner is not None:
        arrival = owner[1]
        record.hop(place, "wire", f"out of {link.name}", f"to {next_hop}")
        result = f"to {arrival.link.name} of {world.name(arrival.place)}"
        record.hop(place, "router", f"{next_hop} is not a Weft host: its table is not seen", result)
        return Arrive(
            arrival.place, arrival.link.name, replace(frame, mac="", source="", packet=packet.routed().moved())
        )
    if table := world.cloud_table(place.host, packet.dst):
        return _cloud(record, place, link, frame, table)
    holder = world.holder(packet.dst)
    if holder is None:
        return _left(record, place, link, packet, f" by {next_hop}")
    record.hop(place, "wire", f"out of {link.name}", f"to {next_hop}")
    if astray := beside.astray(record, packet):
        return astray
    return record.end(
        "router",
        place,
        f"{world.name(place)} hands it to router {next_hop}, which is not a Weft host and knows no container networks: "
        f"{packet.dst} is on {world.name(holder)}",
        fault="router-unaware",
    )


def _cloud(record: Record, place: Place, link: LinkDump, frame: Frame, table: str) -> State | Outcome:
    """By a cloud's router, of which it is known what hosts have written to its tables."""
    world, packet = record.world, frame.packet
    record.hop(place, "wire", f"out of {link.name}", f"to {frame.next_hop}")
    found = world.cloud_route(table, packet.dst)
    if found is None and (holder := world.holder(packet.dst)) is not None:
        text = f"{table}, by which packets of {place.host} go, has no route to {packet.dst}, which is on {world.name(holder)}"
        advice = f"on {holder.host}: `weft status` says why it is not there"
        return record.end("router", place, text, advice, fault="cloud-route-missing")
    if found is None or found[1] is None:
        text = f"continues by {table}, of which it is not at hand where it leads to {packet.dst}"
        return record.end("elsewhere", place, text, "run the trace on the host that has it")
    route, arrival = found[0], found[1]
    result = f"to {arrival.link.name} of {world.name(arrival.place)}"
    record.hop(place, "router", f"{table}: {route.prefix} to {route.to}", result)
    return Arrive(arrival.place, arrival.link.name, replace(frame, mac="", source="", packet=packet.routed().moved()))


def _left(record: Record, place: Place, link: LinkDump, packet: Packet, router: str) -> Outcome:
    name = record.world.name(place)
    if packet.tunnel is not None:
        entry = f"{packet.tunnel.device} on {name} sends to the VTEP {packet.dst}"
        if record.world.alone():
            advice = "where a packet goes over several hosts is known where the agent and its store answer"
            return record.end("elsewhere", place, f"{entry}, and no other host than {place.host} is known here", advice)
        fix = mending.station(record, place, packet.tunnel.vni, packet.tunnel.frame.mac)
        mend = f"on {place.host}: `{fix}`" if fix else None
        return record.end("no-vtep", place, f"{entry}, which is no host of Weft", mend, fault="fdb-wrong-host", fix=fix)
    if seen := mending.no_masquerade(record, place, packet, link):
        return seen
    record.hop(place, "wire", f"out of {link.name}", f"to {router.removeprefix(' by ') or packet.dst}", dev=link.name)
    record.arrived = (place, packet, link.name)
    text = f"leaves the cluster through {link.name} of {name} to {packet.dst}{router}"
    return record.end("left", place, text, "")


def _elsewhere(record: Record, place: Place, frame: Frame, host: str, known: str) -> Outcome:
    packet = frame.packet
    while packet.tunnel is not None:
        packet = packet.tunnel.frame.packet
    if kind_of(host):
        return record.end(
            "left", place, f"continues on {host}, which runs no agent of Weft's: it is not seen there", ""
        )
    text = f"continues on {host} ({known}), whose state is not at hand"
    return record.end("elsewhere", place, text, f"on {host}: `weft trace {host} {packet.dst}`")


def _loopback(record: Record, place: Place, link: LinkDump, frame: Frame) -> State | Outcome:
    return record.end("no-route", place, f"{frame.packet.dst} is routed to {link.name} of {record.world.name(place)}")


_KINDS: dict[str, Callable[[Record, Place, LinkDump, Frame], State | Outcome]] = {
    "loopback": _loopback,
    "bridge": _bridge,
    "vlan": _vlan,
    "veth": _veth,
    "vxlan": packing.vxlan,
    "ipip": packing.ipip,
    "tun": _carried,
}
"""All others are wire ends."""
