"""What a bridge does with a frame (br_handle_frame_finish(), br_dev_xmit())."""

from __future__ import annotations

from dataclasses import replace

from weft.api.dump import LinkDump, PortDump
from weft.trace import entries, hooks, mending, ports, sizes
from weft.trace.namespace import RESOLVED, Choice, Namespace, address
from weft.trace.path import Outcome, Place
from weft.trace.points import Point
from weft.trace.record import Record
from weft.trace.state import Arrive, Frame, State, Transmit


def switch(record: Record, place: Place, bridge: LinkDump, frame: Frame, port: LinkDump | None) -> State | Outcome:
    """To the bridge itself, to the port in its table, or, unknown, to whoever has the MAC behind one. `port`: where it came
    in, None for what the bridge's own namespace sends."""
    namespace = record.namespace(place)
    assert namespace is not None  # the bridge was found in it
    if bad := record.unusable(place, namespace, bridge.name):
        return bad
    entered = _entered(record, place, namespace, bridge, frame, port)
    if isinstance(entered, Outcome):
        return entered
    frame = entered
    entry = namespace.bridge_entry(bridge.name, frame.mac, frame.vlan)
    own = entry is not None and entry.dev in namespace.links and namespace.links[entry.dev].mac == frame.mac
    if port is not None and (own or frame.mac in ("", bridge.mac)):
        return _for_itself(record, place, bridge, frame, port)
    if entry is None:
        chosen = _flooded(record, place, namespace, bridge, frame, port)
        return chosen if isinstance(chosen, Outcome) else _out(record, place, bridge, frame, port, chosen)
    if port is not None and entry.dev == port.name and not (port.port and port.port.hairpin):
        return _back(record, place, bridge, entry.lladdr, entries.fdb(entry), entry.dev)
    record.hop(place, "bridge", entries.fdb(entry), f"out of {entry.dev}", dev=bridge.name)
    link = namespace.links.get(entry.dev)
    return _out(record, place, bridge, frame, port, link) if link else Transmit(place, entry.dev, frame)


def _entered(
    record: Record, place: Place, namespace: Namespace, bridge: LinkDump, frame: Frame, port: LinkDump | None
) -> Frame | Outcome:
    """In its VLAN, and past the rules that see what comes in; these may translate it, where they see it in a bridge."""
    if port is None:
        vid = ports.own_vlan(bridge, frame.vlan)
        if vid is not None:
            return replace(frame, vlan=vid)
        fix = record.command(place, f"bridge vlan add dev {bridge.name} vid 1 pvid untagged self")
        text = f"{bridge.name} on {record.world.name(place)} is itself in no VLAN for such frames"
        return record.end("port", place, text, f"on {place.host}: `{fix}`", fault="vlan-filtered", fix=fix)
    allowed = ports.may_enter(record, place, bridge, port, frame.vlan)
    if isinstance(allowed, Outcome):
        return allowed
    at = Point(place, "prerouting", physin=port, mac=frame.mac, source=frame.source)
    packet = hooks.bridged(record, at, bridge, frame.packet)
    if isinstance(packet, Outcome):
        return packet
    mac = frame.mac
    if packet.dst != frame.packet.dst:
        mac = _readdressed(record, place, namespace, bridge, replace(frame, packet=packet))
    return replace(frame, packet=packet, vlan=allowed, mac=mac)


def _readdressed(record: Record, place: Place, namespace: Namespace, bridge: LinkDump, frame: Frame) -> str:
    """The MAC for a destination that was translated in the bridge: of the next hop if that is behind this bridge too, else the
    bridge's own (br_nf_pre_routing_finish())."""
    found = namespace.route(frame.packet.src, frame.packet.dst, bridge.name, frame.packet.mark)
    if not isinstance(found, Choice) or found.dev != bridge.name or found.route.type != "unicast":
        return bridge.mac
    hop = address(found.via) if found.via else frame.packet.dst
    entry = namespace.neighbours.get((bridge.name, str(hop)))
    if entry is not None and entry.state in RESOLVED and entry.lladdr:
        return entry.lladdr
    for other in record.world.behind(place, bridge):
        there = record.namespace(other.place)
        if there is not None and there.has(other.link.name, hop):
            return other.link.mac
    record.world.lack(place, bridge)
    return bridge.mac


