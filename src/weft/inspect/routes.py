"""By which devices a namespace's packets leave. Asked of the kernel, whose answer follows its rules and takes the same time
however many routes there are (RTM_GETROUTE, as `ip route get`)."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from socket import AF_INET, AF_INET6, inet_pton

from weft.base.errors import WeftError
from weft.inspect.find import Place
from weft.inspect.graph import Graph
from weft.inspect.read import visit
from weft.inspect.way import Outlets
from weft.inspect.wire import TUNNELS
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import Netlink, attr, attributes

OUTSIDE = ((AF_INET, "192.0.2.1"), (AF_INET6, "2001:db8::1"))
"""Of documentation (RFC 5737, RFC 3849): nobody has routes to them but the default one."""

_RTMSG = struct.Struct("=BBBBBBBBI")


def asking(places: Mapping[int, Place], graph: Graph) -> Callable[[int], Outlets]:
    """A function for `way`; what it has asked once it remembers."""
    known: dict[int, Outlets] = {}

    def ask(ns: int) -> Outlets:
        if ns not in known:
            tunnels = [raw.index for key, raw in graph.raw.items() if key[0] == ns and raw.kind in TUNNELS and raw.up]
            found = visit([places[ns]], lambda netlink, _: outlets(netlink, tunnels)) if ns in places else {}
            answer = found.get(ns)
            known[ns] = answer if isinstance(answer, Outlets) else Outlets()
        return known[ns]

    return ask


def outlets(netlink: Netlink, tunnels: Iterable[int]) -> Outlets:
    default = [device for family, address in OUTSIDE if (device := _device(netlink, family, address))]
    return Outlets(
        default=tuple(dict.fromkeys(default)), tunnels=tuple(index for index in tunnels if _has_routes(netlink, index))
    )


def _device(netlink: Netlink, family: int, address: str) -> int:
    """0: there is no route."""
    packed = inet_pton(family, address)
    body = _RTMSG.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0) + attr(u.RTA_DST, packed)
    try:
        answer = netlink.request(u.RTM_GETROUTE, 0, body)
    except WeftError:
        return 0
    found = attributes(answer, _RTMSG.size, len(answer)).get(u.RTA_OIF)
    return int.from_bytes(found, sys.byteorder) if found else 0


def _has_routes(netlink: Netlink, device: int) -> bool:
    """Unicast ones in the main table, but those that every IPv6 device has."""
    return any(netlink.dump(u.RTM_GETROUTE, _by(family, device), _is_unicast) for family, _ in OUTSIDE)


def _by(family: int, device: int) -> bytes:
    head = _RTMSG.pack(family, 0, 0, 0, _MAIN, 0, 0, _UNICAST, 0)
    return head + attr(u.RTA_OIF, struct.pack("=I", device))


_MAIN, _UNICAST, _LINK_LOCAL = 254, 1, inet_pton(AF_INET6, "fe80::")


def _is_unicast(data: bytes, start: int, end: int) -> bool | None:
    found = attributes(data, start + _RTMSG.size, end)
    return None if found.get(u.RTA_DST) == _LINK_LOCAL else True
