"""What a decoded match is, and what its decoder is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from weft.filters.state import Judged, Run, Unknown
from weft.filters.xt.packet import Packet, parse
from weft.filters.xt.sets import Ipsets


class Given(NamedTuple):
    """`data`: the extension's own struct, maybe with padding behind it. `family`: 4 or 6."""

    data: bytes
    revision: int
    family: int
    sets: Ipsets


Judge = Callable[[Run, Packet], Judged]


class Match(NamedTuple):
    """`text`: its options as iptables-save writes them, without `-m NAME`."""

    text: str
    judge: Judge


Decode = Callable[[Given], Match]


def judged(found: Match, run: Run) -> Judged:
    packet = parse(run.seen.octets, run.seen.protocol)
    return found.judge(run, packet) if packet is not None else Unknown("the packet is not of IP")


def words(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def inverted(answer: Judged, invert: object) -> Judged:
    return answer != bool(invert) if isinstance(answer, bool) else answer


def always(_run: Run, _packet: Packet) -> Judged:
    return True


def doubt(why: str) -> Judge:
    return lambda _run, _packet: Unknown(why)
