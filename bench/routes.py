"""When BIRD's routes come and go in the kernel: `python -m bench.routes new|del COUNT [PREFIX]`, inside a lab's host.

Says "ready" when it listens, and after COUNT of the kernel's messages about IPv4 routes of protocol bird (to PREFIX only, where
one is given) prints when the first and the last came: seconds of the monotonic clock, which all processes share.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import msgspec

from weft.base.errors import Failed

_NETLINK_ROUTE, _RTMGRP_IPV4_ROUTE = 0, 0x40
KINDS = {"new": 24, "del": 25}
"""RTM_NEWROUTE, RTM_DELROUTE."""
_RTPROT_BIRD, _RTA_DST = 12, 1
_SO_RCVBUFFORCE = 33
"""asm-generic/socket.h; Python does not name it."""
_HEADER, _RTMSG, _ATTRIBUTE = struct.Struct("IHHII"), struct.Struct("BBBBBBBBI"), struct.Struct("HH")
"""rtnetlink(7): struct nlmsghdr, rtmsg, rtattr."""
_QUIET = 60.0
"""Seconds without a word of the kernel's: nothing more is to be expected."""


class Times(msgspec.Struct):
    first: float
    last: float


def told(data: bytes, kind: int) -> Iterator[str]:
    """The destinations of BIRD's routes in a datagram."""
    start = 0
    while start < len(data):
        length, found = _HEADER.unpack_from(data, start)[:2]
        if found == kind:
            rtmsg = _RTMSG.unpack_from(data, start + _HEADER.size)
            if rtmsg[5] == _RTPROT_BIRD:
                yield f"{_destination(data[start + _HEADER.size + _RTMSG.size : start + length])}/{rtmsg[1]}"
        start += (length + 3) & ~3


def _destination(attributes: bytes) -> str:
    start = 0
    while start < len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, start)
        if kind == _RTA_DST:
            return str(IPv4Address(attributes[start + _ATTRIBUTE.size : start + length]))
        start += (length + 3) & ~3
    return "0.0.0.0"


def watch(kind: int, count: int, prefix: IPv4Network | None) -> Times:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as link:
        link.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        link.bind((0, _RTMGRP_IPV4_ROUTE))
        link.settimeout(_QUIET)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        seen: set[str] = set()
        first = 0.0
        while len(seen) < count:
            try:
                data = link.recv(1 << 20)
            except TimeoutError:
                raise Failed(f"{len(seen)} of {count} routes, and nothing for {_QUIET:.0f} s") from None
            now = time.monotonic()
            seen.update(to for to in told(data, kind) if prefix is None or to == str(prefix))
            first = first or (now if seen else 0.0)
    return Times(first, now)


if __name__ == "__main__":
    wanted = IPv4Network(sys.argv[3]) if len(sys.argv) > 3 else None
    times = watch(KINDS[sys.argv[1]], int(sys.argv[2]), wanted)
    sys.stdout.write(msgspec.json.encode(times).decode() + "\n")
