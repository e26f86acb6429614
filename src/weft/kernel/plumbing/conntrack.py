"""What conntrack keeps of connections, as the kernel's messages (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import struct
from collections.abc import Container
from functools import partial

import msgspec

from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Message, Netlink, Refused, attr, attributes

NFGENMSG = struct.Struct("=BBH")
_SRC = {u.AF_INET: u.CTA_IP_V4_SRC, u.AF_INET6: u.CTA_IP_V6_SRC}
_DST = {u.AF_INET: u.CTA_IP_V4_DST, u.AF_INET6: u.CTA_IP_V6_DST}
_ORIG = u.CTA_TUPLE_ORIG, u.CTA_FILTER_ORIG_FLAGS
_REPLY = u.CTA_TUPLE_REPLY, u.CTA_FILTER_REPLY_FLAGS
_ICMP = {
    u.AF_INET: (u.CTA_PROTO_ICMP_TYPE, u.CTA_PROTO_ICMP_CODE),
    u.AF_INET6: (u.CTA_PROTO_ICMPV6_TYPE, u.CTA_PROTO_ICMPV6_CODE),
}


Icmp = tuple[int, int]
"""Type and code."""


class Flow(msgspec.Struct, frozen=True):
    """`tuple`, `id`, `zone`, `reply`: as the kernel gave them, to name it by. `origin`, `dst`, `dport`: of its first packet, as
    it was sent; `src`, `sport`, `back`: of answers, as they come. `icmp`: type and code, where it has these instead of
    ports. `over`: one of TCP's that is closed; only `of_ends` says so."""

    tuple: bytes
    id: bytes
    zone: bytes
    translated: bool
    protocol: int
    origin: bytes
    dst: bytes
    dport: int
    src: bytes
    sport: int
    back: bytes
    mark: int = 0
    icmp: Icmp | None = None
    reply: bytes = b""
    over: bool = False


def flows(
    netlink: Netlink, family: int, *, reply_src: bytes = b"", origin: bytes = b"", protocol: int = 0
) -> list[Flow]:
    """Filtered by the kernel (Linux 5.8), as far as it knows how: the rest is up to the caller. By IPv6 addresses it does
    not: ctnetlink_filter_match_tuple() takes those that are *not* equal."""
    get = u.NFNL_SUBSYS_CTNETLINK << 8 | u.IPCTNL_MSG_CT_GET
    head, wanted = NFGENMSG.pack(family, 0, 0), b""
    if protocol:
        ports = _nest(u.CTA_TUPLE_PROTO, attr(u.CTA_PROTO_NUM, bytes([protocol])))
        wanted = _nest(u.CTA_TUPLE_ORIG, ports) + _filter(u.CTA_FILTER_ORIG_FLAGS, u.CTA_FILTER_F_PROTO_NUM)
    elif family == u.AF_INET:
        addresses = _nest(u.CTA_TUPLE_IP, attr(u.CTA_IP_V4_SRC, reply_src or origin))
        which, flags = _REPLY if reply_src else _ORIG
        wanted = _nest(which, addresses) + _filter(flags, u.CTA_FILTER_F_IP_SRC)
    try:
        return netlink.dump(get, head + wanted, partial(_decode, family))
    except Refused:
        return netlink.dump(get, head, partial(_decode, family))


def of_ends(netlink: Netlink, addresses: Container[bytes]) -> list[Flow]:
    """Those of both families that began at one of these addresses, or whose answers come from one; but for TCP's that are over
    and have no mark: whoever set one may want to take it away. All are looked at, so of the others no more than that is
    read."""

    def decode(data: bytes, start: int, end: int) -> Flow | None:
        if not may_concern(data, start, addresses):
            return None
        found = attributes(data, start + NFGENMSG.size, end)
        over = _is_over(found)
        return None if over and not any(found.get(u.CTA_MARK, b"")) else _flow(data[start], found, over)

    get = u.NFNL_SUBSYS_CTNETLINK << 8 | u.IPCTNL_MSG_CT_GET
    found = netlink.dump(get, NFGENMSG.pack(u.AF_UNSPEC, 0, 0), decode)
    return [flow for flow in found if flow.origin in addresses or flow.src in addresses]


_OVER = (bytes([u.TCP_CONNTRACK_TIME_WAIT]), bytes([u.TCP_CONNTRACK_CLOSE]))
_SIZES = {u.AF_INET: 4, u.AF_INET6: 16}
_BEGINNING = struct.Struct("=HHHHHH")
"""Sizes and types of a tuple's attribute, of its first one, the addresses, and of their first one, the source."""


