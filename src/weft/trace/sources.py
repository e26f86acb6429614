"""Whether a namespace believes where a packet says that it comes from (fib_validate_source(), ip_route_input_slow())."""

from __future__ import annotations

from weft.api.dump import LinkDump
from weft.base.names import sysctl_name
from weft.trace import entries
from weft.trace.namespace import Choice, Namespace
from weft.trace.path import Outcome, Place
from weft.trace.record import Record
from weft.trace.state import Packet

_STRICT = 1


def refused(record: Record, place: Place, namespace: Namespace, packet: Packet, link: LinkDump) -> Outcome | None:
    """Why a packet that came by this device is dropped for its source, if so. What is sent by the host itself is not asked."""
    if link.kind == "loopback":
        return None
    src, name = packet.src, record.world.name(place)
    what = f"{name} drops what comes by {link.name} from {src}"
    if src.is_multicast or (src.version == 4 and str(src) == "255.255.255.255"):
        return record.end("source", place, f"{what}, which nobody can be", "", fault="source-refused")
    if src.is_loopback or packet.dst.is_loopback:
        return _loopback(record, place, packet, link, what)
    if src.version == 6:
        return None
    if namespace.kind_of(src) == "local" and not link.conf.accept_local:
        sysctl = sysctl_name(f"net/ipv4/conf/{link.name}/accept_local")
        return record.end(
            "source",
            place,
            f"{what}: that is its own address, and {sysctl} is 0",
            f"who else sends with {src}? `ip address` on {place.host} and there",
            fault="source-refused",
        )
    return _reverse(record, place, namespace, packet, link, what) if link.conf.rp_filter else None


def _loopback(record: Record, place: Place, packet: Packet, link: LinkDump, what: str) -> Outcome | None:
    """Of IPv4 unless route_localnet; of IPv6 always (ip6_rcv_core())."""
    if packet.src.version == 4 and link.conf.route_localnet:
        return None
    fix = ""
    if packet.src.version == 4:
        fix = record.command(place, f"sysctl -w {sysctl_name(f'net/ipv4/conf/{link.name}/route_localnet')}=1")
    text = f"{what} to {packet.dst}: an address of loopback comes by no other device"
    return record.end("source", place, text, f"on {place.host}: `{fix}`" if fix else "", fault="localnet-off", fix=fix)


def _reverse(
    record: Record, place: Place, namespace: Namespace, packet: Packet, link: LinkDump, what: str
) -> Outcome | None:
    """Strict: the answer has to leave by the same device. Loose: there has to be a way at all."""
    mark = packet.mark if link.conf.valid_mark else 0
    found = namespace.route(packet.dst, packet.src, link.name, mark)
    back = found if isinstance(found, Choice) and found.route.type in ("unicast", "local") else None
    strict = link.conf.rp_filter == _STRICT
    devices = {hop.dev for hop in back.route.nexthops} | {back.dev} if back else set()
    if back is not None and (link.name in devices or not strict):
        return None
    mode = "strict" if strict else "loose"
    why = f"its own way there is `{entries.route(back.route)}`" if back else "it has no way back there"
    # The greater of the device's value and that of conf/all holds, so 2 at the device is enough.
    fix = record.command(place, f"sysctl -w {sysctl_name(f'net/ipv4/conf/{link.name}/rp_filter')}=2") if back else ""
    advice = f"on {place.host}: `{fix}`, or give it a route to {packet.src} by {link.name}" if fix else None
    text = f"{what}: {why}, and rp_filter is {link.conf.rp_filter} ({mode})"
    return record.end("source", place, text, advice, fault="rp-filter", fix=fix)
