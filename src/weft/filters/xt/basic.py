"""Matches that read the packet alone (net/netfilter/xt_tcpudp.c, xt_multiport.c, xt_iprange.c …)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from weft.filters.state import Judged, Run, Unknown
from weft.filters.xt.match import Decode, Given, Match, always, inverted, words
from weft.filters.xt.packet import Packet
from weft.filters.xt.words import address, not_, quoted, span, text

_TCP = struct.Struct("=HHHHBBBB")
_UDP = struct.Struct("=HHHHB")
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")


def _ports(option: str, low: int, high: int, invert: int) -> str:
    return "" if (low, high) == (0, 0xFFFF) and not invert else f"{not_(invert)}--{option} {span(low, high)}"


def _within(port: int, low: int, high: int, invert: object) -> bool:
    return (low <= port <= high) != bool(invert)


def tcp(given: Given) -> Match:
    slow, shigh, dlow, dhigh, option, mask, compare, inv = _TCP.unpack_from(given.data)
    asked = f"{not_(inv & 4)}--tcp-flags {_flags(mask)} {_flags(compare)}" if mask or inv & 4 else ""

    def judge(_run: Run, packet: Packet) -> Judged:
        head = packet.transport
        if packet.ports is None or packet.protocol != 6 or len(head) < 20:
            return False
        sport, dport = packet.ports
        return (
            _within(sport, slow, shigh, inv & 1)
            and _within(dport, dlow, dhigh, inv & 2)
            and (head[13] & mask == compare) != bool(inv & 4)
            and (not option or (option in _options(head)) != bool(inv & 8))
        )

    return Match(
        words(
            _ports("sport", slow, shigh, inv & 1),
            _ports("dport", dlow, dhigh, inv & 2),
            f"{not_(inv & 8)}--tcp-option {option}" if option or inv & 8 else "",
            asked,
        ),
        judge,
    )


def _flags(bits: int) -> str:
    return ",".join(name for place, name in enumerate(_FLAGS) if bits >> place & 1) or "NONE"


def _options(head: bytes) -> dict[int, bytes]:
    """TCP options by kind, with their content (RFC 9293, 3.1)."""
    found: dict[int, bytes] = {}
    at, end = 20, min((head[12] >> 4) * 4, len(head))
    while at < end and head[at] != 0:
        size = 1 if head[at] == 1 else head[at + 1] if at + 1 < end else 0
        if size == 0:
            break
        found[head[at]] = head[at + 2 : at + size]
        at += size
    return found


def udp(given: Given) -> Match:
    slow, shigh, dlow, dhigh, inv = _UDP.unpack_from(given.data)

    def judge(_run: Run, packet: Packet) -> Judged:
        if packet.ports is None or packet.protocol not in (17, 136):
            return False
        sport, dport = packet.ports
        return _within(sport, slow, shigh, inv & 1) and _within(dport, dlow, dhigh, inv & 2)

    return Match(words(_ports("sport", slow, shigh, inv & 1), _ports("dport", dlow, dhigh, inv & 2)), judge)


def icmp(option: str, protocol: int) -> Decode:
    any_type = 0xFF if protocol == 1 else None

    def decode(given: Given) -> Match:
        kind, low, high, inv = given.data[:4]

        def judge(_run: Run, packet: Packet) -> Judged:
            head = packet.transport
            if packet.protocol != protocol or len(head) < 2:
                return False
            return (kind == any_type or (head[0] == kind and low <= head[1] <= high)) != bool(inv & 1)

        code = "" if (low, high) == (0, 0xFF) else f"/{low}" if low == high else f"/{low}-{high}"
        return Match(f"{not_(inv & 1)}--{option} {'any' if kind == any_type else f'{kind}{code}'}", judge)

    return decode


def multiport(given: Given) -> Match:
    where, count = given.data[:2]
    ports = struct.unpack_from("=15H", given.data, 2)[:count]
    ranged = given.data[32 : 32 + count] if given.revision else bytes(count)
    inv = given.data[47] if given.revision else 0
    spans: list[tuple[int, int]] = []
    begun: int | None = None
    for port, more in zip(ports, ranged, strict=True):
        if more and begun is None:
            begun = port
            continue
        spans.append((port if begun is None else begun, port))
        begun = None

    def judge(_run: Run, packet: Packet) -> Judged:
        if packet.ports is None:
            return False
        asked = packet.ports if where == 2 else packet.ports[where : where + 1]
        return any(low <= port <= high for low, high in spans for port in asked) != bool(inv)

    option = ("sports", "dports", "ports")[min(where, 2)]
    return Match(f"{not_(inv)}--{option} {','.join(span(low, high) for low, high in spans)}", judge)


def iprange(given: Given) -> Match:
    size = 16
    ends = [address(given.data[n * size : (n + 1) * size], given.family) for n in range(4)]
    flags = given.data[64]

    def judge(_run: Run, packet: Packet) -> Judged:
        pairs = ((packet.src, *ends[:2], flags & 1, flags & 0x10), (packet.dst, *ends[2:], flags & 2, flags & 0x20))
        return all(not asked or (int(low) <= int(at) <= int(high)) != bool(inv) for at, low, high, asked, inv in pairs)

    return Match(
        words(
            f"{not_(flags & 0x10)}--src-range {ends[0]}-{ends[1]}" if flags & 1 else "",
            f"{not_(flags & 0x20)}--dst-range {ends[2]}-{ends[3]}" if flags & 2 else "",
        ),
        judge,
    )


def length(given: Given) -> Match:
    low, high, inv = struct.unpack_from("=HHB", given.data)
    return Match(
        f"{not_(inv)}--length {span(low, high)}",
        lambda _run, packet: (low <= packet.length - (40 if packet.family == 6 else 0) <= high) != bool(inv),
    )


def dscp(given: Given) -> Match:
    value, inv = given.data[:2]
    return Match(f"{not_(inv)}--dscp {value:#04x}", lambda _run, packet: (packet.tos >> 2 == value) != bool(inv))


def tos(given: Given) -> Match:
    mask, value, inv = given.data[:3]
    return Match(
        f"{not_(inv)}--tos {value:#04x}/{mask:#04x}", lambda _run, packet: (packet.tos & mask == value) != bool(inv)
    )


def hops(name: str) -> Decode:
    """ttl and hl. Modes: equal, not equal, less, greater."""
    compare: tuple[tuple[str, Callable[[int, int], bool]], ...] = (
        (f"--{name}-eq", lambda a, b: a == b),
        (f"! --{name}-eq", lambda a, b: a != b),
        (f"--{name}-lt", lambda a, b: a < b),
        (f"--{name}-gt", lambda a, b: a > b),
    )

    def decode(given: Given) -> Match:
        mode, value = given.data[:2]
        option, holds = compare[mode]
        return Match(f"{option} {value}", lambda _run, packet: holds(packet.ttl, value))

    return decode


def tcpmss(given: Given) -> Match:
    low, high, inv = struct.unpack_from("=HHB", given.data)

    def judge(_run: Run, packet: Packet) -> Judged:
        if packet.protocol != 6 or len(packet.transport) < 20:
            return False
        told = _options(packet.transport).get(2)
        return inverted(low <= int.from_bytes(told, "big") <= high, inv) if told else bool(inv)

    return Match(f"{not_(inv)}--mss {span(low, high)}", judge)


def comment(given: Given) -> Match:
    return Match(f"--comment {quoted(text(given.data))}", always)


def mac(given: Given) -> Match:
    source, (inv,) = given.data[:6], struct.unpack_from("=i", given.data, 8)

    def judge(run: Run, _packet: Packet) -> Judged:
        if len(run.seen.link) < 14:
            return Unknown("which MAC address the packet comes from") if run.seen.iif else False
        return (run.seen.link[6:12] == source) != bool(inv)

    return Match(f"{not_(inv)}--mac-source {source.hex(':')}", judge)


def headers(given: Given) -> Match:
    """ipv6header. Bits of MASK_*: hop-by-hop, destination options, routing, fragment, AH, ESP, none, upper protocol."""
    names = ("prot", "ipv6-nonxt", "esp", "ah", "ipv6-frag", "ipv6-route", "ipv6-opts", "hopopt")
    numbers = {51: 3, 44: 4, 43: 5, 60: 6, 0: 7}
    bits, inv, soft = given.data[:3]

    def judge(_run: Run, packet: Packet) -> Judged:
        found = sum(1 << numbers[n] for n in {*packet.extensions} & numbers.keys())
        found |= {50: 4, 59: 2}.get(packet.protocol, 1)
        return (bool(found & bits) if soft else found == bits) != bool(inv)

    listed = ",".join(name for place, name in reversed([*enumerate(names)]) if bits >> place & 1)
    return Match(words(f"{not_(inv)}--header {listed}", "--soft" if soft else ""), judge)


MATCHES: dict[str, Decode] = {
    "tcp": tcp,
    "udp": udp,
    "udplite": udp,
    "icmp": icmp("icmp-type", 1),
    "icmp6": icmp("icmpv6-type", 58),
    "multiport": multiport,
    "iprange": iprange,
    "length": length,
    "dscp": dscp,
    "tos": tos,
    "ttl": hops("ttl"),
    "hl": hops("hl"),
    "tcpmss": tcpmss,
    "comment": comment,
    "mac": mac,
    "ipv6header": headers,
}
