"""Connections as conntrack has them now, and as they begin and end (nfnetlink_conntrack): what `weft flows` tells.

A host may have hundreds of thousands. They are looked at one after the other as the kernel dumps them: of those that concern
none of the wanted addresses no more than the sources are read, and of the others only as many are kept as are asked for.
"""

from __future__ import annotations

import errno
import heapq
import socket
import struct
from collections.abc import Container, Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import msgspec

from weft.base.errors import Failed
from weft.base.net import IPAddress
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.conntrack import NFGENMSG, may_concern
from weft.kernel.plumbing.netlink import Netlink, Refused, attr, attributes, messages, open_socket

RCVBUF = 1 << 20
"""Octets. Events that come while it is full are lost."""
_RECEIVE = 1 << 18
_SETTINGS = Path("/proc/sys/net/netfilter")
"""Of the namespace of the thread that opens it."""
_TCP = (
    *("", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT", "CLOSE-WAIT", "LAST-ACK", "TIME-WAIT", "CLOSED"),
    "SYN-SENT",
)
"""enum tcp_conntrack, in the words of RFC 9293."""
_CTA_STATUS_MASK = 26
_V4, _V6 = (u.CTA_IP_V4_SRC, u.CTA_IP_V4_DST), (u.CTA_IP_V6_SRC, u.CTA_IP_V6_DST)


class Side(msgspec.Struct, frozen=True, gc=False):
    """Packets of one direction, as they come. `port`s: None where the protocol has none. `packets`, `octets`: None where
    the namespace does not count."""

    src: IPAddress
    dst: IPAddress
    sport: int | None
    dport: int | None
    packets: int | None
    octets: int | None


class Tracked(msgspec.Struct, frozen=True, gc=False):
    """`there`: packets as they were first sent; `back`: answers. `state`: of TCP; else whether there was an answer.
    `timeout`: seconds until it is forgotten, if nothing comes. `offloaded`: it is in a flowtable, and its packets pass no rule
    and are not counted here. `began`, `ended`: Unix seconds, 0.0 where that is not kept."""

    protocol: int
    there: Side
    back: Side
    state: str
    timeout: int
    mark: int
    offloaded: bool = False
    began: float = 0.0
    ended: float = 0.0

    @property
    def weight(self) -> tuple[int, int]:
        """By which the larger one is told first: octets both ways; then what lives longest."""
        return (self.there.octets or 0) + (self.back.octets or 0), self.timeout


class Listing(msgspec.Struct, frozen=True):
    """`found`: the largest first. `total`: how many there were of these. `accounting`: packets and octets are counted there;
    `timestamps`: it is kept when each began."""

    found: list[Tracked]
    total: int
    accounting: bool
    timestamps: bool


def listing(ns: str, addresses: Container[bytes], most: int, ends: frozenset[bytes] = frozenset()) -> Listing:
    """Of a namespace, those that began at one of these addresses (packed), or whose answers come from one; and which have one
    of `ends`, if there are any. Blocks. Raises NotFound, Denied, Failed."""
    return netns.call(ns, lambda: _listing(addresses, most, ends))


def _listing(addresses: Container[bytes], most: int, ends: frozenset[bytes]) -> Listing:
    kept: list[tuple[tuple[int, int], int, Tracked]] = []
    total = 0

    def decode(data: bytes, start: int, end: int) -> None:
        nonlocal total
        found = tracked(data, start, end) if may_concern(data, start, addresses) else None
        if found is None or not concerns(found, addresses) or not has_end(found, ends):
            return
        total += 1
        place = found.weight, total, found
        if len(kept) < most:
            heapq.heappush(kept, place)
        elif place > kept[0]:
            heapq.heapreplace(kept, place)

    get = u.NFNL_SUBSYS_CTNETLINK << 8 | u.IPCTNL_MSG_CT_GET
    try:
        with closing(Netlink(open_socket(u.NETLINK_NETFILTER))) as netlink:
            netlink.dump(get, NFGENMSG.pack(u.AF_UNSPEC, 0, 0), decode)
    except Refused as refused:
        raise Failed(f"connections cannot be listed: conntrack: {refused.text}") from None
    except OSError as error:
        raise Failed(f"connections cannot be listed: no nfnetlink: {error.strerror}") from None
    found = [each for _, _, each in sorted(kept, reverse=True)]
    return Listing(found, total, _is_on("nf_conntrack_acct"), _is_on("nf_conntrack_timestamp"))


def offloaded(ns: str) -> list[Tracked]:
    """Of a namespace, those that are in a flowtable. The kernel is asked for these alone (since Linux 5.15; earlier ones tell
    all). Blocks. Raises NotFound, Denied, Failed."""
    return netns.call(ns, _offloaded)


def _offloaded() -> list[Tracked]:
    def decode(data: bytes, start: int, end: int) -> Tracked | None:
        found = tracked(data, start, end)
        return found if found is not None and found.offloaded else None

    wanted = struct.pack(">I", u.IPS_OFFLOAD)
    body = NFGENMSG.pack(u.AF_UNSPEC, 0, 0) + attr(u.CTA_STATUS, wanted) + attr(_CTA_STATUS_MASK, wanted)
    get = u.NFNL_SUBSYS_CTNETLINK << 8 | u.IPCTNL_MSG_CT_GET
    try:
        with closing(Netlink(open_socket(u.NETLINK_NETFILTER))) as netlink:
            return netlink.dump(get, body, decode)
    except Refused as refused:
        raise Failed(f"connections cannot be listed: conntrack: {refused.text}") from None
    except OSError as error:
        raise Failed(f"connections cannot be listed: no nfnetlink: {error.strerror}") from None


def _is_on(setting: str) -> bool:
    try:
        return (_SETTINGS / setting).read_text().strip() != "0"
    except OSError:
        return False


def concerns(found: Tracked, addresses: Container[bytes]) -> bool:
    """Whether it began at one of these addresses, or is answered from one."""
    return found.there.src.packed in addresses or found.back.src.packed in addresses


def has_end(found: Tracked, ends: frozenset[bytes]) -> bool:
    """Whether one of these addresses is in it, on either side of a translation. None are all."""
    there, back = found.there, found.back
    return not ends or any(each.packed in ends for each in (there.src, there.dst, back.src, back.dst))


# -- events ------------------------------------------------------------------------------------------------------------


class Events:
    """Connections of one network namespace as they begin and end. The socket keeps the namespace alive. The kernel tells of
    the end of those only that began while somebody listened (nf_conntrack_events)."""

    def __init__(self, ns: str, rcvbuf: int = RCVBUF) -> None:
        """Raises NotFound, Denied, Failed."""
        try:
            self._sock = netns.call(ns, lambda: _listening(rcvbuf))
        except OSError as error:
            raise Failed(f"connections cannot be followed: {error.strerror}") from None
        self.overruns = 0
        """How often events came faster than they were read."""

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def read(self, addresses: Container[bytes], most: int) -> tuple[list[tuple[bool, Tracked]], int]:
        """What there is now that concerns these addresses, with whether it begins; and how many were looked at, which is
        about `most` at most. Raises Failed."""
        found: list[tuple[bool, Tracked]] = []
        looked = 0
        while looked < most:
            try:
                data = self._sock.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise Failed(f"connections cannot be followed: {error.strerror}") from None
                self.overruns += 1
                continue
            for kind, _flags, start, end in messages(data):
                looked += 1
                found += _event(kind, data, start + 16, end, addresses)
        return found, looked


def follow(ns: str) -> Events:
    """Raises NotFound, Denied, Failed."""
    return Events(ns)


def _listening(rcvbuf: int) -> socket.socket:
    sock = open_socket(u.NETLINK_NETFILTER, rcvbuf)
    try:
        for group in (u.NFNLGRP_CONNTRACK_NEW, u.NFNLGRP_CONNTRACK_DESTROY):
            sock.setsockopt(u.SOL_NETLINK, u.NETLINK_ADD_MEMBERSHIP, group)
    except BaseException:
        sock.close()
        raise
    return sock


_NEW, _END = (u.NFNL_SUBSYS_CTNETLINK << 8 | kind for kind in (u.IPCTNL_MSG_CT_NEW, u.IPCTNL_MSG_CT_DELETE))


def _event(kind: int, data: bytes, start: int, end: int, addresses: Container[bytes]) -> Iterator[tuple[bool, Tracked]]:
    if kind not in (_NEW, _END) or not may_concern(data, start, addresses):
        return
    found = tracked(data, start, end)
    if found is not None and concerns(found, addresses):
        yield kind == _NEW, found


# -- messages ----------------------------------------------------------------------------------------------------------


def tracked(data: bytes, start: int, end: int) -> Tracked | None:
    """None for what is neither IPv4 nor IPv6."""
    found = attributes(data, start + NFGENMSG.size, end)
    there = _side(data[start], found, u.CTA_TUPLE_ORIG, u.CTA_COUNTERS_ORIG)
    back = _side(data[start], found, u.CTA_TUPLE_REPLY, u.CTA_COUNTERS_REPLY)
    if there is None or back is None:
        return None
    began, ended = _times(found.get(u.CTA_TIMESTAMP, b""))
    return Tracked(
        protocol=there[1],
        there=there[0],
        back=back[0],
        state=_state(found),
        timeout=_number(found.get(u.CTA_TIMEOUT)),
        mark=_number(found.get(u.CTA_MARK)),
        offloaded=bool(_number(found.get(u.CTA_STATUS)) & (u.IPS_OFFLOAD | u.IPS_HW_OFFLOAD)),
        began=began,
        ended=ended,
    )


def _side(family: int, found: dict[int, bytes], tuple: int, counters: int) -> tuple[Side, int] | None:
    """And the protocol's number."""
    whole = found.get(tuple, b"")
    parts = attributes(whole, 0, len(whole))
    ip, proto = (parts.get(kind, b"") for kind in (u.CTA_TUPLE_IP, u.CTA_TUPLE_PROTO))
    addresses, about = attributes(ip, 0, len(ip)), attributes(proto, 0, len(proto))
    src, dst = (addresses.get(kind, b"") for kind in (_V4 if family == u.AF_INET else _V6))
    if len(src) not in (4, 16) or len(dst) not in (4, 16) or u.CTA_PROTO_NUM not in about:
        return None
    packets, octets = _counted(found.get(counters))
    return Side(
        src=ip_address(src),
        dst=ip_address(dst),
        sport=_port(about.get(u.CTA_PROTO_SRC_PORT)),
        dport=_port(about.get(u.CTA_PROTO_DST_PORT)),
        packets=packets,
        octets=octets,
    ), about[u.CTA_PROTO_NUM][0]


def _state(found: dict[int, bytes]) -> str:
    info = found.get(u.CTA_PROTOINFO, b"")
    tcp = attributes(info, 0, len(info)).get(u.CTA_PROTOINFO_TCP)
    if tcp is not None:
        number = attributes(tcp, 0, len(tcp)).get(u.CTA_PROTOINFO_TCP_STATE, b"\0")[0]
        return _TCP[number] if number < len(_TCP) else ""
    status = _number(found.get(u.CTA_STATUS))
    return "ASSURED" if status & u.IPS_ASSURED else "REPLIED" if status & u.IPS_SEEN_REPLY else "UNREPLIED"


def _counted(data: bytes | None) -> tuple[int | None, int | None]:
    if data is None:
        return None, None
    parts = attributes(data, 0, len(data))
    return _number(parts.get(u.CTA_COUNTERS_PACKETS)), _number(parts.get(u.CTA_COUNTERS_BYTES))


def _times(data: bytes) -> tuple[float, float]:
    """Unix seconds (the kernel has nanoseconds of real time)."""
    parts = attributes(data, 0, len(data))
    began, ended = (_number(parts.get(kind)) for kind in (u.CTA_TIMESTAMP_START, u.CTA_TIMESTAMP_STOP))
    return began / 1e9, ended / 1e9


def _port(data: bytes | None) -> int | None:
    return None if data is None else int.from_bytes(data, "big")


def _number(data: bytes | None) -> int:
    return int.from_bytes(data, "big") if data else 0
