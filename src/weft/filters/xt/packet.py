"""What matches of iptables read of a packet: the fields of its headers, found where the kernel finds them."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from weft.base.net import IPAddress
from weft.filters.headers import headers


class Packet(NamedTuple):
    """`protocol`: of the transport header, which is at `at`. `fragment`: it is not the first one, so there is no transport
    header. `length`: of the whole packet, by its header. `extensions`: protocol numbers of the IPv6 headers before `at`."""

    octets: bytes
    family: int
    src: IPAddress
    dst: IPAddress
    tos: int
    ttl: int
    length: int
    protocol: int
    at: int
    fragment: bool
    extensions: tuple[int, ...] = ()

    @property
    def transport(self) -> bytes:
        return b"" if self.fragment else self.octets[self.at :]

    @property
    def ports(self) -> tuple[int, int] | None:
        """Source and destination, where the protocol has any (TCP, UDP, UDP-Lite, SCTP, DCCP) and they are in the packet."""
        head = self.transport
        if self.protocol not in (6, 17, 33, 132, 136) or len(head) < 4:
            return None
        return int.from_bytes(head[:2], "big"), int.from_bytes(head[2:4], "big")


@lru_cache(maxsize=64)
def parse(octets: bytes, ethertype: int) -> Packet | None:
    """None for what is neither IPv4 nor IPv6, or is cut off."""
    found = headers(octets, ethertype)
    if found.version == 0:
        return None
    v4 = found.version == 4
    length = int.from_bytes(octets[2:4] if v4 else octets[4:6], "big")
    return Packet(
        octets=octets,
        family=found.version,
        src=IPv4Address(octets[12:16]) if v4 else IPv6Address(octets[8:24]),
        dst=IPv4Address(octets[16:20]) if v4 else IPv6Address(octets[24:40]),
        tos=octets[1] if v4 else int.from_bytes(octets[:2], "big") >> 4 & 0xFF,
        ttl=octets[8] if v4 else octets[7],
        length=length if v4 else length + 40,
        protocol=59 if found.protocol is None else found.protocol,
        at=found.transport,
        fragment=found.fragment != 0,
        extensions=tuple(kind for kind, _at in found.extensions),
    )
