"""Everybody's routes, rules, neighbours and FDB entries out of the kernel's messages, for `weft.kernel.host.dump`.

Unlike `weft.kernel.kinds.wire`, which reads only what Weft itself writes, nothing is passed over here. A decoder gets a
message's octets, the offset of its body, its end, and the names of the namespace's devices by ifindex.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from socket import inet_ntop

from weft.api.dump import FdbDump, NeighbourDump, NextHopDump, RouteDump, RuleDump
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import attributes

Names = Mapping[int, str]

# linux/rtnetlink.h, linux/fib_rules.h, linux/netconf.h: what `uapi` does not have.
RTM_GETRULE = 34
RTM_GETNETCONF = 82
NETCONFA_IFINDEX = 1
NETCONFA_FORWARDING = 2
NETCONFA_PROXY_NEIGH = 5
NETCONFA_IFINDEX_ALL = -1

_RTMSG = struct.Struct("=BBBBBBBBI")
_RTNEXTHOP = struct.Struct("=HBBi")
_RULE = struct.Struct("=BBBBBBBBI")
_NDMSG = struct.Struct("=BxxxiHBB")
_I32 = struct.Struct("=i")

_TYPES = (
    "unspec",
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
    "nat",
)
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_FLAGS = {1: "dead", 4: "onlink", 16: "linkdown"}
_ACTIONS = {1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_STATES = {
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
_FAMILY = {4: u.AF_INET, 16: u.AF_INET6}
_ANY = {u.AF_INET: "0.0.0.0", u.AF_INET6: "::"}
_VERSION = {u.AF_INET: 4, u.AF_INET6: 6}

_RTA_MULTIPATH = 9
_NDA_VLAN = 5
_NDA_MASTER = 9
_FRA_UNREAD = (5, 11, 12, 13, 19, 20, 22, 23, 24)
"""FRA_ attributes that select by something else than addresses, devices and mark."""
_FIB_RULE_INVERT = 2


def _number(data: bytes | None) -> int:
    return int.from_bytes(data, sys.byteorder) if data else 0


def _ip(data: bytes | None) -> str:
    return inet_ntop(_FAMILY[len(data)], data) if data else ""


def _flags(bits: int) -> tuple[str, ...]:
    return tuple(name for bit, name in _FLAGS.items() if bits & bit)


def _via(found: Mapping[int, bytes]) -> str:
    """RTA_GATEWAY, or RTA_VIA with its family in front."""
    return _ip(found.get(u.RTA_GATEWAY)) or _ip(found.get(u.RTA_VIA, b"")[2:])


def decode_route(data: bytes, start: int, end: int, names: Names) -> RouteDump | None:
    family, length, _src, _tos, table, proto, scope, kind, flags = _RTMSG.unpack_from(data, start)
    if family not in _ANY or flags & u.RTM_F_CLONED:
        return None
    found = attributes(data, start + 12, end)
    return RouteDump(
        prefix=f"{_ip(found.get(u.RTA_DST)) or _ANY[family]}/{length}",
        table=_number(found.get(u.RTA_TABLE)) or table,
        type=_TYPES[kind] if kind < len(_TYPES) else str(kind),
        via=_via(found),
        dev=names.get(_number(found.get(u.RTA_OIF)), ""),
        metric=_number(found.get(u.RTA_PRIORITY)),
        proto=proto,
        scope=_SCOPES.get(scope, str(scope)),
        src=_ip(found.get(u.RTA_PREFSRC)),
        flags=_flags(flags),
        nexthops=_nexthops(found.get(_RTA_MULTIPATH, b""), names),
    )


def _nexthops(data: bytes, names: Names) -> tuple[NextHopDump, ...]:
    hops, start = [], 0
    while start + 8 <= len(data):
        size, flags, _weight, index = _RTNEXTHOP.unpack_from(data, start)
        if size < 8:
            break
        found = attributes(data, start + 8, start + size)
        hops.append(NextHopDump(via=_via(found), dev=names.get(index, ""), flags=_flags(flags)))
        start += (size + 3) & ~3
    return tuple(hops)


def rule_filter(family: int) -> bytes:
    return _RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)


def decode_rule(data: bytes, start: int, end: int) -> RuleDump | None:
    family, dst_len, src_len, tos, table, _r1, _r2, action, flags = _RULE.unpack_from(data, start)
    if family not in _VERSION:
        return None
    found = attributes(data, start + 12, end)
    return RuleDump(
        priority=_number(found.get(6)),
        family=_VERSION[family],
        action=_ACTIONS.get(action, "nop"),
        table=_number(found.get(15)) or table,
        target=_number(found.get(4)),
        src=f"{_ip(found.get(2))}/{src_len}" if src_len else "",
        dst=f"{_ip(found.get(1))}/{dst_len}" if dst_len else "",
        iif=_text(found.get(3)),
        oif=_text(found.get(17)),
        mark=_number(found.get(10)),
        mask=_number(found.get(16)),  # the kernel tells it with every mark
        invert=flags & _FIB_RULE_INVERT != 0,
        suppress=_I32.unpack(found[14])[0] if 14 in found else -1,
        more=bool(tos) or any(kind in found for kind in _FRA_UNREAD),
    )


def _text(data: bytes | None) -> str:
    return (data or b"").rstrip(b"\0").decode(errors="replace")


def decode_neighbour(data: bytes, start: int, end: int, names: Names) -> NeighbourDump | None:
    family, index, state, _neighbour_flags, _type = _NDMSG.unpack_from(data, start)
    found = attributes(data, start + 12, end)
    if family not in _ANY or u.NDA_DST not in found or index not in names:
        return None
    return NeighbourDump(
        dev=names[index],
        address=_ip(found[u.NDA_DST]),
        lladdr=found.get(u.NDA_LLADDR, b"").hex(":"),
        state=_state(state),
    )


def decode_fdb(data: bytes, start: int, end: int, names: Names) -> FdbDump | None:
    """None for what a device merely listens to (its multicast list): it sends no frame anywhere."""
    _family, index, state, _entry_flags, _type = _NDMSG.unpack_from(data, start)
    found = attributes(data, start + 12, end)
    master, dst = names.get(_number(found.get(_NDA_MASTER)), ""), _ip(found.get(u.NDA_DST))
    if index not in names or not (master or dst):
        return None
    return FdbDump(
        dev=names[index],
        lladdr=found.get(u.NDA_LLADDR, b"").hex(":"),
        dst=dst,
        master=master,
        vlan=_number(found.get(_NDA_VLAN)),
        state=_state(state),
    )


def _state(bits: int) -> str:
    """An entry has one, but for VXLAN's "permanent, and no ARP for it"."""
    return next((name for bit, name in reversed(_STATES.items()) if bits & bit), "none")


def forwarding_filter(family: int) -> bytes:
    return bytes((family, 0, 0, 0))


def decode_forwarding(data: bytes, start: int, end: int) -> tuple[int, bool, bool] | None:
    """(ifindex, whether what it receives is routed on, whether it answers for others) out of RTM_NEWNETCONF;
    NETCONFA_IFINDEX_ALL for conf/all."""
    found = attributes(data, start + 4, end)
    if NETCONFA_IFINDEX not in found or NETCONFA_FORWARDING not in found:
        return None
    index, forwards = (_I32.unpack(found[kind])[0] for kind in (NETCONFA_IFINDEX, NETCONFA_FORWARDING))
    return index, forwards != 0, _number(found.get(NETCONFA_PROXY_NEIGH)) != 0
