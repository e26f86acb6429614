"""Router advertisements (RFC 4861 section 4.2), as any process with CAP_NET_RAW can send them."""

from __future__ import annotations

import socket
import struct

from support.namespaces import Namespace

_ALL_NODES = "ff02::1"
_HEAD = struct.Struct("!BBHBBHII")
_LIFETIME = 1800


def advertise(ns: Namespace, dev: str, router: str = "fe80::bad:1") -> None:
    """A router at this link-local address says, out of `dev`, that it is the way to everywhere."""
    source, to = socket.inet_pton(socket.AF_INET6, router), socket.inet_pton(socket.AF_INET6, _ALL_NODES)
    mac = b"\x02\0\0\0\x0b\xad"
    message = _HEAD.pack(134, 0, 0, 64, 0, _LIFETIME, 0, 0) + b"\x01\x01" + mac
    pseudo = source + to + struct.pack("!II", len(message), socket.IPPROTO_ICMPV6)
    message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    packet = struct.pack("!IHBB", 6 << 28, len(message), socket.IPPROTO_ICMPV6, 255) + source + to + message
    with ns.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((dev, 0))
        sock.send(b"\x33\x33\0\0\0\x01" + mac + b"\x86\xdd" + packet)


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF
