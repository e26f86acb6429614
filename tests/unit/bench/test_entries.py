from __future__ import annotations

import socket
import struct

from bench.entries import told

MAC = bytes.fromhex("02420a140003")


def message(kind: int, family: int, *attributes: tuple[int, bytes]) -> bytes:
    """As the kernel sends it (rtnetlink(7)): each part at a multiple of four octets."""
    body = struct.pack("BxxxiHBB", family, 7, 0x80, 0, 1)
    for number, value in attributes:
        body += struct.pack("HH", 4 + len(value), number) + value + bytes(-len(value) % 4)
    return struct.pack("IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_new_entries_are_told_with_family_and_mac() -> None:
    neighbour = message(28, socket.AF_INET, (1, bytes([10, 20, 0, 3])), (2, MAC))
    entry = message(28, socket.AF_BRIDGE, (2, MAC), (1, bytes([192, 168, 1, 12])))
    gone = message(29, socket.AF_BRIDGE, (2, MAC))
    bare = message(28, socket.AF_INET6, (1, bytes(16)))
    mac = "02:42:0a:14:00:03"
    assert list(told(neighbour + entry + gone + bare)) == [(socket.AF_INET, mac), (socket.AF_BRIDGE, mac), (10, "")]
