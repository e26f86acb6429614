"""Follow one packet through dumped kernel state. Pure: no I/O, and nothing is asked while it walks.

The packet is always in one of three situations, and each step makes the next one out of it:

    Send      a namespace sends it: its rules and routes decide
    Transmit  a frame leaves by a device: a bridge, a veth, a tunnel, or the wire
    Arrive    a frame comes in by a device: for one of a bridge's ports, for this namespace, or to be routed on

Encapsulation puts the frame into a packet that is sent from the same namespace; the host that this is delivered to takes
it out again. At each point where the kernel asks rules they are asked here too (`weft.trace.hooks`), and what conntrack
would know by then it knows here (`weft.trace.conntrack`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from weft.api.dump import HostDump
from weft.base.net import IPAddress
from weft.filters.model import Where
from weft.trace import blame, l2, l3, nat, packing, short
from weft.trace.conntrack import Tracker
from weft.trace.namespace import Choice, address
from weft.trace.own import PROTOCOLS
from weft.trace.path import ECHO, ICMP, ICMPV6, TCP, UDP, Flow, Outcome, Path, Place, Start
from weft.trace.record import At, Record
from weft.trace.state import Arrive, Frame, Packet, Send, State, Transmit
from weft.trace.tracked import Entry
from weft.trace.world import World

MOST_STEPS = 1000
"""A way that is longer goes in circles where no TTL ends it: between bridges, or in tunnels inside tunnels."""


def walk(
    dumps: Mapping[str, HostDump],
    start: Start,
    target: IPAddress,
    nodes: Mapping[str, str] | None = None,
    lacking: set[Place] | None = None,
    *,
    flow: Flow = ECHO,
    member: IPAddress | None = None,
) -> Path:
    """The way there. `dumps` by host name. `nodes`: names of all hosts by their addresses, also of those whose dump is not at
    hand. `lacking` is told the places that were looked for and are in no dump. `member`: whom a service leads to."""
    return both_ways(World(dumps, nodes or {}, lacking), start, target, flow=flow, member=member)[0]


def both_ways(
    world: World, start: Start, target: IPAddress, *, flow: Flow = ECHO, member: IPAddress | None = None
) -> tuple[Path, Path | None]:
    """There, and the way of the answer, where there is one: from who took the packet, with the addresses that it had when it
    came to it; from outside the cluster, by the device by which it left."""
    flow = _of_family(flow, target)
    tracker = Tracker()
    record = Record(world, tracker, size=flow.size, member=member)
    place = Place(start.host, start.ns)
    source = _source(world, place, start, target, flow)
    packet = Packet(source, target, packing.FIRST_TTL, flow=flow, mark=flow.mark)
    there = _walked(record, Send(place, packet), source, target, flow, start)
    if record.arrived is None or not there.outcome.arrived:
        return there, None
    state = _answer(world, record, *record.arrived)
    if state is None:
        return there, None
    back = Record(world, tracker, size=flow.size)
    answer = state.packet if isinstance(state, Send) else state.frame.packet
    answered = _walked(back, state, answer.src, answer.dst, answer.flow, None)
    if not answered.outcome.arrived:
        return there, answered
    ways = (there, record), (answered, back)
    there, answered = (msgspec.structs.replace(way, short=tuple(short.ways(seen))) for way, seen in ways)
    return there, answered


def _source(world: World, place: Place, start: Start, target: IPAddress, flow: Flow) -> IPAddress:
    """What the route says, else an address of the device by which it leaves (ip_route_output_key_hash_rcu(), RFC 6724)."""
    namespace = world.namespace(place) if start.free else None
    found = namespace.route(start.source, target, "lo", flow.mark) if namespace else None
    if namespace is None or not isinstance(found, Choice):
        return start.source
    if found.route.src:
        return address(found.route.src)
    if found.route.type == "local":
        return target
    return nat.leaves_with(namespace, found.dev, nat.next_hop(found.via, target)) or start.source


def _answer(world: World, record: Record, place: Place, packet: Packet, dev: str) -> Send | Arrive | None:
    """None from outside for who went there with an address that only the cluster knows: whether there is a way back is up to
    routers."""
    answer = Packet(packet.dst, packet.src, packing.FIRST_TTL, flow=packet.flow.turned())
    if record.hops and record.hops[-1].step == "deliver":
        return Send(place, answer)
    namespace = world.namespace(place)
    if namespace is None or namespace.owner(packet.src) is None:
        return None
    return Arrive(place, dev, Frame("", answer.dst, answer))


def _of_family(flow: Flow, target: IPAddress) -> Flow:
    """ICMP is another protocol in IPv6."""
    if flow.protocol not in (ICMP, ICMPV6):
        return flow
    return msgspec.structs.replace(flow, protocol=ICMP if target.version == 4 else ICMPV6)


def _walked(
    record: Record, state: State | Outcome, source: IPAddress, target: IPAddress, flow: Flow, start: Start | None
) -> Path:
    ttl = packing.FIRST_TTL
    for _ in range(MOST_STEPS):
        if isinstance(state, Outcome):
            break
        ttl = _ttl(state)
        if not isinstance(state, Send):
            record.devices.append(At(state.place, depth(state.frame.packet), state.dev, isinstance(state, Arrive)))
        state = _step(record, state)
    else:
        place = state.place if not isinstance(state, Outcome) else Place("")
        text = "the frame goes in a circle, where no TTL ends it: bridges or tunnels form a loop"
        state = record.end("loop", place, text, fault="loop")
    if record.by_entry is not None and not state.arrived and state.known:
        state = _by_entry(record, *record.by_entry, state)
    elif record.by_rule is not None and state.ending == "no-neighbour":
        state = _by_rule(record, *record.by_rule, state)
    if record.doubts and state.arrived:
        state = _doubtful(state, record.doubts)
    return Path(
        source=source,
        target=target,
        hops=tuple(record.hops),
        outcome=state,
        mtu=record.mtu,
        ttl=ttl,
        flow=flow,
        start=start,
    )


def _by_entry(record: Record, place: Place, entry: Entry, outcome: Outcome) -> Outcome:
    """A new connection may well go another way: the entry goes, and what it leads to is asked again."""
    one = entry.original
    ports = f" --sport {one.sport} --dport {one.dport}" if one.protocol in (TCP, UDP) else ""
    protocol = PROTOCOLS.get(one.protocol, str(one.protocol))
    fix = record.command(place, f"conntrack -D -p {protocol} -s {one.src} -d {one.dst}{ports}")
    text = f"{outcome.text}; an entry of conntrack on {record.world.name(place)} leads it there"
    return msgspec.structs.replace(
        outcome, text=text, advice=f"on {place.host}: `{fix}`", host=place.host, fault="conntrack-stale", fix=fix
    )


def _by_rule(record: Record, place: Place, rule: Where, outcome: Outcome) -> Outcome:
    """Nobody has the address that a port leads to: who had it is gone, the rule is not."""
    text = f"{outcome.text}; {blame.rule(rule)} on {record.world.name(place)} leads it there"
    remedy = rule.remedy
    if not remedy and rule.program == "nft" and rule.handle:
        remedy = f"nft delete rule {rule.family} {rule.table} {rule.chain} handle {rule.handle}"
    fix = record.command(place, remedy) if remedy else ""
    advice = f"on {place.host}: `{fix}`" if fix else "remove the rule"
    return msgspec.structs.replace(outcome, text=text, advice=advice, host=place.host, fault="published-stale", fix=fix)


def _doubtful(outcome: Outcome, doubts: list[str]) -> Outcome:
    more = f", and on {len(doubts) - 1} more" if len(doubts) > 1 else ""
    text = f"{outcome.text}, but that depends on {doubts[0]}{more}"
    advice = "what cannot be judged is among the hops; `weft trace --live` sends a packet and watches it"
    return msgspec.structs.replace(outcome, ending="depends", text=text, advice=advice)


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


def depth(packet: Packet) -> int:
    """How many tunnels the packet that is traced is in."""
    return 0 if packet.tunnel is None else 1 + depth(packet.tunnel.frame.packet)
