"""Matches that ask conntrack, and marks (net/netfilter/xt_conntrack.c, xt_state.c, xt_connmark.c, xt_mark.c)."""

from __future__ import annotations

import struct

from weft.filters.model import Connection
from weft.filters.state import Judged, Run
from weft.filters.xt.match import Decode, Given, Match, words
from weft.filters.xt.packet import Packet
from weft.filters.xt.words import inside, masked, not_, prefix, span

_INVALID, _ESTABLISHED, _RELATED, _NEW = 1, 2, 4, 8
_SNAT, _DNAT, _UNTRACKED = 0x40, 0x80, 0x100
_STATES = {
    _INVALID: "INVALID",
    _NEW: "NEW",
    _RELATED: "RELATED",
    _ESTABLISHED: "ESTABLISHED",
    _UNTRACKED: "UNTRACKED",
    _SNAT: "SNAT",
    _DNAT: "DNAT",
}
"""In the order in which libxt_conntrack writes them."""
_BIT = {
    "invalid": _INVALID,
    "established": _ESTABLISHED,
    "related": _RELATED,
    "new": _NEW,
    "untracked": _UNTRACKED,
}
_STATUSES = {1: "EXPECTED", 2: "SEEN_REPLY", 4: "ASSURED", 8: "CONFIRMED"}
_IPS_SRC_NAT, _IPS_DST_NAT = 0x10, 0x20

STATE, PROTO, ORIGSRC, ORIGDST, REPLSRC, REPLDST, STATUS, EXPIRES = (1 << n for n in range(8))
_PORTS = ("ctorigsrcport", "ctorigdstport", "ctreplsrcport", "ctrepldstport")
_ADDRESSES = ("ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst")
_DIRECTION, _STATE_ALIAS = 1 << 12, 1 << 13
_REV1, _REV2 = struct.Struct("=IIH4s4sHHBB"), struct.Struct("=IIH4s4sHHHH")
_REV3 = struct.Struct("=IIH4H2H2H4H")


def _tracked(run: Run) -> Connection | None:
    """None where the kernel has no nf_conn with the packet."""
    found = run.seen.connection
    return None if found is None or found.state in ("invalid", "untracked") else found


def _states(run: Run) -> int:
    found = run.seen.connection
    return _BIT[found.state] if found is not None else _INVALID


def _translated(found: Connection) -> int:
    """The bits of SNAT and DNAT, by the status or by what differs between the two directions."""
    bits = _SNAT * bool(found.status & _IPS_SRC_NAT) | _DNAT * bool(found.status & _IPS_DST_NAT)
    if found.original and found.answer:
        meant = found.original.turned()
        told = found.answer
        bits |= _DNAT * ((told.src, told.sport) != (meant.src, meant.sport))
        bits |= _SNAT * ((told.dst, told.dport) != (meant.dst, meant.dport))
    return bits


class _Asked:
    """struct xt_conntrack_mtinfo1, 2 or 3."""

    def __init__(self, given: Given) -> None:
        self.addresses = [(given.data[n * 32 : n * 32 + 16], given.data[n * 32 + 16 : n * 32 + 32]) for n in range(4)]
        if given.revision >= 3:
            found = _REV3.unpack_from(given.data, 128)
            self.expires, self.protocol, low, rest = found[:2], found[2], found[3:7], found[7:]
            self.ports = list(zip(low, rest[4:8], strict=True))
        else:
            found = (_REV1 if given.revision == 1 else _REV2).unpack_from(given.data, 128)
            self.expires, self.protocol, rest = found[:2], found[2], found[5:]
            self.ports = [(port, port) for port in struct.unpack("!4H", found[3] + found[4])]
        self.flags, self.inverted, self.states, self.statuses = rest[:4]

    def has(self, bit: int) -> bool:
        return bool(self.flags & bit)

    def holds(self, bit: int, answer: bool) -> bool:
        return not self.has(bit) or answer != bool(self.inverted & bit)


def conntrack(given: Given) -> Match:
    asked = _Asked(given)

    def judge(run: Run, _packet: Packet) -> Judged:
        found = _tracked(run)
        states = _states(run) | (_translated(found) if found else 0)
        if not asked.holds(STATE, bool(states & asked.states)):
            return False
        if found is None:  # with nothing but the state asked for, that decides
            return asked.has(STATE)
        if not asked.holds(_DIRECTION, not found.reply) or not asked.holds(
            STATUS, bool(_status(found) & asked.statuses) or not (asked.statuses or _status(found))
        ):
            return False
        return _tuples(asked, found)

    return Match(_conntrack_text(asked, given.family), judge)


def _status(found: Connection) -> int:
    return found.status | (2 if found.reply or found.state == "established" else 0)


def _tuples(asked: _Asked, found: Connection) -> bool:
    original, answer = found.original, found.answer
    if original is None:
        return True
    answer = answer or original.turned()
    if not asked.holds(PROTO, original.protocol == asked.protocol):
        return False
    addresses = (original.src, original.dst, answer.src, answer.dst)
    ports = (original.sport, original.dport, answer.sport, answer.dport)
    for place in range(4):
        if not asked.holds(ORIGSRC << place, inside(addresses[place], *asked.addresses[place])):
            return False
        low, high = asked.ports[place]
        if not asked.holds(1 << 8 + place, low <= ports[place] <= max(low, high)):
            return False
    return True


def _conntrack_text(asked: _Asked, family: int) -> str:
    def option(bit: int, name: str, value: str) -> str:
        return f"{not_(asked.inverted & bit)}--{name} {value}" if asked.has(bit) else ""

    states, statuses = _listed(asked.states, _STATES), _listed(asked.statuses, _STATUSES) or "NONE"
    return words(
        option(STATE, "state" if asked.has(_STATE_ALIAS) else "ctstate", states),
        option(PROTO, "ctproto", str(asked.protocol)),
        *(option(ORIGSRC << n, _ADDRESSES[n], prefix(*asked.addresses[n], family)) for n in range(4)),
        *(option(1 << 8 + n, _PORTS[n], span(asked.ports[n][0], max(asked.ports[n]))) for n in range(4)),
        option(STATUS, "ctstatus", statuses),
        option(EXPIRES, "ctexpire", span(*asked.expires)),
        option(_DIRECTION, "ctdir", "ORIGINAL").replace("! --ctdir ORIGINAL", "--ctdir REPLY"),
    )


def _listed(bits: int, names: dict[int, str]) -> str:
    return ",".join(name for bit, name in names.items() if bits & bit)


def state(given: Given) -> Match:
    (mask,) = struct.unpack_from("=I", given.data)
    bits = mask & 0xF | (_UNTRACKED if mask & 0x40 else 0)
    return Match(f"--state {_listed(bits, _STATES)}", lambda run, _packet: bool(_states(run) & bits))


def mark(given: Given) -> Match:
    value, mask, inv = struct.unpack_from("=IIB", given.data)
    return Match(
        f"{not_(inv)}--mark {masked(value, mask)}",
        lambda run, _packet: (run.seen.mark & mask == value) != bool(inv),
    )


def connmark(given: Given) -> Match:
    value, mask, inv = struct.unpack_from("=IIB", given.data)

    def judge(run: Run, _packet: Packet) -> Judged:
        found = _tracked(run)
        return found is not None and (found.mark & mask == value) != bool(inv)

    return Match(f"{not_(inv)}--mark {masked(value, mask)}", judge)


MATCHES: dict[str, Decode] = {
    "conntrack": conntrack,
    "state": state,
    "mark": mark,
    "connmark": connmark,
}
