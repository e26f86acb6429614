from __future__ import annotations

import socket
import struct

from bench.routes import KINDS, told

BIRD, WEFT = 12, 87


def message(kind: int, protocol: int, *attributes: tuple[int, bytes]) -> bytes:
    """As the kernel sends it (rtnetlink(7)): each part at a multiple of four octets."""
    body = struct.pack("BBBBBBBBI", socket.AF_INET, 26, 0, 0, 254, protocol, 0, 1, 0)
    for number, value in attributes:
        body += struct.pack("HH", 4 + len(value), number) + value + bytes(-len(value) % 4)
    return struct.pack("IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_routes_of_birds_are_told_with_their_prefix() -> None:
    block, other = bytes([10, 128, 0, 64]), bytes([10, 128, 1, 0])
    new = message(24, BIRD, (15, bytes(4)), (1, block), (5, bytes(4)))
    data = new + message(24, WEFT, (1, other)) + message(25, BIRD, (1, other))
    assert list(told(data, KINDS["new"])) == ["10.128.0.64/26"]
    assert list(told(data, KINDS["del"])) == ["10.128.1.0/26"]
