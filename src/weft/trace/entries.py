"""Entries of the kernel's tables as ip(8) and bridge(8) write them."""

from __future__ import annotations

from weft.api.dump import FdbDump, NeighbourDump, NextHopDump, RouteDump

_TABLES = {253: "default", 254: "", 255: "local"}
_PROTOS = {0: "", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 9: "ra", 12: "bird", 16: "dhcp", 186: "bgp"}
"""linux/rtnetlink.h, and iproute2's rt_protos."""
_DEFAULTS = ("0.0.0.0/0", "::/0")


def prefix(text: str) -> str:
    """ "default", and a single address without its length."""
    if text in _DEFAULTS:
        return "default"
    address, _, length = text.partition("/")
    return address if length == ("128" if ":" in address else "32") else text


def route(r: RouteDump, hop: NextHopDump | None = None) -> str:
    """`hop`: the one that was chosen of several."""
    via, dev, flags = (hop.via, hop.dev, hop.flags) if hop else (r.via, r.dev, r.flags)
    table = _TABLES.get(r.table, str(r.table))
    proto = _PROTOS.get(r.proto, str(r.proto))
    words = (
        r.type if r.type != "unicast" else "",
        prefix(r.prefix),
        f"via {'inet6 ' if ':' in via and ':' not in r.prefix else ''}{via}" if via else "",
        f"dev {dev}" if dev else "",
        *flags,
        f"table {table}" if table else "",
        f"proto {proto}" if proto else "",
        f"scope {r.scope}" if r.scope != "global" else "",
        f"src {r.src}" if r.src else "",
        f"metric {r.metric}" if r.metric else "",
        f"(one of {len(r.nexthops)} next hops)" if hop else "",
    )
    return " ".join(word for word in words if word)


def neighbour(n: NeighbourDump) -> str:
    lladdr = f" lladdr {n.lladdr}" if n.lladdr else ""
    return f"{n.address} dev {n.dev}{lladdr} {n.state.upper()}"


def fdb(f: FdbDump) -> str:
    if f.master:
        state = f" {f.state}" if f.state == "permanent" else ""
        return f"{f.lladdr} dev {f.dev} master {f.master}{state}"
    return f"{f.lladdr} dev {f.dev} dst {f.dst} self {f.state}"
