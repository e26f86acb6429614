"""Conntrack's entries as a dump tells them (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import ip_address

from weft.api.dump import ConnectionDump
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, attributes
from weft.kernel.plumbing.nfnl import NFGENMSG

_TIMEOUT, _COUNTERS, _REPLY_COUNTERS = 7, 9, 10
_COUNTER_PACKETS, _COUNTER_OCTETS = 1, 2
_ICMP_ID, _ICMPV6_ID = 4, 7
_ADDRESSES = (u.CTA_IP_V4_SRC, u.CTA_IP_V4_DST), (u.CTA_IP_V6_SRC, u.CTA_IP_V6_DST)
_STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
)
"""enum tcp_conntrack."""


def entries(netlink: Netlink, addresses: Collection[str] | None = None) -> tuple[ConnectionDump, ...]:
    """Of both families. `addresses`: those that have one of them in either direction; None: all. Raises Failed, Refused."""
    wanted = None if addresses is None else frozenset(ip_address(text).packed for text in addresses)

    def decode(data: bytes, start: int, end: int) -> ConnectionDump | None:
        if wanted is not None and not any(address in data[start:end] for address in wanted):
            return None
        found = _entry(attributes(data, start + NFGENMSG.size, end))
        return found if found is not None and (wanted is None or _has(found, wanted)) else None

    kind = u.NFNL_SUBSYS_CTNETLINK << 8 | u.IPCTNL_MSG_CT_GET
    return tuple(netlink.dump(kind, NFGENMSG.pack(u.AF_UNSPEC, 0, 0), decode))


def _has(found: ConnectionDump, wanted: Collection[bytes]) -> bool:
    return any(ip_address(text).packed in wanted for text in (found.src, found.dst, found.reply_src, found.reply_dst))


def _inside(found: dict[int, bytes], kind: int) -> dict[int, bytes]:
    nested = found.get(kind, b"")
    return attributes(nested, 0, len(nested))


def _int(found: dict[int, bytes], kind: int, default: int = 0) -> int:
    return int.from_bytes(found[kind], "big") if kind in found else default


class _Tuple:
    def __init__(self, found: dict[int, bytes]) -> None:
        ip, ports = _inside(found, u.CTA_TUPLE_IP), _inside(found, u.CTA_TUPLE_PROTO)
        src, dst = next(((ip[a], ip[b]) for a, b in _ADDRESSES if a in ip and b in ip), (b"", b""))
        self.known = bool(src and dst)
        self.src, self.dst = (str(ip_address(packed)) if packed else "" for packed in (src, dst))
        self.protocol = _int(ports, u.CTA_PROTO_NUM)
        self.sport = _int(ports, u.CTA_PROTO_SRC_PORT)
        self.dport = _int(ports, u.CTA_PROTO_DST_PORT)
        if self.protocol in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
            self.sport = self.dport = _int(ports, _ICMP_ID) or _int(ports, _ICMPV6_ID)


def _entry(found: dict[int, bytes]) -> ConnectionDump | None:
    original, reply = (_Tuple(_inside(found, kind)) for kind in (u.CTA_TUPLE_ORIG, u.CTA_TUPLE_REPLY))
    if not (original.known and reply.known):
        return None
    there, back = (_inside(found, kind) for kind in (_COUNTERS, _REPLY_COUNTERS))
    return ConnectionDump(
        protocol=original.protocol,
        src=original.src,
        dst=original.dst,
        sport=original.sport,
        dport=original.dport,
        reply_src=reply.src,
        reply_dst=reply.dst,
        reply_sport=reply.sport,
        reply_dport=reply.dport,
        mark=_int(found, u.CTA_MARK),
        zone=_int(found, u.CTA_ZONE),
        status=_int(found, u.CTA_STATUS),
        state=_state(found),
        timeout=_int(found, _TIMEOUT),
        packets=_int(there, _COUNTER_PACKETS, -1),
        octets=_int(there, _COUNTER_OCTETS, -1),
        reply_packets=_int(back, _COUNTER_PACKETS, -1),
        reply_octets=_int(back, _COUNTER_OCTETS, -1),
    )


def _state(found: dict[int, bytes]) -> str:
    tcp = _inside(_inside(found, u.CTA_PROTOINFO), u.CTA_PROTOINFO_TCP)
    number = _int(tcp, u.CTA_PROTOINFO_TCP_STATE, len(_STATES))
    return _STATES[number] if number < len(_STATES) else ""
