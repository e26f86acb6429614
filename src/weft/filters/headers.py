"""Where the headers of a packet begin, as nf_tables finds out before its chains run (nft_set_pktinfo_ipv4(),
nft_set_pktinfo_ipv6() in the kernel)."""

from __future__ import annotations

import msgspec

IP, IPV6, ARP = 0x0800, 0x86DD, 0x0806
TCP, UDP, ICMP, ICMPV6, SCTP = 6, 17, 1, 58, 132
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _NONE, _OPTIONS, _MOBILITY = 0, 43, 44, 51, 59, 60, 135
_EXTENSIONS = frozenset((_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _OPTIONS, _MOBILITY))


class Headers(msgspec.Struct, frozen=True):
    """`protocol`: of the transport header, None where there is none to find. `transport`: its offset. `fragment`: offset in
    octets of a fragment. `extensions`: of IPv6, (type, offset)."""

    version: int
    protocol: int | None = None
    transport: int = 0
    fragment: int = 0
    extensions: tuple[tuple[int, int], ...] = ()

    def inner(self, octets: bytes) -> int | None:
        """Offset of what the transport header carries, None where that is not known (nft_payload_inner_offset())."""
        if self.protocol is None or self.fragment:
            return None
        if self.protocol == TCP:
            return (
                self.transport + (octets[self.transport + 12] >> 4) * 4 if len(octets) > self.transport + 12 else None
            )
        return self.transport + {UDP: 8, ICMP: 8, ICMPV6: 8, SCTP: 12}.get(self.protocol, 0)


def headers(octets: bytes, protocol: int) -> Headers:
    """`protocol`: the EtherType."""
    if protocol == IP and len(octets) >= 20 and octets[0] >> 4 == 4:
        fragment = (int.from_bytes(octets[6:8], "big") & 0x1FFF) * 8
        return Headers(4, octets[9], (octets[0] & 15) * 4, fragment)
    if protocol == IPV6 and len(octets) >= 40 and octets[0] >> 4 == 6:
        return _ipv6(octets)
    return Headers(0)


def _ipv6(octets: bytes) -> Headers:
    """As ipv6_find_hdr() goes through the extensions."""
    kind, at, fragment = octets[6], 40, 0
    found: list[tuple[int, int]] = []
    while kind in _EXTENSIONS:
        if at + 8 > len(octets):
            return Headers(6, None, at, fragment, tuple(found))
        found.append((kind, at))
        following = octets[at]
        if kind == _FRAGMENT:
            fragment = int.from_bytes(octets[at + 2 : at + 4], "big") & 0xFFF8
            at += 8
            if fragment:
                return Headers(6, following, at, fragment, tuple(found))
        else:
            at += (octets[at + 1] + 2) * 4 if kind == _AH else (octets[at + 1] + 1) * 8
        kind = following
    return Headers(6, None if kind == _NONE else kind, at, fragment, tuple(found))
