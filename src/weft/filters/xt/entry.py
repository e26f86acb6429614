"""An entry of an old table (struct ipt_entry, struct ip6t_entry): what it asks of the header, its matches, its target."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from weft.filters.state import Judged, Lottery, Run, Unknown
from weft.filters.xt.decode import match, match_text, target_text, written
from weft.filters.xt.packet import Packet, parse
from weft.filters.xt.sets import Ipsets
from weft.filters.xt.surroundings import interface, interface_text
from weft.filters.xt.words import address, inside, not_, protocol, text

_HEAD = struct.Struct("=H29sB")
"""struct xt_entry_match, struct xt_entry_target: the size of all, the name, the revision."""
HEAD = _HEAD.size
_V4 = struct.Struct("=4s4s4s4s16s16s16s16sHBB4xHH4x16x")
_V6 = struct.Struct("=16s16s16s16s16s16s16s16sHBBB7xHH4x16x")
V4, V6 = 112, 168
_VIA_IN, _VIA_OUT, _SRC, _DST, _FRAGMENT, _PROTOCOL = 1, 2, 8, 16, 32, 64
_ACCEPT, _DROP, _QUEUE, RETURN = -2, -1, -4, -5
VERDICTS = {_ACCEPT: "ACCEPT", _DROP: "DROP", _QUEUE: "QUEUE", RETURN: "RETURN"}


class Extension(NamedTuple):
    name: str
    revision: int
    data: bytes


class Entry:
    """`at`, `end`: offsets in the table."""

    def __init__(self, octets: bytes, at: int, family: int, sets: Ipsets) -> None:
        self.at = at
        self.family = family
        self._octets = octets
        self._sets = sets
        v4 = family == 4
        self._size = V4 if v4 else V6
        self._target, following = struct.unpack_from("=HH", octets, at + (88 if v4 else 140))
        self.end = at + following

    @cached_property
    def target(self) -> Extension:
        return self._extension(self.at + self._target)

    @property
    def verdict(self) -> int | None:
        """Of a target of the kernel's own: negative, or the offset that it jumps to."""
        if self.target.name:
            return None
        number: int = struct.unpack_from("=i", self.target.data)[0]
        return number

    @cached_property
    def matches(self) -> tuple[Extension, ...]:
        return tuple(self._each())

    def _each(self) -> Iterator[Extension]:
        at = self.at + self._size
        while at < self.at + self._target:
            yield self._extension(at)
            size = _HEAD.unpack_from(self._octets, at)[0]
            if size < HEAD:
                return
            at += size

    def _extension(self, at: int) -> Extension:
        size, name, revision = _HEAD.unpack_from(self._octets, at)
        return Extension(text(name), revision, self._octets[at + HEAD : at + size])

    @cached_property
    def _asked(self) -> _Header:
        if self.family == 4:
            src, dst, smask, dmask, iif, oif, imask, omask, proto, flags, inv, _, _ = _V4.unpack_from(
                self._octets, self.at
            )
            fragment, goto = bool(flags & 1), bool(flags & 2)
        else:
            src, dst, smask, dmask, iif, oif, imask, omask, proto, _tos, flags, inv, _, _ = _V6.unpack_from(
                self._octets, self.at
            )
            fragment, goto = False, bool(flags & 4)
            proto = proto if flags & 1 else 0
        return _Header((src, smask), (dst, dmask), (text(iif), imask), (text(oif), omask), proto, fragment, goto, inv)

    @property
    def goto(self) -> bool:
        return self._asked.goto

    @property
    def comment(self) -> str:
        return next((text(each.data) for each in self.matches if each.name == "comment"), "")

    @property
    def written(self) -> bool:
        """Whether its text is whole."""
        names = [each.name for each in self.matches] + ([self.target.name] if self.target.name else [])
        return all(map(written, names))

    # -- judged --------------------------------------------------------------------------------------------------------

    def judge(self, run: Run) -> Judged:
        """False where any part says so for certain, even where another cannot be judged; each lottery is drawn."""
        packet = parse(run.seen.octets, run.seen.protocol)
        if packet is None or not self._asked.fits(run, packet):
            return False
        doubtful: Judged = True
        for each in self.matches:
            answer = match(each.name, each.revision, each.data, run, self._sets)
            if isinstance(answer, Lottery):
                answer = run.draw(answer.outcomes) == 0
            if answer is False:
                return False
            if isinstance(answer, Unknown) and doubtful is True:
                doubtful = answer
        return doubtful

    # -- written -------------------------------------------------------------------------------------------------------

    def text(self, leads_to: str) -> str:
        """As iptables-save writes it, behind `-A CHAIN`. `leads_to`: the chain that it jumps to, "" for none."""
        family = "ip" if self.family == 4 else "ip6"
        words = [*self._asked.words(self.family)]
        words += [match_text(each.name, each.revision, each.data, family, self._sets) for each in self.matches]
        target = self.target
        if target.name:
            words.append(target_text(target.name, target.revision, target.data, family, self._sets))
        elif leads_to:
            words.append(f"-{'g' if self.goto else 'j'} {leads_to}")
        elif (verdict := self.verdict) is not None and verdict in VERDICTS:
            words.append(f"-j {VERDICTS[verdict]}")
        return " ".join(words)


class _Header(NamedTuple):
    """Addresses and devices, each with its mask. `protocol` 0: any."""

    source: tuple[bytes, bytes]
    destination: tuple[bytes, bytes]
    iif: tuple[str, bytes]
    oif: tuple[str, bytes]
    protocol: int
    fragment: bool
    goto: bool
    inverted: int

    def fits(self, run: Run, packet: Packet) -> bool:
        """ip_packet_match(), ip6_packet_match()."""
        inv = self.inverted
        iif, oif = run.seen.iif, run.seen.oif
        return (
            inside(packet.src, *self.source) != bool(inv & _SRC)
            and inside(packet.dst, *self.destination) != bool(inv & _DST)
            and interface(*self.iif, iif.name if iif else "") != bool(inv & _VIA_IN)
            and interface(*self.oif, oif.name if oif else "") != bool(inv & _VIA_OUT)
            and (not self.protocol or (packet.protocol == self.protocol) != bool(inv & _PROTOCOL))
            and (not self.fragment or packet.fragment != bool(inv & _FRAGMENT))
        )

    def words(self, family: int) -> Iterator[str]:
        inv = self.inverted
        for option, (at, mask), bit in (("-s", self.source, _SRC), ("-d", self.destination, _DST)):
            if any(mask) or inv & bit:
                yield f"{not_(inv & bit)}{option} {_net(at, mask, family)}"
        for option, (name, mask), bit in (("-i", self.iif, _VIA_IN), ("-o", self.oif, _VIA_OUT)):
            if any(mask) or inv & bit:
                yield f"{not_(inv & bit)}{option} {interface_text(name, mask)}"
        if self.protocol:
            yield f"{not_(inv & _PROTOCOL)}-p {protocol(self.protocol)}"
        if self.fragment:
            yield f"{not_(inv & _FRAGMENT)}-f"


def _net(at: bytes, mask: bytes, family: int) -> str:
    bits = int.from_bytes(mask, "big")
    whole = (1 << len(mask) * 8) - 1
    length = bits.bit_count()
    return f"{address(at, family)}/{length if bits == whole ^ (whole >> length) else address(mask, family)}"
