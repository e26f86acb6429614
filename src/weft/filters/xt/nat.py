"""Targets that translate addresses (struct nf_nat_range and its forerunners, linux/netfilter/nf_nat.h)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal

import msgspec

from weft.base.net import IPAddress
from weft.filters.model import Translation, Where
from weft.filters.state import Outcome, Run
from weft.filters.xt.match import Given, words
from weft.filters.xt.packet import Packet
from weft.filters.xt.target import DecodeTarget, Target
from weft.filters.xt.words import address, span

_IPS, _PORTS, _RANDOM, _PERSISTENT, _FULLY, _OFFSET = 1, 2, 4, 8, 16, 32
_NOWHERE = Where(program="iptables", family="", table="", chain="")

Kind = Literal["dnat", "snat", "masquerade", "redirect"]


class Range(msgspec.Struct, frozen=True):
    flags: int
    low: IPAddress
    high: IPAddress
    ports: tuple[int, int]
    base: int = 0

    @property
    def size(self) -> int:
        return int(self.high) - int(self.low) + 1


def read(given: Given, *, old: bool) -> Range:
    """`old`: struct nf_nat_ipv4_multi_range_compat, which older revisions have for IPv4."""
    if old:
        _count, flags, low, high, first, last = struct.unpack_from("!I4s4s4sHH", given.data)
        (number,) = struct.unpack("=I", flags)
        return Range(number, address(low, 4), address(high, 4), (first, last))
    (number,) = struct.unpack_from("=I", given.data)
    first, last, base = struct.unpack("!HHH", given.data[36:42].ljust(6, b"\0"))
    low, high = address(given.data[4:20], given.family), address(given.data[20:36], given.family)
    return Range(number, low, high, (first, last), base)


def _old(given: Given) -> bool:
    """The first revision, of IPv4; IPv6 has never had that struct."""
    return given.family == 4 and given.revision == 0


def _to(found: Range) -> str:
    text = ""
    if found.flags & _IPS:
        text = str(found.low) if found.low == found.high else f"{found.low}-{found.high}"
        if found.low.version == 6 and found.flags & _PORTS:
            text = f"[{text}]" if found.low == found.high else f"[{found.low}]-[{found.high}]"
    if found.flags & _PORTS:
        text += f":{span(*found.ports, '-')}"
        text += f"/{found.base}" if found.flags & _OFFSET else ""
    return text


def _options(flags: int) -> str:
    names = ((_RANDOM, "--random"), (_FULLY, "--random-fully"), (_PERSISTENT, "--persistent"))
    return words(*(name for bit, name in names if flags & bit))


def _port(found: Range, packet: Packet) -> tuple[int | None, tuple[int, int] | None]:
    """The port that it comes to, where that is known, and the range it is out of."""
    if not found.flags & _PORTS:
        return None, None
    if found.flags & _OFFSET and packet.ports is not None:
        return found.ports[0] + packet.ports[1] - found.base, None
    if found.ports[0] == found.ports[1]:
        return found.ports[0], None
    return None, found.ports


def translate(kind: Kind, found: Range) -> Callable[[Run, Packet], Outcome]:
    """Of several addresses the kernel takes one by a hash of the packet's: that is as good as chance here."""

    def act(run: Run, packet: Packet) -> Outcome:
        at: IPAddress | None = None
        if found.flags & _IPS:
            at = found.low + (run.draw(found.size) if found.size > 1 else 0)
        port, ports = _port(found, packet)
        return Outcome("accept", Translation(kind=kind, where=_NOWHERE, address=at, port=port, ports=ports))

    return act


def _addressed(kind: Kind, option: str) -> DecodeTarget:
    def decode(given: Given) -> Target:
        found = read(given, old=_old(given))
        return Target(words(f"--{option} {_to(found)}", _options(found.flags)), translate(kind, found))

    return decode


def _local(kind: Kind) -> DecodeTarget:
    """MASQUERADE and REDIRECT: only ports are said."""

    def decode(given: Given) -> Target:
        found = read(given, old=_old(given))
        ports = f"--to-ports {span(*found.ports, '-')}" if found.flags & _PORTS else ""
        only_ports = msgspec.structs.replace(found, flags=found.flags & ~_IPS)
        return Target(words(ports, _options(found.flags)), translate(kind, only_ports))

    return decode


def netmap(given: Given) -> Target:
    """The network's part is replaced; the source's after routing, the destination's before."""
    found = read(given, old=_old(given))
    differ = int(found.low) ^ int(found.high)
    length = found.low.max_prefixlen - differ.bit_length()

    def act(run: Run, packet: Packet) -> Outcome:
        kind: Kind = "snat" if run.hook in ("postrouting", "input") else "dnat"
        old = packet.src if kind == "snat" else packet.dst
        new = address(
            (int(old) & differ | int(found.low) & ~differ).to_bytes(old.max_prefixlen // 8, "big"), old.version
        )
        return Outcome("accept", Translation(kind=kind, where=_NOWHERE, address=new))

    whole = length == found.low.max_prefixlen
    return Target(f"--to {found.low}" if whole else f"--to {found.low}/{length}", act)


TARGETS: dict[str, DecodeTarget] = {
    "DNAT": _addressed("dnat", "to-destination"),
    "SNAT": _addressed("snat", "to-source"),
    "MASQUERADE": _local("masquerade"),
    "REDIRECT": _local("redirect"),
    "NETMAP": netmap,
}
