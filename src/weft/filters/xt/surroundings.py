"""Matches that ask the host: its devices, addresses, routes, programs (net/netfilter/xt_addrtype.c, xt_physdev.c,
xt_rpfilter.c, xt_owner.c, xt_pkttype.c, xt_socket.c, xt_set.c)."""

from __future__ import annotations

import struct

from weft.filters.state import Judged, Run, Unknown
from weft.filters.xt.match import Decode, Given, Match, inverted, words
from weft.filters.xt.packet import Packet
from weft.filters.xt.words import not_, span, text

_TYPES = (
    "UNSPEC",
    "UNICAST",
    "LOCAL",
    "BROADCAST",
    "ANYCAST",
    "MULTICAST",
    "BLACKHOLE",
    "UNREACHABLE",
    "PROHIBIT",
    "THROW",
    "NAT",
    "XRESOLVE",
)


def addrtype(given: Given) -> Match:
    if given.revision:
        source, destination, flags = struct.unpack_from("=HHI", given.data)
    else:
        source, destination, not_source, not_destination = struct.unpack_from("=HHII", given.data)
        flags = bool(not_source) | bool(not_destination) << 1
    limits = words("--limit-iface-in" if flags & 4 else "", "--limit-iface-out" if flags & 8 else "")

    def judge(run: Run, packet: Packet) -> Judged:
        answers: list[Judged] = []
        for at, mask, inv in ((packet.src, source, flags & 1), (packet.dst, destination, flags & 2)):
            if mask:
                kind = run.seen.local.get(at)
                if kind is None or flags & 12:
                    answers.append(Unknown(f"of which type {at} is here"))
                else:
                    answers.append(inverted(bool(mask >> _TYPES.index(kind.upper()) & 1), inv))
        return _all(answers)

    def option(name: str, mask: int, inv: int) -> str:
        listed = ",".join(kind for place, kind in enumerate(_TYPES) if mask >> place & 1)
        return f"{not_(inv)}--{name}-type {listed}" if mask else ""

    return Match(words(option("src", source, flags & 1), option("dst", destination, flags & 2), limits), judge)


def _all(answers: list[Judged]) -> Judged:
    """False if any of them is, whatever is unknown of the others."""
    if any(answer is False for answer in answers):
        return False
    return next((answer for answer in answers if answer is not True), True)


def interface(name: str, mask: bytes, device: str) -> bool:
    """ifname_compare_aligned(): the octets that the mask covers."""
    wanted, actual = name.encode().ljust(16, b"\0"), device.encode().ljust(16, b"\0")
    return all(a == b for a, b, m in zip(wanted, actual, mask, strict=False) if m)


def interface_text(name: str, mask: bytes) -> str:
    """With a plus where only the beginning is asked for."""
    whole = mask[len(name.encode()) : len(name.encode()) + 1] == b"\xff"
    return name if whole else f"{name.removesuffix('+')}+"


def physdev(given: Given) -> Match:
    names = [given.data[n * 16 : n * 16 + 16] for n in range(4)]
    inv, bits = given.data[64:66]
    came, leaves = text(names[0]), text(names[2])

    def judge(run: Run, _packet: Packet) -> Judged:
        physin, physout = run.seen.physin, run.seen.physout
        bridged = physin is not None and physout is not None
        checks = (
            (bits & 4, bridged, inv & 4),
            (bits & 8, physin is not None, inv & 8),
            (bits & 16, physout is not None, inv & 16),
            (bits & 1, interface(came, names[1], physin.name if physin else ""), inv & 1),
            (bits & 2, interface(leaves, names[3], physout.name if physout else ""), inv & 2),
        )
        return all(answer != bool(invert) for asked, answer, invert in checks if asked)

    return Match(
        words(
            f"{not_(inv & 8)}--physdev-is-in" if bits & 8 else "",
            f"{not_(inv & 1)}--physdev-in {interface_text(came, names[1])}" if bits & 1 else "",
            f"{not_(inv & 16)}--physdev-is-out" if bits & 16 else "",
            f"{not_(inv & 2)}--physdev-out {interface_text(leaves, names[3])}" if bits & 2 else "",
            f"{not_(inv & 4)}--physdev-is-bridged" if bits & 4 else "",
        ),
        judge,
    )


