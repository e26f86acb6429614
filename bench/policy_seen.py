"""When rules of nftables change in a namespace: `python -m bench.policy_seen [SET]`, inside a lab's host. With SET only
changes of that set or map count.

Says "ready" when it listens; at the end of its input it prints when each change was there (seconds of the monotonic clock).
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

import msgspec

_NETLINK_NETFILTER, _NFNLGRP_NFTABLES, _SOL_NETLINK, _ADD = 12, 7, 270, 1
_NEWGEN, _ELEMENTS = 10 << 8 | 15, (10 << 8 | 12, 10 << 8 | 14)
"""NFNL_SUBSYS_NFTABLES with NFT_MSG_NEWGEN (linux/netfilter/nf_tables.h), a transaction is in force; and with
NFT_MSG_NEWSETELEM and NFT_MSG_DELSETELEM, which come before it."""
_SO_RCVBUFFORCE = 33
_HEADER = struct.Struct("=IHHII")


def watch(name: str = "") -> list[float]:
    seen: list[float] = []
    wanted, counts = name.encode() + b"\0", not name
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as link:
        link.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        link.bind((0, 0))
        link.setsockopt(_SOL_NETLINK, _ADD, _NFNLGRP_NFTABLES)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready, _, _ = select.select([link, sys.stdin], [], [])
            if link in ready:
                data, now = link.recv(1 << 20), time.monotonic()
                for kind, message in _messages(data):
                    counts = counts or (kind in _ELEMENTS and wanted in message)
                    if kind == _NEWGEN and counts:
                        seen.append(now)
                        counts = not name
            elif not sys.stdin.readline():
                return seen


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start + _HEADER.size <= len(data):
        length, kind = _HEADER.unpack_from(data, start)[:2]
        yield kind, data[start : start + length]
        start += (length + 3) & ~3


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(watch(*sys.argv[1:])).decode() + "\n")
