"""Translation of addresses and ports: decided by rules for a connection's first packet, applied to all, in both directions.

The tuple of answers says all (nf_nat_packet()): a packet gets the source of the other direction's tuple as its destination, and
that one's destination as its source.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from weft.base.net import IPAddress
from weft.filters.model import Seen, Translation, Tuple, Verdict
from weft.trace import blame
from weft.trace.namespace import Namespace, address
from weft.trace.path import ICMP, ICMPV6, TCP
from weft.trace.points import Hook, Point, seen
from weft.trace.record import Record
from weft.trace.state import Packet
from weft.trace.tracked import IPS_DST_NAT, IPS_DST_NAT_DONE, IPS_SRC_NAT, IPS_SRC_NAT_DONE
from weft.trace.world import Judge

if TYPE_CHECKING:
    from weft.trace.tracked import Entry

_DESTINATION: tuple[Hook, ...] = ("prerouting", "output")
_MOST_MEMBERS = 256
_SELF = {4: "127.0.0.1", 6: "::1"}


def undecided(hook: Hook, packet: Packet) -> bool:
    """Whether rules are to be asked: for a new connection, once for each of source and destination."""
    tracked = packet.tracked
    if tracked is None or tracked.entry is None or tracked.reply or tracked.state not in ("new", "related"):
        return False
    done = IPS_DST_NAT_DONE if hook in _DESTINATION else IPS_SRC_NAT_DONE
    return not tracked.entry.status & done


def decide(record: Record, judge: Judge | None, at: Point, packet: Packet) -> Verdict | None:
    """Asks the chains of NAT, and writes into the connection's entry what they say. The verdict where they drop it."""
    assert packet.tracked is not None  # or nothing would be undecided
    assert packet.tracked.entry is not None
    entry = packet.tracked.entry
    destination = at.hook in _DESTINATION
    entry.status |= IPS_DST_NAT_DONE if destination else IPS_SRC_NAT_DONE
    family = "ip" if packet.dst.version == 4 else "ip6"
    if judge is None or not judge.asked(at.hook, family):
        return None
    verdict = _chosen(record, judge, at, packet, family)
    if verdict.action in ("drop", "reject"):
        return verdict
    if verdict.action != "accept":
        blame.doubt(record, at, verdict)
    entry.mark = verdict.seen.connection.mark if verdict.seen.connection else entry.mark
    if verdict.translation is None:
        return None
    found = _address(record, at, packet, verdict.translation)
    _write(entry, destination, found, _port(verdict.translation, packet, destination))
    record.connections(at.place).index(entry)
    what = verdict.translation.where
    if destination and what.owner != "weft":
        record.by_rule = (at.place, what)
    text = _told(packet, entry, destination)
    record.hop(at.place, "nat", blame.rule(what), text, hook=at.hook, dev=_dev(at))
    return None


def _chosen(record: Record, judge: Judge, at: Point, packet: Packet, family: str) -> Verdict:
    """Where chance spreads connections over members, all are named, and the one that is asked for, else the first, is
    followed."""
    shown = seen(record, at, packet)
    first = judge.run(at.hook, family, shown, nat=True)
    if not any(outcomes > 1 for outcomes in first.drawn):
        return first
    members: dict[tuple[IPAddress | None, int | None], Verdict] = {}
    for verdict in _outcomes(judge, at, shown, family):
        if verdict.translation is not None:
            members.setdefault((verdict.translation.address, verdict.translation.port), verdict)
    if len(members) < 2:
        return next(iter(members.values()), first)
    wanted = record.member
    chosen = next((place for place in members if wanted is not None and place[0] == wanted), next(iter(members)))
    names = ", ".join(_place(*place) for place in islice(members, 6)) + (" …" if len(members) > 6 else "")
    how = "as asked for" if chosen[0] == wanted else "followed: the first; `--member` follows another"
    record.hop(at.place, "service", f"{packet.dst} has {len(members)} members: {names}", how, hook=at.hook)
    return members[chosen]


def _outcomes(judge: Judge, at: Point, shown: Seen, family: str) -> Iterator[Verdict]:
    """All ways in which lotteries can go, within reason: each one that is met is also let go otherwise."""
    left: deque[tuple[int, ...]] = deque([()])
    for _ in range(_MOST_MEMBERS):
        if not left:
            return
        draws = left.popleft()
        verdict = judge.run(at.hook, family, msgspec.structs.replace(shown, draws=draws), nat=True)
        yield verdict
        for place in range(len(draws), len(verdict.drawn)):
            before = (*draws, *(0,) * (place - len(draws)))
            left.extend((*before, other) for other in range(1, verdict.drawn[place]))


