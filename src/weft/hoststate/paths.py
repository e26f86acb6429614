"""What decides a packet's next hop: routes, neighbours, FDB entries; and sysctls.

Addresses, prefixes and MACs are text in the kernel's canonical form (inet_ntop(3), lower case): they compare, hash and
print as they are, which matters with tens of thousands of them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

ALL = "00:00:00:00:00:00"
"""The FDB's MAC address for frames to everybody, and to whom there is no entry for."""

PROTO = 87
"""Ownership mark of routes (rtm_protocol), neighbours (NDA_PROTOCOL) and addresses (IFA_PROTO): 'W'. Free in
linux/rtnetlink.h; `echo '87 weft' > /etc/iproute2/rt_protos.d/weft.conf` makes ip(8) print the name."""

MAIN = 254
"""The main routing table (RT_TABLE_MAIN)."""
FIRST_TABLE = 87_000
SECURED_TABLE = FIRST_TABLE + 1024
"""Of packets that are to be encrypted."""
OWN_TABLES = range(FIRST_TABLE + 1, SECURED_TABLE + 1)
"""Routing tables of our own: the routing mesh's, and the one above. Whoever copies a route of ours to any other table than
these and the main one copies the mark as well, and it is not ours there."""


def is_own_table(table: int) -> bool:
    """Whether a route with our mark is ours in there."""
    return table == MAIN or table in OWN_TABLES


RouteType = Literal["unicast", "unreachable", "blackhole", "throw"]
V6_DEFAULT_METRIC = 1024
"""What the kernel makes of metric 0 in v6 (IP6_RT_PRIO_USER)."""


class Route(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Build with `route()`, which fills in what the kernel would. `via` and `dev` are "" where there is none. `onlink`:
    `via` is taken to be directly reachable over `dev`. `src`: the preferred source address."""

    kind: ClassVar[str] = "route"

    prefix: str
    dev: str = ""
    via: str = ""
    onlink: bool = False
    metric: int = 0
    type: RouteType = "unicast"
    scope: Literal["global", "link", "host"] = "global"
    src: str = ""
    table: int = MAIN
    proto: int = PROTO
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("route", self.ns, str(self.table), self.prefix, str(self.metric))


def route(
    prefix: str,
    *,
    dev: str = "",
    via: str = "",
    onlink: bool = False,
    metric: int = 0,
    type: RouteType = "unicast",
    src: str = "",
    table: int = MAIN,
    ns: str = "",
) -> Route:
    """A route as the kernel will show it: v6 has a metric and no scope, v4 without next hop has scope link."""
    v6 = ":" in prefix
    return Route(
        prefix=prefix,
        dev=dev if not (v6 and type != "unicast") else "lo",
        via=via,
        onlink=onlink,
        metric=metric or (V6_DEFAULT_METRIC if v6 else 0),
        type=type,
        scope="link" if not v6 and type == "unicast" and not via else "global",
        src=src,
        table=table,
        ns=ns,
    )


class Neighbour(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A permanent entry of the ARP or ND table (NUD_PERMANENT)."""

    kind: ClassVar[str] = "neighbour"

    address: str
    lladdr: str
    dev: str
    proto: int = PROTO
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("neighbour", self.ns, self.dev, self.address)


class FdbEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where frames to `lladdr` go. With `dst`, a permanent entry of a VXLAN device's own table (`self`): to the VTEP at this
    address; frames to `ALL` may go to several. With `bridge`, an entry of that bridge's table, which has one for each address:
    to its port `dev`, and no frame that claims this address at another port changes that (static, NTF_STICKY: Linux 4.20).
    FDB entries carry no mark: ours are those of devices of ours."""

    kind: ClassVar[str] = "fdb"

    lladdr: str
    dst: str = ""
    dev: str
    bridge: str = ""
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return fdb_key(self.ns, self.dev, self.lladdr, self.dst, self.bridge)


def fdb_key(ns: str, dev: str, lladdr: str, dst: str, bridge: str) -> tuple[str, ...]:
    """Of the entry of the device's own table, or of its bridge's."""
    if bridge:
        return ("fdb", ns, bridge, lladdr, "bridge")
    return ("fdb", ns, dev, lladdr, dst) if lladdr == ALL else ("fdb", ns, dev, lladdr)


class Sysctl(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`name` with slashes, as below /proc/sys: "net/ipv4/ip_forward". A sysctl carries no mark: what it was before is
    kept in /run/weft/sysctl.json (both are gone after a reboot) and put back when nobody wants it any more; unless it
    is not `lasting`, because its device goes with whoever wants it. One that is `initial` is set when its device is made; what
    others make of it afterwards is theirs. `optional`: a kernel without it is as good as one in which it is set."""

    kind: ClassVar[str] = "sysctl"

    name: str
    value: str
    lasting: bool = True
    initial: bool = False
    optional: bool = False
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("sysctl", self.ns, self.name)


BRIDGED = tuple(f"net/bridge/bridge-nf-call-{of}" for of in ("iptables", "ip6tables", "arptables"))
"""Whether all bridges of a namespace show their packets to rules, whatever they themselves say (`BridgeFilter`)."""


def unfiltered(ns: str) -> tuple[Sysctl, ...]:
    """In a namespace of ours, which begins with all of them on, only those bridges show their packets to rules that are
    asked to."""
    return tuple(Sysctl(name=name, value="0", lasting=False, optional=True, ns=ns) for name in BRIDGED)
