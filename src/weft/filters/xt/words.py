"""Words that all matches and targets share: names of protocols, numbers with masks, texts in quotes."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from weft.base.net import IPAddress

PROTOCOLS = {
    1: "icmp",
    2: "igmp",
    4: "ipencap",
    6: "tcp",
    17: "udp",
    33: "dccp",
    41: "ipv6",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    89: "ospf",
    103: "pim",
    112: "vrrp",
    132: "sctp",
    136: "udplite",
}
"""As iptables-save writes them (xtables_proto_to_name(), /etc/protocols)."""
_PLAIN = re.compile(r"[A-Za-z0-9_\-]+")


def protocol(number: int) -> str:
    return PROTOCOLS.get(number, str(number))


def quoted(text: str) -> str:
    """xtables_save_string()."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = re.sub(r"([\"\\'])", r"\\\1", text)
    return f'"{escaped}"'


def text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")


def not_(inverted: object) -> str:
    return "! " if inverted else ""


def masked(value: int, mask: int) -> str:
    """xtables_save_mark()-like: the mask is left out where it is all bits."""
    return f"{value:#x}" if mask == 0xFFFFFFFF else f"{value:#x}/{mask:#x}"


def span(low: int, high: int, between: str = ":") -> str:
    return str(low) if low == high else f"{low}{between}{high}"


def address(data: bytes, family: int) -> IPAddress:
    """Of a union nf_inet_addr, or an address of that family."""
    return IPv4Address(data[:4]) if family == 4 else IPv6Address(data[:16])


def prefix(data: bytes, mask: bytes, family: int) -> str:
    """With its length; with the mask itself where that is not a prefix's. Without either for a whole address (as within
    options; with -s and -d iptables-save always writes a length)."""
    size = 4 if family == 4 else 16
    bits = int.from_bytes(mask[:size], "big")
    length = bits.bit_count()
    whole = (1 << size * 8) - 1
    at = address(data, family)
    if bits == whole:
        return str(at)
    return f"{at}/{length if bits == whole ^ (whole >> length) else address(mask, family)}"


def inside(at: IPAddress, data: bytes, mask: bytes) -> bool:
    size = at.max_prefixlen // 8
    bits = int.from_bytes(mask[:size], "big")
    return int(at) & bits == int.from_bytes(data[:size], "big") & bits
