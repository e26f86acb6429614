"""What conntrack attaches to a packet: an entry, and what the packet is to it."""

from __future__ import annotations

from dataclasses import dataclass

from weft.api.dump import ConnectionDump
from weft.filters.model import Connection, ConnectionState, Tuple

IPS_EXPECTED, IPS_SEEN_REPLY = 1 << 0, 1 << 1
IPS_SRC_NAT, IPS_DST_NAT = 1 << 4, 1 << 5
IPS_SRC_NAT_DONE, IPS_DST_NAT_DONE = 1 << 7, 1 << 8
"""linux/netfilter/nf_conntrack_common.h."""


@dataclass(eq=False)
class Entry:
    """`answer`: the tuple of packets that come back. `dump`: where it was there before the walk."""

    original: Tuple
    answer: Tuple
    zone: int = 0
    mark: int = 0
    status: int = 0
    dump: ConnectionDump | None = None

    def other(self, *, reply: bool) -> Tuple:
        """The tuple of the other direction, which says how packets of this one are translated (nf_nat_packet())."""
        return self.original if reply else self.answer


@dataclass(frozen=True)
class Tracked:
    """What conntrack has attached to a packet, while that stays in its namespace. `zone`: where rules have set one before
    there is an entry."""

    state: ConnectionState
    entry: Entry | None = None
    reply: bool = False
    zone: int = 0

    def connection(self) -> Connection:
        if self.entry is None:
            return Connection(state=self.state, zone=self.zone)
        entry = self.entry
        return Connection(
            state=self.state,
            original=entry.original,
            answer=entry.answer,
            reply=self.reply,
            mark=entry.mark,
            zone=entry.zone,
            status=entry.status,
        )


UNTRACKED = Tracked("untracked")
