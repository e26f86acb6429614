"""When elements come to be in a set of nftables: `python -m bench.elements_seen PATH SET`, inside a lab's host, where PATH is
of a namespace.

Says "ready" when it listens, and then when each element came: seconds of the monotonic clock, which all processes share, a
line for each.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

from weft.kernel.plumbing import netns

_NETLINK_NETFILTER, _NFNLGRP_NFTABLES = 12, 7
_NEWSETELEM = 10 << 8 | 12
"""linux/netfilter/nfnetlink.h, nf_tables.h: NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWSETELEM."""
_QUIET = 10.0
"""Seconds without a word of the kernel's: nothing more is to be expected, and it ends."""
_HEADER = struct.Struct("IHHII")


def listening(path: str) -> socket.socket:
    link = netns.call(path, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER))
    link.settimeout(_QUIET)
    link.bind((0, 1 << (_NFNLGRP_NFTABLES - 1)))
    return link


def comes(data: bytes, name: str) -> bool:
    """Whether a datagram tells of a new element in the set."""
    start, wanted = 0, name.encode() + b"\0"
    while start < len(data):
        length, kind = _HEADER.unpack_from(data, start)[:2]
        if kind == _NEWSETELEM and wanted in data[start : start + length]:
            return True
        start += (length + 3) & ~3
    return False


def main(path: str, name: str) -> None:
    with listening(path) as link:
        line = "ready"
        while True:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            while not comes(link.recv(1 << 20), name):
                pass
            line = str(time.monotonic())


if __name__ == "__main__":
    main(*sys.argv[1:])
