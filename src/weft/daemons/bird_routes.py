"""BIRD's routes in the kernel, and who removes them.

BIRD looks through the kernel's routes once a minute and hears of no change to its own in between. Other programs do remove
them: systemd-networkd, when it starts again, clears its devices of routes that it does not know (systemd#25451). So the
kernel's own notices are listened to (RTM_DELROUTE, rtnetlink(7)). Each names the netlink port of who asked for the removal;
those of BIRD's own sockets are in /proc/net/netlink.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from weft.base.net import Family
from weft.bgp.config import METRIC
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import attributes, messages, open_socket

RTPROT_BIRD: Final = 12
_FAMILIES: dict[int, Family] = {u.AF_INET: 4, u.AF_INET6: 6}
_RCVBUF: Final = 1 << 20
_RTM_SIZE: Final = 12
_PROTOCOL: Final = 16 + 5
"""Where in a message struct rtmsg has its protocol, behind the netlink header."""
_SO_ATTACH_FILTER: Final = 26


class LostRoutes:
    """Readable while routes of BIRD's were removed. `pid`: BIRD's process."""

    def __init__(self, pid: Callable[[], int | None]) -> None:
        self._pid = pid
        self._sock = open_socket(u.NETLINK_ROUTE, _RCVBUF)
        _only_removals(self._sock)
        for group in (u.RTNLGRP_IPV4_ROUTE, u.RTNLGRP_IPV6_ROUTE):
            self._sock.setsockopt(u.SOL_NETLINK, u.NETLINK_ADD_MEMBERSHIP, group)
        self._sock.setblocking(False)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def drain(self) -> frozenset[Family]:
        """The families of which somebody else than BIRD has removed routes of BIRD's since the last call."""
        removed = set(self._removals())
        if not removed:
            return frozenset()
        own = _ports(self._pid())
        if own is None:  # not known: better a minute late than for ever busy with BIRD's own removals
            return frozenset()
        return frozenset(family for family, port in removed if port not in own)

    def _removals(self) -> Iterator[tuple[Family, int]]:
        """Each one's family, and the port of who asked for it."""
        while True:
            try:
                data = self._sock.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield from ((family, -1) for family in _FAMILIES.values())  # more than the kernel could tell
                continue
            for kind, _, start, end in messages(data):
                family = _FAMILIES.get(data[start + 16])
                if kind == u.RTM_DELROUTE and family and _metric(data, start + 16, end) == METRIC:
                    yield family, struct.unpack_from("=I", data, start + 12)[0]


def _metric(data: bytes, start: int, end: int) -> int:
    found = attributes(data, start + _RTM_SIZE, end).get(u.RTA_PRIORITY)
    return struct.unpack("=I", found)[0] if found else 0


def _ports(pid: int | None) -> frozenset[int] | None:
    """Of a process's netlink sockets; None where they are not known."""
    if pid is None:
        return frozenset()
    try:
        process = Path("/proc", str(pid))
        inodes = {fd.stat().st_ino for fd in (process / "fd").iterdir()}
        rows = [line.split() for line in (process / "net/netlink").read_text().splitlines()[1:]]
    except OSError:
        return None
    return frozenset(int(row[2]) for row in rows if int(row[9]) in inodes)


def _only_removals(sock: socket.socket) -> None:
    """Have the kernel keep all else from us, such as the routes of containers that come and go: a classic BPF program
    (linux/filter.h) that passes RTM_DELROUTE with BIRD's protocol. It loads in network order, netlink is in the host's."""
    kind = int.from_bytes(struct.pack("=H", u.RTM_DELROUTE), "big")
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x28, 0, 0, 4),  # A = 2 octets at 4: nlmsg_type
            (0x15, 0, 3, kind),  # other: drop
            (0x30, 0, 0, _PROTOCOL),  # A = the octet there
            (0x15, 0, 1, RTPROT_BIRD),  # other: drop
            (0x06, 0, 0, 0xFFFF),  # pass
            (0x06, 0, 0, 0),  # drop
        )
    )
    buffer = ctypes.create_string_buffer(program)
    sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    )
