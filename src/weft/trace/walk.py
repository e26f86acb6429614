"""Follow one packet through dumped kernel state. Pure: no I/O, and nothing is asked while it walks.

The packet is always in one of three situations, and each step makes the next one out of it:

    Send      a namespace sends it: its rules and routes decide
    Transmit  a frame leaves by a device: a bridge, a veth, a tunnel, or the wire
    Arrive    a frame comes in by a device: for one of a bridge's ports, for this namespace, or to be routed on

Encapsulation puts the frame into a packet that is sent from the same namespace; the host that this is delivered to takes
it out again. Not looked at: packet filters and NAT, traffic control, reverse path filters.
"""

from __future__ import annotations

from collections.abc import Mapping

from weft.api.dump import HostDump
from weft.base.net import IPAddress
from weft.trace import l2, l3
from weft.trace.path import Outcome, Path, Place, Start
from weft.trace.record import Record
from weft.trace.state import Arrive, Packet, Send, State, Transmit
from weft.trace.world import World

MOST_STEPS = 1000
"""A way that is longer goes in circles where no TTL ends it: between bridges, or in tunnels inside tunnels."""


def walk(
    dumps: Mapping[str, HostDump],
    start: Start,
    target: IPAddress,
    nodes: Mapping[str, str] | None = None,
    lacking: set[Place] | None = None,
) -> Path:
    """`dumps` by host name. `nodes`: names of all hosts by their addresses, also of those whose dump is not at hand. `lacking`
    is told the places that were looked for and are in no dump."""
    record = Record(World(dumps, nodes or {}, lacking))
    state: State | Outcome = Send(Place(start.host, start.ns), Packet(start.source, target, l2.FIRST_TTL))
    ttl = l2.FIRST_TTL
    for _ in range(MOST_STEPS):
        if isinstance(state, Outcome):
            break
        ttl = _ttl(state)
        state = _step(record, state)
    else:
        place = state.place if not isinstance(state, Outcome) else Place(start.host)
        state = record.end(
            "loop", place, "the frame goes in a circle, where no TTL ends it: bridges or tunnels form a loop"
        )
    return Path(source=start.source, target=target, hops=tuple(record.hops), outcome=state, mtu=record.mtu, ttl=ttl)


def _step(record: Record, state: State) -> State | Outcome:
    match state:
        case Send():
            return l3.send(record, state)
        case Transmit():
            return l2.transmit(record, state)
        case Arrive():
            return l2.arrive(record, state)


def _ttl(state: State) -> int:
    """Of the packet that is traced, in however many tunnels it is."""
    packet = state.packet if isinstance(state, Send) else state.frame.packet
    while packet.tunnel is not None:
        packet = packet.tunnel.frame.packet
    return packet.ttl
