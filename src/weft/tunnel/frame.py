"""Datagrams that carry frames: what is ahead of each, and what is looked at in an Ethernet header.

octet 0  version
      1  how often it may still be passed on
      2  number of the host that it comes from
      4  number of the host that it is for
      6  network (three octets)
      9  what follows: a frame (CLEAR, SEALED), or what hosts tell each other before they encrypt
"""

from __future__ import annotations

import struct

from weft.tunnel.packet import length

VERSION, HOPS = 1, 2
"""It may be passed on once."""
CLEAR, SEALED, HELLO, WELCOME, STALE = range(5)
HEAD = struct.Struct(">BBHHI")
"""Network and what follows are one number."""
TTL_AT = 1
ETHERNET = 14
_IP = {b"\x08\x00": ETHERNET, b"\x86\xdd": ETHERNET}
_VLAN, _TAG = b"\x81\x00", 4


def head(source: int, destination: int, network: int, kind: int, hops: int = HOPS) -> bytes:
    return HEAD.pack(VERSION, hops, source, destination, network << 8 | kind)


def l3(frame: memoryview) -> int:
    """Where the IP header begins; 0 where there is none."""
    kind = bytes(frame[12:14])
    if kind != _VLAN:
        return _IP.get(kind, 0)
    return ETHERNET + _TAG if bytes(frame[16:18]) in _IP else 0


def packet(frame: memoryview) -> memoryview:
    """The IP packet in it, without what Ethernet adds to short ones; nothing where there is none, or not all of it."""
    begin = l3(frame)
    found = frame[begin:] if begin else frame[:0]
    octets = length(found)
    return found[:octets] if octets <= len(found) else found[:0]
