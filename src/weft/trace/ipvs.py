"""Services of IPVS: what is taken in for one goes on to a member, from the hook `input` (ip_vs_in()), by way of `output` and
`postrouting`. Its connections are conntrack's as well, so answers are translated by the entry (ip_vs_update_conntrack())."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import msgspec

from weft.api.dump import IpvsDestinationDump, IpvsServiceDump
from weft.base.net import IPAddress
from weft.filters.model import Tuple
from weft.trace.namespace import Namespace
from weft.trace.path import Outcome, Place
from weft.trace.record import Record
from weft.trace.state import Packet
from weft.trace.tracked import IPS_DST_NAT, IPS_SRC_NAT_DONE


def sent_on(record: Record, place: Place, namespace: Namespace, packet: Packet) -> Packet | Outcome | None:
    """The packet as it goes on to a member; None where it is for no service."""
    service = next((one for one in namespace.dump.filters.ipvs if _is_for(one, packet)), None)
    if service is None or packet.flow.answer:
        return None
    name, what = record.world.name(place), _name(service)
    takers = [
        one for one in service.destinations if one.weight and ip_address(one.address).version == packet.dst.version
    ]
    if not takers:
        text = f"IPVS on {name} has no member for {what} that takes connections"
        return record.end("filtered", place, text, "`weft service show` says why", fault="no-backends")
    chosen = next(
        (one for one in takers if record.member is not None and ip_address(one.address) == record.member), takers[0]
    )
    members = ", ".join(one.address for one in takers[:6]) + (" …" if len(takers) > 6 else "")
    entry = f"IPVS {what} {service.scheduler}: {len(takers)} member{'s' if len(takers) > 1 else ''}: {members}"
    record.hop(place, "service", entry, f"to {chosen.address}, {chosen.forward}", hook="input")
    if chosen.forward != "masq":
        record.doubt(f"IPVS on {name}, which sends on by {chosen.forward}")
    translated = _translated(packet, ip_address(chosen.address), chosen)
    if translated.tracked is not None and translated.tracked.entry is not None:
        record.connections(place).index(translated.tracked.entry)
    return translated


def _translated(packet: Packet, to: IPAddress, chosen: IpvsDestinationDump) -> Packet:
    port = chosen.port or packet.flow.dport
    tracked = packet.tracked
    if tracked is not None and tracked.entry is not None:
        entry, old = tracked.entry, tracked.entry.answer
        entry.answer = Tuple(old.protocol, to, old.dst, port, old.dport)
        entry.status |= IPS_DST_NAT | IPS_SRC_NAT_DONE
    return replace(packet.routed(), dst=to, flow=msgspec.structs.replace(packet.flow, dport=port))


def _is_for(one: IpvsServiceDump, packet: Packet) -> bool:
    """By the mark, where the service has no address."""
    if one.mark:
        return packet.mark == one.mark
    flow = packet.flow
    return one.protocol == flow.protocol and one.port == flow.dport and ip_address(one.address) == packet.dst


def _name(one: IpvsServiceDump) -> str:
    return f"mark {one.mark}" if one.mark else f"{one.address} port {one.port}"