def may_concern(data: bytes, start: int, addresses: Container[bytes]) -> bool:
    """A flow's tuples come first, and their sources first in them; True where that is not so."""
    size = _SIZES.get(data[start])
    if size is None:
        return False
    at = start + NFGENMSG.size
    for wanted in (u.CTA_TUPLE_ORIG, u.CTA_TUPLE_REPLY):
        length, kind, _, inner, _, first = _BEGINNING.unpack_from(data, at)
        if (kind & 0x3FFF, inner & 0x3FFF) != (wanted, u.CTA_TUPLE_IP) or first not in _SRC.values():
            return True
        source = at + _BEGINNING.size
        if data[source : source + size] in addresses:
            return True
        at += (length + 3) & ~3
    return False


def _filter(which: int, flags: int) -> bytes:
    return _nest(u.CTA_FILTER, attr(which, struct.pack("=I", flags)))


def _decode(family: int, data: bytes, start: int, end: int) -> Flow | None:
    return _flow(family, attributes(data, start + NFGENMSG.size, end)) if data[start] == family else None


def _is_over(found: dict[int, bytes]) -> bool:
    """A new connection with the same ends would have an entry of its own."""
    info = found.get(u.CTA_PROTOINFO)
    if info is None:
        return False
    tcp = attributes(info, 0, len(info)).get(u.CTA_PROTOINFO_TCP, b"")
    return attributes(tcp, 0, len(tcp)).get(u.CTA_PROTOINFO_TCP_STATE) in _OVER


def _flow(family: int, found: dict[int, bytes], over: bool = False) -> Flow | None:
    orig, reply = (_tuple(found.get(kind, b"")) for kind in (u.CTA_TUPLE_ORIG, u.CTA_TUPLE_REPLY))
    if not (orig and reply):
        return None
    return Flow(
        tuple=found[u.CTA_TUPLE_ORIG],
        id=found.get(u.CTA_ID, b""),
        zone=found.get(u.CTA_ZONE, b""),
        translated=int.from_bytes(found.get(u.CTA_STATUS, b""), "big") & u.IPS_DST_NAT != 0,
        protocol=orig[1].get(u.CTA_PROTO_NUM, b"\0")[0],
        origin=orig[0].get(_SRC[family], b""),
        dst=orig[0].get(_DST[family], b""),
        dport=int.from_bytes(orig[1].get(u.CTA_PROTO_DST_PORT, b""), "big"),
        src=reply[0].get(_SRC[family], b""),
        sport=int.from_bytes(reply[1].get(u.CTA_PROTO_SRC_PORT, b""), "big"),
        back=reply[0].get(_DST[family], b""),
        mark=int.from_bytes(found.get(u.CTA_MARK, b""), "big"),
        icmp=_icmp(family, orig[1]),
        reply=found[u.CTA_TUPLE_REPLY],
        over=over,
    )


def _icmp(family: int, found: dict[int, bytes]) -> Icmp | None:
    kind, code = (found.get(attribute, b"") for attribute in _ICMP[family])
    return (kind[0], code[0]) if kind and code else None


def _tuple(data: bytes) -> tuple[dict[int, bytes], dict[int, bytes]] | None:
    """Addresses and ports, as attributes."""
    parts = attributes(data, 0, len(data))
    ip, proto = parts.get(u.CTA_TUPLE_IP), parts.get(u.CTA_TUPLE_PROTO)
    return None if ip is None or proto is None else (attributes(ip, 0, len(ip)), attributes(proto, 0, len(proto)))


def delete(family: int, flow: Flow) -> Message:
    """Named by its answers: where it is over, and its client has begun another from the same port meanwhile, that one is
    translated to somebody else and goes on. (Its id may be the same: that is made of what was sent, and of where it is in
    memory.)"""
    body = NFGENMSG.pack(family, 0, 0) + attr(u.CTA_TUPLE_REPLY | u.NLA_F_NESTED, flow.reply) + _zone(flow)
    body += attr(u.CTA_ID, flow.id) if flow.id else b""
    return Message(u.NFNL_SUBSYS_CTNETLINK << 8 | u.IPCTNL_MSG_CT_DELETE, u.NLM_F_REQUEST, body)


def mark(flow: Flow, value: int, mask: int) -> Message:
    """Of a connection that is there: these bits of its mark, and no others."""
    family = u.AF_INET if len(flow.origin) == 4 else u.AF_INET6
    body = NFGENMSG.pack(family, 0, 0) + attr(u.CTA_TUPLE_ORIG | u.NLA_F_NESTED, flow.tuple) + _zone(flow)
    body += attr(u.CTA_MARK, value.to_bytes(4, "big")) + attr(u.CTA_MARK_MASK, mask.to_bytes(4, "big"))
    return Message(u.NFNL_SUBSYS_CTNETLINK << 8 | u.IPCTNL_MSG_CT_NEW, u.NLM_F_REQUEST, body)


def _zone(flow: Flow) -> bytes:
    return attr(u.CTA_ZONE, flow.zone) if flow.zone else b""


def _nest(kind: int, payload: bytes) -> bytes:
    return attr(kind | u.NLA_F_NESTED, payload)