def rpfilter(given: Given) -> Match:
    """Whether the source would be answered by the device that the packet came in by; `loose`: by any."""
    flags = given.data[0]

    def judge(run: Run, _packet: Packet) -> Judged:
        if run.seen.iif is not None and run.seen.iif.kind == "loopback":
            return not flags & 8
        if run.seen.route is None:
            return Unknown("by which device the source would be answered")
        device, kind = run.seen.route
        holds = kind == "unicast" or (kind == "local" and bool(flags & 4))
        if not flags & 1:
            holds = holds and run.seen.iif is not None and run.seen.iif.name == device
        return holds != bool(flags & 8)

    names = ("--loose", "--validmark", "--accept-local", "--invert")
    return Match(words(*(name for place, name in enumerate(names) if flags >> place & 1)), judge)


def owner(given: Given) -> Match:
    ulow, uhigh, glow, ghigh, bits, inv = struct.unpack_from("=IIIIBB", given.data)

    def judge(run: Run, _packet: Packet) -> Judged:
        if run.hook not in ("output", "postrouting") or run.seen.iif is not None:
            return bool(bits & inv) and not bits ^ (bits & inv)  # no socket: only inverted questions hold
        if bits & 2:
            return Unknown("of which group the sending program is")
        if not bits & 1:
            return not int(inv) & 4
        if run.seen.uid is None:
            return Unknown("of which user the sending program is")
        return inverted(ulow <= run.seen.uid <= uhigh, inv & 1)

    return Match(
        words(
            f"{not_(inv & 4)}--socket-exists" if bits & 4 else "",
            f"{not_(inv & 1)}--uid-owner {span(ulow, uhigh, '-')}" if bits & 1 else "",
            f"{not_(inv & 2)}--gid-owner {span(glow, ghigh, '-')}" if bits & 2 else "",
            "--suppl-groups" if bits & 8 else "",
        ),
        judge,
    )


_PACKETS = {0: "unicast", 1: "broadcast", 2: "multicast", 3: "otherhost"}


def pkttype(given: Given) -> Match:
    kind, inv = struct.unpack_from("=ii", given.data)

    def judge(run: Run, packet: Packet) -> Judged:
        actual = 2 if packet.dst.is_multicast else 1 if run.seen.local.get(packet.dst) == "broadcast" else 0
        return inverted(actual == kind, inv)

    return Match(f"{not_(inv)}--pkt-type {_PACKETS.get(kind, kind)}", judge)


def set_(given: Given) -> Match:
    """xt_set_info_match_v1 and on. What else can be asked of an element (its counters) is left to doubt."""
    index, dimensions, flags = struct.unpack_from("=HBB", given.data)
    more = 0
    if given.revision >= 3:
        more = struct.unpack_from("=I", given.data, 40)[0]
        asked = [given.data[8 + 16 * n + (8 if given.revision == 3 else 0)] for n in range(2)]
    else:
        asked = [0, 0]
    name = given.sets.name(index)
    sides = [bool(flags >> n + 1 & 1) for n in range(dimensions)]

    def judge(run: Run, packet: Packet) -> Judged:
        found = given.sets.holds(index, run.seen, packet, sides)
        if isinstance(found, bool):
            found = found != bool(flags & 1)
        if found is True and any(asked):
            return Unknown(f"what the counters of {name} say")
        return found

    listed = ",".join("src" if side else "dst" for side in sides)
    extra = words("--return-nomatch" if more & 0x80 else "", "! --update-counters" if more & 0x200 else "")
    return Match(words(f"{not_(flags & 1)}--match-set {name} {listed}", extra), judge)


MATCHES: dict[str, Decode] = {
    "addrtype": addrtype,
    "physdev": physdev,
    "rpfilter": rpfilter,
    "owner": owner,
    "pkttype": pkttype,
    "set": set_,
}
