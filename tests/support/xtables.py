"""Packets as rules of iptables see them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from weft.filters.model import Device, Seen, Tuple
from weft.filters.octets import packet


def seen(
    src: str,
    dst: str,
    *,
    protocol: int = 6,
    sport: int = 40000,
    dport: int = 80,
    iif: str = "",
    oif: str = "",
    flags: int = 2,
    **more: Any,
) -> Seen:
    what = Tuple(protocol, ip_address(src), ip_address(dst), sport, dport)
    return Seen(
        octets=packet(what, flags=flags),
        protocol=0x86DD if ":" in src else 0x0800,
        iif=Device(name=iif) if iif else None,
        oif=Device(name=oif) if oif else None,
        **more,
    )
