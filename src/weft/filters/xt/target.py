"""What a decoded target is; those that say what becomes of the packet, and those that change its marks or its header."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from weft.filters.model import Connection
from weft.filters.state import Outcome, Run, Unknown
from weft.filters.xt.match import Given, words
from weft.filters.xt.packet import Packet
from weft.filters.xt.words import address, masked, quoted, text

Act = Callable[[Run, Packet], Outcome | Unknown]


class Target(NamedTuple):
    """`text`: its options as iptables-save writes them, without `-j NAME`."""

    text: str
    act: Act


DecodeTarget = Callable[[Given], Target]
ON = Outcome("continue")


def onward(_run: Run, _packet: Packet) -> Outcome:
    return ON


_REJECTS = (
    "icmp-net-unreachable",
    "icmp-host-unreachable",
    "icmp-proto-unreachable",
    "icmp-port-unreachable",
    "",
    "icmp-net-prohibited",
    "icmp-host-prohibited",
    "tcp-reset",
    "icmp-admin-prohibited",
)
_REJECTS_6 = (
    "icmp6-no-route",
    "icmp6-adm-prohibited",
    "",
    "icmp6-addr-unreachable",
    "icmp6-port-unreachable",
    "",
    "tcp-reset",
    "icmp6-policy-fail",
    "icmp6-reject-route",
)


def reject(given: Given) -> Target:
    """With a reset only TCP is answered, but all that comes is dropped."""
    (kind,) = struct.unpack_from("=I", given.data)
    names = _REJECTS if given.family == 4 else _REJECTS_6
    name = names[kind] if kind < len(names) else ""
    return Target(f"--reject-with {name or kind}", lambda _run, _packet: Outcome("reject"))


def nfqueue(given: Given) -> Target:
    number, total, flags = struct.unpack("=HHH", given.data[:6].ljust(6, b"\0"))
    total = total if given.revision else 1
    flags = flags if given.revision >= 2 else 0
    shown = f"--queue-balance {number}:{number + total - 1}" if total > 1 else f"--queue-num {number}"
    return Target(
        words(shown, "--queue-bypass" if flags & 1 else "", "--queue-cpu-fanout" if flags & 2 else ""),
        lambda _run, _packet: Outcome("queue"),
    )


# -- what is only told, or changes nothing that decides ----------------------------------------------------------------


def log(given: Given) -> Target:
    level, flags = given.data[:2]
    prefix = text(given.data[2:32])
    names = ((1, "--log-tcp-sequence"), (2, "--log-tcp-options"), (4, "--log-ip-options"), (8, "--log-uid"))
    shown = words(
        f"--log-prefix {quoted(prefix)}" if prefix else "",
        f"--log-level {level}" if level != 4 else "",
        *(name for bit, name in names if flags & bit),
        "--log-macdecode" if flags & 0x20 else "",
    )
    return Target(shown, onward)


def nflog(given: Given) -> Target:
    length, group, threshold, flags = struct.unpack_from("=IHHH", given.data)
    prefix = text(given.data[12:76])
    size = f"--nflog-size {length}" if flags & 1 else f"--nflog-range {length}" if length else ""
    shown = words(
        f"--nflog-prefix {quoted(prefix)}" if prefix else "",
        f"--nflog-group {group}" if group else "",
        size,
        f"--nflog-threshold {threshold}" if threshold not in (0, 1) else "",
    )
    return Target(shown, onward)


def tcpmss(given: Given) -> Target:
    (mss,) = struct.unpack_from("=H", given.data)
    return Target("--clamp-mss-to-pmtu" if mss == 0xFFFF else f"--set-mss {mss}", onward)


def set_(given: Given) -> Target:
    entries = struct.unpack_from("=HBBHBB", given.data)

    def one(option: str, index: int, dimensions: int, flags: int) -> str:
        sides = ",".join("src" if flags >> n + 1 & 1 else "dst" for n in range(dimensions))
        return f"--{option}-set {given.sets.name(index)} {sides}" if index != 0xFFFF else ""

    more, timeout = b"", 0xFFFFFFFF
    if given.revision >= 2:
        flags, timeout = struct.unpack_from("=II", given.data, 8 if given.revision == 2 else 12)
        more = b"--exist" if flags & 1 else b""
    shown = words(
        one("add", *entries[:3]),
        more.decode(),
        f"--timeout {timeout}" if timeout != 0xFFFFFFFF else "",
        one("del", *entries[3:]),
    )
    return Target(shown, onward)


def classify(given: Given) -> Target:
    (priority,) = struct.unpack_from("=I", given.data)
    return Target(f"--set-class {priority >> 16:04x}:{priority & 0xFFFF:04x}", onward)


def tee(given: Given) -> Target:
    device = text(given.data[16:32])
    return Target(words(f"--gateway {address(given.data, given.family)}", f"--oif {device}" if device else ""), onward)


# -- marks -------------------------------------------------------------------------------------------------------------


def mark(given: Given) -> Target:
    value, mask = struct.unpack_from("=II", given.data)

    def act(run: Run, _packet: Packet) -> Outcome:
        run.seen = msgspec.structs.replace(run.seen, mark=run.seen.mark & ~mask ^ value)
        return ON

    return Target(f"--set-xmark {value:#x}/{mask:#x}", act)


def connmark(given: Given) -> Target:
    """connmark_tg_shift() of net/netfilter/xt_connmark.c."""
    value, ctmask, nfmask = struct.unpack_from("=III", given.data)
    right, bits, mode = given.data[12:15] if given.revision >= 2 else (0, 0, given.data[12])

    def shifted(number: int) -> int:
        return number >> bits if right else number << bits & 0xFFFFFFFF

    def act(run: Run, _packet: Packet) -> Outcome:
        found = run.seen.connection
        if found is None or found.state in ("invalid", "untracked"):
            return ON
        if mode == 2:
            new = run.seen.mark & ~nfmask ^ shifted(found.mark & ctmask)
            run.seen = msgspec.structs.replace(run.seen, mark=new & 0xFFFFFFFF)
        else:
            by = value if mode == 0 else shifted(run.seen.mark & nfmask)
            _put(run, found, found.mark & ~ctmask ^ (shifted(value) if mode == 0 and bits else by))
        return ON

    names = {0: f"--set-xmark {value:#x}/{ctmask:#x}", 1: "--save-mark", 2: "--restore-mark"}
    masks = f"--nfmask {nfmask:#x} --ctmask {ctmask:#x}" if mode else ""
    shift = f"--{'right' if right else 'left'}-shift-mark {bits}" if bits else ""
    return Target(words(names.get(mode, ""), masks, shift), act)


def _put(run: Run, found: Connection, mark: int) -> None:
    run.seen = msgspec.structs.replace(run.seen, connection=msgspec.structs.replace(found, mark=mark & 0xFFFFFFFF))


def ct(given: Given) -> Target:
    flags, zone = struct.unpack_from("=HH", given.data)
    helper, timeout = text(given.data[12:28]), text(given.data[28:60]) if given.revision else ""
    side = "-orig" if flags & 4 else "-reply" if flags & 8 else ""
    where = "mark" if flags & 16 else str(zone)

    def act(run: Run, _packet: Packet) -> Outcome:
        if flags & 1:
            run.notrack = True
        elif zone or flags & 16:
            found = run.seen.connection or Connection(state="untracked")
            number = run.seen.mark & 0xFFFF if flags & 16 else zone
            run.seen = msgspec.structs.replace(run.seen, connection=msgspec.structs.replace(found, zone=number))
        return ON

    shown = words(
        "--notrack" if flags & 3 else "",
        f"--helper {helper}" if helper else "",
        f"--timeout {timeout}" if timeout else "",
        f"--zone{side} {where}" if zone or flags & 16 else "",
    )
    return Target(shown, act)


def notrack(_given: Given) -> Target:
    def act(run: Run, _packet: Packet) -> Outcome:
        run.notrack = True
        return ON

    return Target("", act)


# -- the header --------------------------------------------------------------------------------------------------------


def hops(name: str) -> DecodeTarget:
    def decode(given: Given) -> Target:
        mode, value = given.data[:2]

        def act(run: Run, packet: Packet) -> Outcome:
            new = value if mode == 0 else packet.ttl + value if mode == 1 else packet.ttl - value
            _rewrite(run, 8 if packet.family == 4 else 7, min(max(new, 0), 255))
            return ON

        return Target(f"--{name}-{('set', 'inc', 'dec')[min(mode, 2)]} {value}", act)

    return decode


def _rewrite(run: Run, at: int, *octets: int) -> None:
    """No checksum: nobody looks at it."""
    old = run.seen.octets
    run.seen = msgspec.structs.replace(run.seen, octets=old[:at] + bytes(octets) + old[at + len(octets) :])


def dscp(given: Given) -> Target:
    value = given.data[0]
    return Target(f"--set-dscp {value:#04x}", lambda run, packet: _tos(run, packet, packet.tos & 3 | value << 2))


def tos(given: Given) -> Target:
    value, mask = given.data[:2]
    return Target(
        f"--set-tos {value:#04x}/{mask:#04x}", lambda run, packet: _tos(run, packet, packet.tos & ~mask ^ value)
    )


def _tos(run: Run, packet: Packet, value: int) -> Outcome:
    value &= 0xFF
    if packet.family == 4:
        _rewrite(run, 1, value)
    else:
        _rewrite(run, 0, packet.octets[0] & 0xF0 | value >> 4, packet.octets[1] & 0x0F | value << 4 & 0xF0)
    return ON


def tproxy(given: Given) -> Target:
    mask, value = struct.unpack_from("=II", given.data)
    at = address(given.data[8:], given.family)
    (port,) = struct.unpack_from("!H", given.data, 24 if given.revision else 12)
    shown = f"--on-port {port} --on-ip {at} --tproxy-mark {masked(value, mask)}"
    return Target(shown, lambda _run, _packet: Unknown("whether a program here has a socket for the packet"))


def plain(_given: Given) -> Target:
    return Target("", onward)


HARMLESS = ("AUDIT", "CONNSECMARK", "SECMARK", "RATEEST", "TCPOPTSTRIP", "IDLETIMER", "LED")
"""Their options are not written, but nothing comes of them for the packet's way."""

TARGETS: dict[str, DecodeTarget] = {
    "REJECT": reject,
    "NFQUEUE": nfqueue,
    "LOG": log,
    "NFLOG": nflog,
    "TCPMSS": tcpmss,
    "SET": set_,
    "CLASSIFY": classify,
    "TEE": tee,
    "MARK": mark,
    "CONNMARK": connmark,
    "CT": ct,
    "NOTRACK": notrack,
    "TTL": hops("ttl"),
    "HL": hops("hl"),
    "DSCP": dscp,
    "TOS": tos,
    "TPROXY": tproxy,
    "TRACE": plain,
    "CHECKSUM": lambda _given: Target("--checksum-fill", onward),
    **dict.fromkeys(HARMLESS, plain),
    "ECN": lambda _given: Target("--ecn-tcp-remove", onward),
}
