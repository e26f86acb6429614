"""Which packet is meant where somebody asks about one, in words."""

from __future__ import annotations

from weft.base.errors import Invalid
from weft.base.net import Family
from weft.base.numbers import is_number, parse_port
from weft.policy.verdict import PORTED, PROTOCOLS, Packet, number

_ECHO: dict[str, int] = {"icmp": 8, "icmpv6": 128}


def packet(protocol: str, port: str, fam: Family) -> Packet:
    """`protocol`: a name or number, "" for tcp; "icmp" is a ping in either family. Raises Invalid."""
    name = protocol.lower() or "tcp"
    if name in ("icmp", "icmpv6", "ipv6-icmp"):
        name = "icmp" if fam == 4 else "icmpv6"
    if name not in PROTOCOLS and not (is_number(name) and int(name) <= 255):
        raise Invalid(f"'{protocol}' is no protocol: use tcp, udp, sctp, icmp, another name, or a number up to 255")
    if port and number(name) not in PORTED:
        raise Invalid(f"{name} has no ports: leave the port out")
    is_ping = name in _ECHO
    return Packet(
        protocol=name,
        port=parse_port("port", port) if port else None,
        icmp_type=_ECHO.get(name),
        icmp_code=0 if is_ping else None,
    )
