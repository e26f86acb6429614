"""When rules of nftables change in a namespace: `python -m bench.policy_seen`, inside a lab's host.

Says "ready" when it listens; at the end of its input it prints when each change was there (seconds of the monotonic clock).
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time

import msgspec

_NETLINK_NETFILTER, _NFNLGRP_NFTABLES, _SOL_NETLINK, _ADD = 12, 7, 270, 1
_NEWGEN = 10 << 8 | 15
"""NFNL_SUBSYS_NFTABLES and NFT_MSG_NEWGEN (linux/netfilter/nf_tables.h): a transaction is in force."""
_SO_RCVBUFFORCE = 33
_HEADER = struct.Struct("=IHHII")


def watch() -> list[float]:
    seen: list[float] = []
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
                seen += [now for kind in _kinds(data) if kind == _NEWGEN]
            elif not sys.stdin.readline():
                return seen


def _kinds(data: bytes) -> list[int]:
    found, start = [], 0
    while start + _HEADER.size <= len(data):
        length, kind = _HEADER.unpack_from(data, start)[:2]
        found.append(kind)
        start += (length + 3) & ~3
    return found


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(watch()).decode() + "\n")