def _place(found: IPAddress | None, port: int | None, protocol: int = TCP) -> str:
    text = str(found) if found is not None else ""
    if protocol in (ICMP, ICMPV6):
        return text
    return text if not port else f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def apply(record: Record, at: Point, packet: Packet) -> Packet:
    """As the entry has it."""
    tracked = packet.tracked
    if tracked is None or tracked.entry is None:
        return packet
    entry, flow = tracked.entry, packet.flow
    to = entry.other(reply=tracked.reply)
    if at.hook in _DESTINATION:
        changed = replace(packet, dst=to.src, flow=msgspec.structs.replace(flow, dport=to.sport))
        old, new = (packet.dst, flow.dport), (to.src, to.sport)
    else:
        changed = replace(packet, src=to.dst, flow=msgspec.structs.replace(flow, sport=to.dport))
        old, new = (packet.src, flow.sport), (to.dst, to.dport)
    if old == new:
        return packet
    if tracked.reply or entry.dump is not None:
        record.hop(
            at.place,
            "nat",
            _entry(entry),
            f"{'to' if at.hook in _DESTINATION else 'from'} {_place(*new, flow.protocol)}",
            hook=at.hook,
            dev=_dev(at),
        )
    if entry.dump is not None and not tracked.reply:
        record.by_entry = (at.place, entry)
    return changed


def _entry(entry: Entry) -> str:
    from_dump = "an entry of conntrack" if entry.dump else "the connection"
    one, other = entry.original, entry.answer
    ends = ((one.src, one.sport), (one.dst, one.dport), (other.src, other.sport), (other.dst, other.dport))
    src, dst, back_src, back_dst = (_place(found, port, one.protocol) for found, port in ends)
    return f"{from_dump}: {src} to {dst}, answers {back_src} to {back_dst}"


def _dev(at: Point) -> str:
    link = at.oif or at.iif
    return link.name if link else ""


def _write(entry: Entry, destination: bool, found: IPAddress | None, port: int | None) -> None:
    old = entry.answer
    if destination:
        entry.answer = Tuple(old.protocol, found or old.src, old.dst, old.sport if port is None else port, old.dport)
        entry.status |= IPS_DST_NAT
    else:
        entry.answer = Tuple(old.protocol, old.src, found or old.dst, old.sport, old.dport if port is None else port)
        entry.status |= IPS_SRC_NAT


def _told(packet: Packet, entry: Entry, destination: bool) -> str:
    answer = entry.answer
    if destination:
        return f"to {_place(answer.src, answer.sport, answer.protocol)}"
    return f"from {_place(answer.dst, answer.dport, answer.protocol)}"


def _port(translation: Translation, packet: Packet, destination: bool) -> int | None:
    """A port out of a range stays if it is in that (nf_nat_l4proto_in_range()), and else is the first one."""
    if translation.ports is None:
        return translation.port
    low, high = translation.ports
    own = packet.flow.dport if destination else packet.flow.sport
    return own if low <= own <= high else low


def _address(record: Record, at: Point, packet: Packet, translation: Translation) -> IPAddress | None:
    if translation.kind in ("dnat", "snat"):
        return translation.address
    namespace = record.namespace(at.place)
    assert namespace is not None  # the packet is in it
    version = packet.dst.version
    if translation.kind == "masquerade":
        dev = at.oif.name if at.oif else ""
        return leaves_with(namespace, dev, next_hop(at.via, packet.dst))
    if at.hook == "output":
        return address(_SELF[version])
    return leaves_with(namespace, at.iif.name if at.iif else "", None, version)


def next_hop(via: str, dst: IPAddress) -> IPAddress:
    """Who gets the packet, for the choice of an address: only an IPv4 next hop counts (ip6_route_get_saddr() goes by the
    destination)."""
    hop = address(via) if via else dst
    return hop if hop.version == dst.version == 4 else dst


def leaves_with(namespace: Namespace, dev: str, to: IPAddress | None, version: int | None = None) -> IPAddress | None:
    """The address of a device for what it sends to a next hop (inet_select_addr()): the first of a subnet that has that, else
    the device's first, else any other's that is not link-local."""
    family = to.version if to is not None else version
    if to is not None and to.version == 6 and to.is_link_local:
        return next(
            (i.ip for i, name in namespace.addresses if (name, i.version) == (dev, 6) and i.ip.is_link_local), None
        )
    own = [i for i, name in namespace.addresses if name == dev and i.version == family and not i.ip.is_link_local]
    near = [i for i in own if to is not None and to in i.network]
    others = [i for i, name in namespace.addresses if i.version == family and name != "lo" and not i.ip.is_link_local]
    return next((i.ip for i in (*near, *own, *others)), None)
