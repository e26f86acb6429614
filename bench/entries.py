"""When neighbours and FDB entries come to be in a namespace: `python -m bench.entries PATH COUNT`, inside a lab's host.

Says "ready" when it listens, and after COUNT containers' entries prints, by MAC address, when the second of the two was
there: seconds of the monotonic clock, which all processes share. Entries of IPv4 neighbours and of the FDB are counted.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Iterator

import msgspec

from weft.base.errors import Failed
from weft.kernel.plumbing import netns

_NETLINK_ROUTE, _RTMGRP_NEIGH, _RTM_NEWNEIGH = 0, 4, 28
_NDA_LLADDR = 2
_SO_RCVBUFFORCE = 33
"""asm-generic/socket.h; Python does not name it."""
_HEADER, _NDMSG, _ATTRIBUTE = struct.Struct("IHHII"), struct.Struct("BxxxiHBB"), struct.Struct("HH")
"""rtnetlink(7): struct nlmsghdr, ndmsg, rtattr."""
_QUIET = 10.0
"""Seconds without a word of the kernel's: nothing more is to be expected."""


def listening(path: str) -> socket.socket:
    """On what the kernel tells of neighbours, the FDB's included, in that namespace."""

    def make() -> socket.socket:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)

    link = netns.call(path, make)
    link.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
    link.bind((0, _RTMGRP_NEIGH))
    link.settimeout(_QUIET)
    return link


def told(data: bytes) -> Iterator[tuple[int, str]]:
    """(address family, MAC address) of the new entries in a datagram."""
    start = 0
    while start < len(data):
        length, kind = _HEADER.unpack_from(data, start)[:2]
        if kind == _RTM_NEWNEIGH:
            family = _NDMSG.unpack_from(data, start + _HEADER.size)[0]
            mac = _lladdr(data[start + _HEADER.size + _NDMSG.size : start + length])
            yield family, mac.hex(":")
        start += (length + 3) & ~3


def _lladdr(attributes: bytes) -> bytes:
    start = 0
    while start < len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, start)
        if kind == _NDA_LLADDR:
            return attributes[start + _ATTRIBUTE.size : start + length]
        start += (length + 3) & ~3
    return b""


def watch(path: str, count: int) -> dict[str, float]:
    with listening(path) as link:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        first: dict[str, int] = {}
        both: dict[str, float] = {}
        while len(both) < count:
            try:
                data = link.recv(1 << 20)
            except TimeoutError:
                raise Failed(
                    f"{len(both)} of {count} containers' entries have come, and nothing for {_QUIET} s"
                ) from None
            now = time.monotonic()
            for family, mac in told(data):
                if first.setdefault(mac, family) != family and family in (socket.AF_INET, socket.AF_BRIDGE):
                    both.setdefault(mac, now)
    return both


if __name__ == "__main__":
    times = watch(sys.argv[1], int(sys.argv[2]))
    sys.stdout.write(msgspec.json.encode(times).decode() + "\n")