def _for_itself(record: Record, place: Place, bridge: LinkDump, frame: Frame, port: LinkDump) -> State | Outcome:
    record.hop(
        place, "bridge", f"{bridge.name} has MAC {frame.mac or bridge.mac}", "for the host itself", dev=bridge.name
    )
    tag = ports.to_itself(record, place, bridge, frame.vlan)
    if isinstance(tag, Outcome):
        return tag
    at = Point(place, "input", physin=port, mac=frame.mac, source=frame.source)
    packet = hooks.bridged(record, at, bridge, frame.packet)
    if isinstance(packet, Outcome):
        return packet
    return Arrive(place, bridge.name, replace(frame, mac="", vlan=tag, packet=packet))


def _out(
    record: Record, place: Place, bridge: LinkDump, frame: Frame, port: LinkDump | None, link: LinkDump
) -> State | Outcome:
    """By a port: as it lets it, and past the rules."""
    tag = ports.may_leave(record, place, bridge, port, link, frame.vlan)
    if isinstance(tag, Outcome):
        return tag
    packet = frame.packet
    at = Point(place, "forward", physin=port, physout=link, mac=frame.mac, source=frame.source)
    for hook in ("forward" if port else "output", "postrouting"):
        found = hooks.bridged(record, replace(at, hook=hook), bridge, packet)
        if isinstance(found, Outcome):
            return found
        packet = found
    frame = replace(frame, packet=packet, vlan=tag)
    if bad := sizes.too_large_for(record, place, link, frame, bridged=True):
        return bad
    return Transmit(place, link.name, frame)


def _back(record: Record, place: Place, bridge: LinkDump, mac: str, entry: str, dev: str) -> Outcome:
    text = f"{bridge.name} on {record.world.name(place)} would send the frame back where it came from: `{entry}`"
    fix = record.command(place, f"bridge fdb del {mac} dev {dev} master")
    return record.end("no-fdb", place, text, f"on {place.host}: `{fix}`", fault="stale-fdb", fix=fix)


def _nobody(record: Record, place: Place, bridge: LinkDump, frame: Frame) -> Outcome:
    name = record.world.name(place)
    if (cut_off := mending.not_in_bridge(record, place, bridge.name, frame.mac)) is not None:
        return cut_off
    said = f", as `{frame.by}` has it" if frame.by else ""
    text = f"{bridge.name} on {name} has no FDB entry for {frame.mac}{said}, and nobody behind its ports has that MAC"
    fix = mending.forgetting(record, frame.by) if frame.by else ""
    advice = f"on {place.host}: `{fix}`" if fix else None
    return record.end("no-fdb", place, text, advice, fault="stale-neighbour" if frame.by else "no-fdb", fix=fix)


def _flooded(
    record: Record, place: Place, namespace: Namespace, bridge: LinkDump, frame: Frame, came_by: LinkDump | None
) -> LinkDump | Outcome:
    """To all ports that take what is unknown; told is the one behind which somebody has that MAC, or may have."""
    world = record.world
    known = [port for port in namespace.ports(bridge.name) if came_by is None or port.name != came_by.name]
    open_ports = [port for port in known if (port.port or PortDump()).flood]
    wires = [port for port in open_ports if world.is_wire_end(place, port)]
    tunnels = [port for port in open_ports if port.vxlan and namespace.vtep_entry(port.name, frame.mac)]
    switched = [port for port in open_ports if any(found.link.switch for found in world.behind(place, port))]
    behind = next((port for port in known for f in world.behind(place, port) if f.link.mac == frame.mac), None)
    if behind is not None and behind not in open_ports:
        fix = record.command(place, f"bridge link set dev {behind.name} flood on")
        text = f"{bridge.name} has no FDB entry for {frame.mac}, and does not flood to {behind.name}, where it is"
        return record.end("no-fdb", place, text, f"on {place.host}: `{fix}`", fault="not-flooded", fix=fix)
    if behind is None:
        world.lack(place, bridge)
    port = behind or next(iter([*tunnels, *wires, *switched]), None)
    if port is None:
        return _nobody(record, place, bridge, frame)
    entry = f"{bridge.name}: no FDB entry for {frame.mac}, flooded"
    record.hop(place, "bridge", entry, f"also out of {port.name}", dev=bridge.name)
    return port
