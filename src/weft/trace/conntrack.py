"""Connections as conntrack has them: those of the dump, and those that the walk itself begins on the way there, so that answers
are known for what they are and translated back. One table for each namespace, with zones in it (nf_conntrack_core.c)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

from weft.api.dump import ConnectionDump
from weft.base.net import IPAddress
from weft.filters.model import Tuple
from weft.trace.path import ICMP, ICMPV6, TCP, Place
from weft.trace.state import Packet
from weft.trace.tracked import IPS_DST_NAT_DONE, IPS_EXPECTED, IPS_SEEN_REPLY, IPS_SRC_NAT_DONE, Entry, Tracked

_DONE = IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE
_SYN, _ACK = 0x02, 0x10


def tuple_of(packet: Packet) -> Tuple:
    flow = packet.flow
    return Tuple(flow.protocol, packet.src, packet.dst, flow.sport, flow.dport)


@dataclass
class Table:
    entries: list[Entry] = field(default_factory=list)
    _by_tuple: dict[tuple[int, Tuple], tuple[Entry, bool]] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.index(entry)

    def index(self, entry: Entry) -> None:
        """Again, when its answer's tuple has changed."""
        for reply, found in ((False, entry.original), (True, entry.answer)):
            self._by_tuple.setdefault((entry.zone, found), (entry, reply))

    def track(self, packet: Packet, zone: int = 0) -> Tracked:
        """As nf_conntrack_in() does: the entry that there is, else a new one, if such a packet begins a connection."""
        seen = tuple_of(packet)
        found = self._by_tuple.get((zone, seen))
        if found is None:
            if not _begins(packet):
                return Tracked("invalid")
            entry = Entry(seen, seen.turned(), zone)
            self.add(entry)
            return Tracked("new", entry)
        entry, reply = found
        if reply:
            entry.status |= IPS_SEEN_REPLY
            return Tracked("established", entry, reply=True)
        if entry.status & IPS_SEEN_REPLY:
            return Tracked("established", entry)
        return Tracked("related" if entry.status & IPS_EXPECTED else "new", entry)

    def like(self, packet: Packet) -> list[Entry]:
        """Those of the dump that differ from a packet's in the source port alone."""
        seen = tuple_of(packet)
        key = (seen.protocol, seen.src, seen.dst, seen.dport)
        return [
            e
            for e in self.entries
            if e.dump and (e.original.protocol, e.original.src, e.original.dst, e.original.dport) == key
        ]


def _begins(packet: Packet) -> bool:
    """Whether a packet without an entry makes one: of TCP a SYN (nf_conntrack_proto_tcp.c: a SYN with ACK is invalid), of ICMP
    a request."""
    flow = packet.flow
    if flow.protocol == TCP:
        return not (flow.flags & _SYN and flow.flags & _ACK)
    return not (flow.protocol in (ICMP, ICMPV6) and flow.answer)


class Tracker:
    """All tables, by namespace. There and back share one."""

    def __init__(self) -> None:
        self._tables: dict[Place, Table] = {}

    def table(self, place: Place, known: Iterable[ConnectionDump]) -> Table:
        """`known`: those of the namespace's dump."""
        if place not in self._tables:
            self._tables[place] = table = Table()
            for one in known:
                table.add(_entry(one))
        return self._tables[place]


def _entry(one: ConnectionDump) -> Entry:
    original = Tuple(one.protocol, _ip(one.src), _ip(one.dst), one.sport, one.dport)
    answer = Tuple(one.protocol, _ip(one.reply_src), _ip(one.reply_dst), one.reply_sport, one.reply_dport)
    return Entry(original, answer, one.zone, one.mark, one.status | _DONE, one)


def _ip(text: str) -> IPAddress:
    return ip_address(text)
