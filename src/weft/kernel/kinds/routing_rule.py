"""Rules of policy routing: read, written and heard of (linux/fib_rules.h)."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_network
from socket import IPPROTO_UDP, inet_ntop

from weft.hoststate import PROTO, RoutingRule
from weft.kernel.kinds.bulk import BULK
from weft.kernel.kinds.kind import Encoding, Hearing, Kind, Look
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, attr, attributes
from weft.reconcile.protocol import Event, Seen

_HEAD = struct.Struct("=BBBBBBBBI")  # family, lengths of destination and source, tos, table, -, -, action, flags
_U32, _RANGE = struct.Struct("=I"), struct.Struct("=HH")


def _encode(rule: RoutingRule, _index: int, kind: int, flags: int) -> Message:
    family = u.AF_INET6 if rule.family == 6 else u.AF_INET
    table = rule.table if rule.table < 256 else 0
    destination, to = _prefix(rule.destination)
    source, since = _prefix(rule.source)
    action = u.FR_ACT_GOTO if rule.goto else u.FR_ACT_TO_TBL if rule.table else u.FR_ACT_NOP
    body = _HEAD.pack(family, to, since, 0, table, 0, 0, action, 0)
    body += attr(u.FRA_PRIORITY, _U32.pack(rule.priority))
    body += attr(u.FRA_GOTO, _U32.pack(rule.goto)) if rule.goto else b""
    body += attr(u.FRA_TABLE, _U32.pack(rule.table)) if rule.table else b""
    body += attr(u.FRA_PROTOCOL, bytes((rule.proto,)))
    body += attr(u.FRA_DST, destination) if destination else b""
    body += attr(u.FRA_SRC, source) if source else b""
    if rule.mask:
        body += attr(u.FRA_FWMARK, _U32.pack(rule.mark)) + attr(u.FRA_FWMASK, _U32.pack(rule.mask))
    body += attr(u.FRA_IIFNAME, rule.iif.encode() + b"\0") if rule.iif else b""
    if rule.udp_port:
        body += attr(u.FRA_IP_PROTO, bytes((IPPROTO_UDP,)))
        body += attr(u.FRA_DPORT_RANGE, _RANGE.pack(rule.udp_port, rule.udp_port))
    return Message(kind, flags, body)


def _prefix(text: str) -> tuple[bytes, int]:
    if not text:
        return b"", 0
    network = ip_network(text)
    return network.network_address.packed, network.prefixlen


def _decode(data: bytes, start: int, end: int, ns: str) -> RoutingRule | None:
    """None for what is not ours."""
    family, to, since, _tos, table, _, _, action, flags = _HEAD.unpack_from(data, start)
    found = attributes(data, start + _HEAD.size, end)
    if found.get(u.FRA_PROTOCOL) != bytes((PROTO,)) or family not in (u.AF_INET, u.AF_INET6):
        return None
    if action not in (u.FR_ACT_TO_TBL, u.FR_ACT_GOTO, u.FR_ACT_NOP) or flags & u.FIB_RULE_INVERT:
        return None
    by_table = action == u.FR_ACT_TO_TBL
    return RoutingRule(
        family=6 if family == u.AF_INET6 else 4,
        priority=_number(found.get(u.FRA_PRIORITY)),
        table=(_number(found.get(u.FRA_TABLE)) or table) if by_table else 0,
        goto=_number(found.get(u.FRA_GOTO)),
        source=f"{inet_ntop(family, found[u.FRA_SRC])}/{since}" if u.FRA_SRC in found else "",
        destination=f"{inet_ntop(family, found[u.FRA_DST])}/{to}" if u.FRA_DST in found else "",
        mark=_number(found.get(u.FRA_FWMARK)),
        mask=_number(found.get(u.FRA_FWMASK)),
        iif=found.get(u.FRA_IIFNAME, b"").rstrip(b"\0").decode(),
        udp_port=_RANGE.unpack(found[u.FRA_DPORT_RANGE])[0] if u.FRA_DPORT_RANGE in found else 0,
        ns=ns,
    )


def _number(data: bytes | None) -> int:
    return int.from_bytes(data, sys.byteorder) if data else 0


def _dump(look: Look) -> list[RoutingRule]:
    return look.space.netlink.dump(u.RTM_GETRULE, bytes(_HEAD.size), partial(_decode, ns=look.ns))


def _hear(hearing: Hearing, kind: int, data: bytes, start: int, end: int, ns: str) -> Iterator[Event]:
    rule = _decode(data, start, end, ns)
    if rule is not None:
        yield Seen(rule) if kind == u.RTM_NEWRULE else hearing.gone(rule.key)


ROUTING_RULE = Kind(
    name="routing-rule",
    phase=BULK,
    dump=_dump,
    encoding=Encoding(_encode, u.RTM_NEWRULE, u.RTM_DELRULE, dev=lambda _rule: ""),
    hears={u.RTM_NEWRULE: _hear, u.RTM_DELRULE: _hear},
    groups=(u.RTNLGRP_IPV4_RULE, u.RTNLGRP_IPV6_RULE),
)
