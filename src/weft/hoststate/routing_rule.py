"""Rules of policy routing: which routing table a packet is looked up in (ip-rule(8))."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from weft.hoststate.paths import PROTO


class RoutingRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Packets from `source` to `destination` ("": any) that come in by the device `iif` ("": any, "lo": from this host) are
    looked up in `table`, if their mark is `mark` in the bits of `mask` (0: any mark), and they go to the UDP port `udp_port`
    (0: anywhere; Linux 4.17). The lowest `priority` comes first; where its table has no route, the next rule's turn comes.
    `goto`: instead of a table, the turn is at once that of the rules with this priority; with neither, the rule is only a
    place that others lead to. The kernel keeps rules that differ in anything side by side, so all of it is the key, and none
    is ever changed. Ownership mark: FRA_PROTOCOL is `PROTO` (Linux 4.17)."""

    kind: ClassVar[str] = "routing-rule"

    family: Literal[4, 6]
    priority: int
    table: int = 0
    goto: int = 0
    source: str = ""
    destination: str = ""
    mark: int = 0
    mask: int = 0
    iif: str = ""
    udp_port: int = 0
    proto: int = PROTO
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        mark = f"{self.mark:#x}/{self.mask:#x}" if self.mask else ""
        to = f"goto {self.goto}" if self.goto else str(self.table) if self.table else "nop"
        where = (str(self.family), str(self.priority), to)
        port = (f"udp {self.udp_port}",) if self.udp_port else ()
        return ("routing-rule", self.ns, *where, self.source, self.destination, mark, self.iif, *port)
