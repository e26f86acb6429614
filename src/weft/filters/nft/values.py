"""Octets of registers and elements as nft writes them, by what they are."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from weft.filters.nft.machine import ORDER

PROTOCOLS = {
    1: "icmp",
    2: "igmp",
    4: "ipip",
    6: "tcp",
    17: "udp",
    33: "dccp",
    41: "ipv6",
    47: "gre",
    50: "esp",
    51: "ah",
}
PROTOCOLS |= {58: "ipv6-icmp", 108: "comp", 132: "sctp", 136: "udplite"}
_ETHERTYPES = {0x0800: "ip", 0x86DD: "ip6", 0x0806: "arp", 0x8100: "vlan", 0x88A8: "8021ad"}
_NFPROTO = {2: "ipv4", 10: "ipv6", 3: "arp", 5: "netdev", 7: "bridge"}
_STATES = {1: "invalid", 2: "established", 4: "related", 8: "new", 64: "untracked"}
_STATUS = {1: "expected", 2: "seen-reply", 4: "assured", 8: "confirmed", 16: "snat", 32: "dnat", 512: "dying"}
_TCP_FLAGS = {1: "fin", 2: "syn", 4: "rst", 8: "psh", 16: "ack", 32: "urg", 64: "ecn", 128: "cwr"}
_ICMP = {0: "echo-reply", 3: "destination-unreachable", 4: "source-quench", 5: "redirect", 8: "echo-request"}
_ICMP |= {9: "router-advertisement", 10: "router-solicitation", 11: "time-exceeded", 12: "parameter-problem"}
_ICMPV6 = {1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded", 4: "parameter-problem"}
_ICMPV6 |= {128: "echo-request", 129: "echo-reply", 130: "mld-listener-query", 131: "mld-listener-report"}
_ICMPV6 |= {132: "mld-listener-done", 133: "nd-router-solicit", 134: "nd-router-advert", 135: "nd-neighbor-solicit"}
_ICMPV6 |= {136: "nd-neighbor-advert", 137: "nd-redirect", 143: "mld2-listener-report"}
_TYPES = ("unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit")
Write = Callable[[bytes], str]


def _big(data: bytes) -> str:
    return str(int.from_bytes(data, "big"))


def _own(data: bytes) -> int:
    return int.from_bytes(data, ORDER)


def _named(names: dict[int, str], byteorder: str = "big") -> Write:
    def write(data: bytes) -> str:
        number = _own(data) if byteorder == "host" else int.from_bytes(data, "big")
        return names.get(number, str(number))

    return write


def _bits(names: dict[int, str]) -> Write:
    def write(data: bytes) -> str:
        number = _own(data)
        return ",".join(name for bit, name in names.items() if number & bit) or f"0x{number:x}"

    return write


def _name(data: bytes) -> str:
    """A comparison with a name that has no end is with its beginning."""
    text = data.split(b"\0", 1)[0].decode(errors="replace")
    return f'"{text}"' if b"\0" in data else f'"{text}*"'


WRITE: dict[str, Write] = {
    "ip": lambda data: str(ip_address(data)) if len(data) in (4, 16) else "0x" + data.hex(),
    "number": _big,
    "own": lambda data: str(_own(data)),
    "hex": lambda data: "0x" + data.hex(),
    "mark": lambda data: f"0x{_own(data):08x}",
    "name": _name,
    "protocol": _named(PROTOCOLS),
    "ethertype": _named(_ETHERTYPES),
    "nfproto": _named(_NFPROTO),
    "state": _bits(_STATES),
    "status": _bits(_STATUS),
    "flags": _bits(_TCP_FLAGS),
    "icmp": _named(_ICMP),
    "icmpv6": _named(_ICMPV6),
    "operation": _named({1: "request", 2: "reply"}),
    "mac": lambda data: data.hex(":"),
    "pkttype": _named({0: "host", 1: "broadcast", 2: "multicast", 3: "other"}),
    "direction": _named({0: "original", 1: "reply"}),
    "type": _named(dict(enumerate(_TYPES)), "host"),
    "exists": lambda data: "exists" if any(data) else "missing",
}

KEY_TYPES = {7: "ip", 8: "ip", 9: "mac", 10: "ethertype", 12: "protocol", 13: "number", 14: "icmp", 15: "flags"}
KEY_TYPES |= {
    19: "mark",
    20: "own",
    26: "state",
    27: "direction",
    28: "status",
    29: "icmpv6",
    41: "name",
    46: "pkttype",
}
"""Kinds by nft's numbers of types (enum datatypes in nftables' datatype.h)."""


def key_kinds(number: int) -> list[str]:
    """Of a set's key: several where fields go together, six bits for each."""
    found: list[str] = []
    while number:
        found.insert(0, KEY_TYPES.get(number & 63, "hex"))
        number >>= 6
    return found


def prefix(mask: bytes) -> int | None:
    """How long, None where it is not a prefix's mask."""
    whole, bits = (1 << len(mask) * 8) - 1, int.from_bytes(mask, "big")
    length = bits.bit_count()
    return length if bits == whole ^ (whole >> length) else None
