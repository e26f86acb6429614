"""What a bridge's ports let through: spanning tree, isolation, hairpin, VLANs (br_allowed_ingress(), should_deliver())."""

from __future__ import annotations

from weft.api.dump import BridgeDump, LinkDump, PortDump, VlanDump
from weft.trace.path import Outcome, Place
from weft.trace.record import Record

_BEFORE_FORWARDING = ("disabled", "listening", "learning", "blocking")


def may_enter(record: Record, place: Place, bridge: LinkDump, link: LinkDump, tag: int) -> Outcome | int:
    """The VLAN that a frame is in once the port has let it in, 0 where the bridge knows none."""
    port = link.port or PortDump()
    if port.state in _BEFORE_FORWARDING:
        return _blocking(record, place, bridge, link, port)
    filtering = bridge.bridge or BridgeDump()
    if not filtering.filtering:
        return tag
    found = _member(port.vlans, tag)
    if found is None:
        return _outside(record, place, link, tag, "in")
    return found.vid


def may_leave(
    record: Record, place: Place, bridge: LinkDump, came_by: LinkDump | None, link: LinkDump, vid: int
) -> Outcome | int:
    """The tag with which it leaves by a port."""
    port, name = link.port or PortDump(), record.world.name(place)
    if came_by is not None and came_by.name == link.name and not port.hairpin:
        fix = record.command(place, f"bridge link set dev {link.name} hairpin on")
        text = f"{bridge.name} on {name} sends nothing back by {link.name}, where it came from: hairpin is off"
        return record.end("port", place, text, f"on {place.host}: `{fix}`", fault="hairpin-off", fix=fix)
    if port.state in _BEFORE_FORWARDING:
        return _blocking(record, place, bridge, link, port)
    if came_by is not None and came_by.port is not None and came_by.port.isolated and port.isolated:
        fix = record.command(place, f"bridge link set dev {link.name} isolated off")
        text = f"{came_by.name} and {link.name} of {bridge.name} on {name} are both isolated: nothing goes between them"
        return record.end("port", place, text, f"on {place.host}: `{fix}`", fault="port-isolated", fix=fix)
    filtering = bridge.bridge or BridgeDump()
    if not filtering.filtering:
        return vid
    found = next((v for v in port.vlans if v.vid == vid), None)
    if found is None:
        return _outside(record, place, link, vid, "out")
    return 0 if found.untagged else vid


def own_vlan(bridge: LinkDump, tag: int) -> int | None:
    """The VLAN in which the bridge itself, as a device, sends with this tag; None where it is in none."""
    filtering = bridge.bridge or BridgeDump()
    if not filtering.filtering:
        return tag
    found = _member(filtering.vlans, tag)
    return found.vid if found else None


def to_itself(record: Record, place: Place, bridge: LinkDump, vid: int) -> Outcome | int:
    """The tag with which a frame comes to the bridge as a device."""
    filtering = bridge.bridge or BridgeDump()
    if not filtering.filtering:
        return vid
    found = next((v for v in filtering.vlans if v.vid == vid), None)
    if found is None:
        fix = record.command(place, f"bridge vlan add dev {bridge.name} vid {vid} self")
        text = f"{bridge.name} on {record.world.name(place)} is not in VLAN {vid} itself"
        return record.end("port", place, text, f"on {place.host}: `{fix}`", fault="vlan-filtered", fix=fix)
    return 0 if found.untagged else vid


def _member(vlans: tuple[VlanDump, ...], tag: int) -> VlanDump | None:
    return next((v for v in vlans if (v.vid == tag if tag else v.pvid)), None)


def _blocking(record: Record, place: Place, bridge: LinkDump, link: LinkDump, port: PortDump) -> Outcome:
    """A port whose device is down, or has no carrier, is disabled with it."""
    namespace = record.namespace(place)
    if namespace is not None and (down := record.unusable(place, namespace, link.name)) is not None:
        return down
    fix = record.command(place, f"bridge link set dev {link.name} state 3")
    filtering = bridge.bridge or BridgeDump()
    text = f"{link.name} of {bridge.name} on {record.world.name(place)} is {port.state}"
    if filtering.stp:
        text += ": its spanning tree keeps it so"
        fix = record.command(place, f"ip link set {bridge.name} type bridge stp_state 0")
    return record.end("port", place, text, f"on {place.host}: `{fix}`", fault="stp-blocking", fix=fix)


def _outside(record: Record, place: Place, link: LinkDump, tag: int, way: str) -> Outcome:
    name = record.world.name(place)
    if tag:
        fix = record.command(
            place, f"bridge vlan add dev {link.name} vid {tag}" + (" pvid untagged" if tag == 1 else "")
        )
        text = f"{link.name} on {name} is not in VLAN {tag}: it lets nothing of that {way}"
    else:
        fix = record.command(place, f"bridge vlan add dev {link.name} vid 1 pvid untagged")
        text = f"{link.name} on {name} has no VLAN for frames without a tag (PVID): it lets none {way}"
    return record.end("port", place, text, f"on {place.host}: `{fix}`", fault="vlan-filtered", fix=fix)
