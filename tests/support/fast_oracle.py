"""What the programs `fast` and `seen` have to make of a packet, slowly: after what their modules say of themselves, and not
after their instructions."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from weft.bpf.layout import ANY_FLOW, BRIDGED, FROM_PORT, ONE_FLOW, ROUTED, SLOTS, TO_PEER, Entry, Home

Address = IPv4Address | IPv6Address


class Flow(NamedTuple):
    """`protocol` and ports are 0 where any are meant."""

    source: Address
    destination: Address
    protocol: int = 0
    source_port: int = 0
    destination_port: int = 0


@dataclass
class Device:
    ifindex: int
    mac: bytes
    mtu: int


@dataclass
class State:
    generation: int
    any: bool
    now: int
    flows: dict[Flow, Entry] = field(default_factory=dict)
    homes: dict[Address, Home] = field(default_factory=dict)


@dataclass
class Packet:
    """`segment`: octets of payload that each segment has, 0 if it is one."""

    frame: bytes
    device: Device
    mark: int = 0
    ingress: int = 0
    segment: int = 0


@dataclass
class Read:
    """An IP packet without options and no fragment. `protocol`: what its header says comes next; `transport`: what does."""

    source: Address
    destination: Address
    protocol: int
    ttl: int
    extended: bool
    transport: bytes


def read(frame: bytes) -> Read | None:
    """None for what is never repeated."""
    kind, ip = int.from_bytes(frame[12:14], "big"), frame[14:]
    if kind == 0x0800 and len(ip) >= 20:
        fragment = int.from_bytes(ip[6:8], "big")
        if ip[0] >> 4 != 4 or ip[0] & 15 != 5 or fragment not in (0, 0x4000):  # neither, or only "do not fragment"
            return None
        return Read(ip_address(ip[12:16]), ip_address(ip[16:20]), ip[9], ip[8], False, ip[20:])
    if kind == 0x86DD and len(ip) >= 40 and ip[0] >> 4 == 6:
        extended = ip[6] in (0, 43, 44, 60)
        return Read(ip_address(ip[8:24]), ip_address(ip[24:40]), ip[6], ip[7], extended, ip[40:])
    return None


def any_flow(packet: Read) -> Flow | None:
    return None if packet.extended else Flow(packet.source, packet.destination)


def one_flow(packet: Read) -> Flow | None:
    above = packet.transport
    if packet.protocol == 17:
        if len(above) < 8:
            return None
    elif packet.protocol != 6 or len(above) < 14 or above[13] & 0b111:  # FIN 1, SYN 2, RST 4
        return None
    ports = int.from_bytes(above[0:2], "big"), int.from_bytes(above[2:4], "big")
    return Flow(packet.source, packet.destination, packet.protocol, *ports)


def repeated(packet: Packet, state: State) -> tuple[bytes, Entry] | None:
    """The frame as it goes on, and the entry that says so. None: the ordinary way takes it."""
    seen = read(packet.frame)
    if seen is None:
        return None
    asked = [any_flow(seen)] if state.any else []
    asked.append(one_flow(seen))
    found = [state.flows[flow] for flow in asked if flow in state.flows]
    fit = [entry for entry in found if _counts(entry, packet, state)]
    if not fit:
        return None
    entry = fit[0]
    to = packet.frame[:6]
    if to != packet.device.mac and (to[0] & 1 or not entry.flags & FROM_PORT):
        return None
    if _longest(packet, seen) > entry.mtu:
        return None
    ip = packet.frame[14:]
    if entry.flags & ROUTED:
        if seen.ttl <= 1:
            return None
        ip = _hop(ip)
    return entry.ether + ip, entry


def _counts(entry: Entry, packet: Packet, state: State) -> bool:
    fresh = entry.generation == state.generation and entry.until >= state.now
    return fresh and entry.came_by == packet.device.ifindex


def _longest(packet: Packet, seen: Read) -> int:
    """Octets of the packet, or of each of those that it stands for; many, if nobody knows."""
    whole = len(packet.frame) - 14
    header = whole - len(seen.transport)
    if not packet.segment:
        return whole
    if seen.protocol == 17:
        return min(whole, header + 8 + packet.segment)
    if seen.protocol == 6 and len(seen.transport) >= 13:
        return min(whole, header + seen.transport[12] // 16 * 4 + packet.segment)
    return whole


def _hop(ip: bytes) -> bytes:
    """RFC 1624 for IPv4: HC' = ~(~HC + ~m + m'), of which ip_decrease_ttl() is a case."""
    if ip[0] >> 4 == 6:
        return ip[:7] + bytes([ip[7] - 1]) + ip[8:]
    total = int.from_bytes(ip[10:12], "big") + 0x0100
    if total >= 0xFFFF:
        total += 1
    return ip[:8] + bytes([ip[8] - 1]) + ip[9:10] + (total & 0xFFFF).to_bytes(2, "big") + ip[12:]


@dataclass
class Seen:
    """`flow` is None: no entry is made. Of `entry`, the time is the one when it was made."""

    mark: int
    flow: Flow | None = None
    entry: Entry | None = None


def kept(packet: Packet, state: State) -> Seen:
    if not packet.mark & (ONE_FLOW | ANY_FLOW) or not packet.ingress:
        return Seen(packet.mark)
    result = Seen(packet.mark & ~(ONE_FLOW | ANY_FLOW | BRIDGED))
    seen = read(packet.frame)
    if seen is None:
        return result
    result.flow = any_flow(seen) if packet.mark & ANY_FLOW else one_flow(seen)
    if result.flow is None:
        return result
    source, destination = state.homes.get(seen.source), state.homes.get(seen.destination)
    flags = 0 if packet.mark & BRIDGED else ROUTED
    if source or packet.mark & BRIDGED:
        flags |= FROM_PORT
    if destination and destination.device == packet.device.ifindex:
        flags |= TO_PEER
    counted = source or destination
    result.entry = Entry(
        until=state.now,
        generation=state.generation,
        came_by=source.device if source else packet.ingress,
        out=packet.device.ifindex,
        flags=flags,
        mtu=packet.device.mtu,
        ether=packet.frame[:14],
        slot=counted.slot if counted else SLOTS - 1,
    )
    return result
