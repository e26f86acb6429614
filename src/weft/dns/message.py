"""DNS messages (RFC 1035 §4) with EDNS (RFC 6891), as far as a server for a few types of records has to know them. Pure.

A question is read whole. Of other servers' answers only what a cache has to know is read; they are passed on as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

A, NS, SOA, PTR, AAAA, SRV, OPT, DS, DNSKEY, ANY = 1, 2, 6, 12, 28, 33, 41, 43, 48, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
PASSED_ON = RD | AD | CD
"""Flags of a question that another server is told, too."""
OPCODE, RCODE = 0x7800, 0x000F
DO = 0x8000
"""In the flags of EDNS: signatures are wanted."""

HEADER = 12
LONGEST_NAME, LONGEST_LABEL = 255, 63
PLAIN = 512
"""Octets that a client without EDNS takes by UDP."""
OURS = 1232
"""Octets that we take, and say that we take: what passes every path unfragmented."""
LARGEST = 65535
ASKED = b"\xc0\x0c"
"""A name: that of the question, which follows the header."""

_HEADER = struct.Struct(">6H")
_TYPE = struct.Struct(">2H")
_FIXED = struct.Struct(">HHIH")
"""Of a record, after its name: type, class, TTL, length of its data."""


class Malformed(ValueError):
    """No question that can be answered. `rcode`: what its sender is told; None: nothing."""

    def __init__(self, rcode: int | None) -> None:
        super().__init__(rcode)
        self.rcode = rcode


class Query(NamedTuple):
    """`name`: in lower case, without the dot at its end; "" for the root. A dot within a label has a backslash before it, as
    has a backslash: different names are different texts. `question`: with the name, type and class as they
    came, so that an answer repeats the client's upper and lower case. `size`: octets that the client takes by UDP; None
    where it does not speak EDNS, of which `version` is and `signed` (DO) comes from."""

    id: int
    flags: int
    name: str
    type: int
    cls: int
    question: bytes
    size: int | None = None
    version: int = 0
    signed: bool = False

    @property
    def limit(self) -> int:
        """Octets of an answer by UDP."""
        return max(PLAIN, min(self.size or PLAIN, 4096))


def parse(packet: bytes) -> Query:
    """Raises Malformed, and nothing else."""
    if len(packet) < HEADER:
        raise Malformed(None)
    id, flags, questions, *others = _HEADER.unpack_from(packet)
    if flags & QR:
        raise Malformed(None)
    if flags & OPCODE:
        raise Malformed(NOTIMP)
    if questions != 1:
        raise Malformed(FORMERR)
    try:
        name, end = _read_name(packet, HEADER)
        type, cls = _TYPE.unpack_from(packet, end)
        query = Query(id, flags, name, type, cls, packet[HEADER : end + 4])
        return _with_edns(query, packet, end + 4, sum(others)) if any(others) else query
    except (IndexError, struct.error):
        raise Malformed(FORMERR) from None


def _read_name(packet: bytes, at: int) -> tuple[str, int]:
    """A name that nothing can be before, so that it has no pointers; and where it ends."""
    labels, start = [], at
    while length := packet[at]:
        if length > LONGEST_LABEL:
            raise Malformed(FORMERR)
        labels.append(packet[at + 1 : at + 1 + length])
        at += 1 + length
    if at + 1 - start > LONGEST_NAME:
        raise Malformed(FORMERR)
    name = b".".join(labels).lower()
    if b"\\" in name or name.count(b".") >= max(1, len(labels)):
        name = b".".join(label.replace(b"\\", b"\\\\").replace(b".", b"\\.") for label in labels).lower()
    return name.decode("latin-1"), at + 1


def _with_edns(query: Query, packet: bytes, at: int, records: int) -> Query:
    found = False
    for _ in range(records):
        start, at = at, _skip_name(packet, at)
        type, size, ttl, length = _FIXED.unpack_from(packet, at)
        at += _FIXED.size + length
        if at > len(packet):
            raise Malformed(FORMERR)
        if type == OPT:
            if found or packet[start]:
                raise Malformed(FORMERR)
            found = True
            query = query._replace(size=size, version=ttl >> 16 & 0xFF, signed=bool(ttl & DO))
    return query


def _skip_name(packet: bytes, at: int) -> int:
    """Where a name ends. Nothing is followed, so that nothing can go in circles."""
    while length := packet[at]:
        if length >= 0xC0:
            return at + 2
        if length > LONGEST_LABEL:
            raise Malformed(FORMERR)
        at += 1 + length
    return at + 1


# ---------------------------------------------------------------------------------------------------------- what is said


def wire(name: str) -> bytes:
    """A name of which no label is longer than 63 octets, as it is in a message."""
    labels = [label for label in name.encode("latin-1").split(b".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def record(name: bytes, type: int, ttl: int, data: bytes) -> bytes:
    return name + _FIXED.pack(type, IN, ttl, len(data)) + data


def refusal(packet: bytes, rcode: int) -> bytes:
    """What the sender of a malformed question is told: its header."""
    id, flags = _TYPE.unpack_from(packet)
    return _HEADER.pack(id, QR | RA | flags & (OPCODE | RD) | rcode, 0, 0, 0, 0)


def reply(
    query: Query,
    limit: int,
    flags: int = 0,
    answers: Sequence[bytes] = (),
    authority: Sequence[bytes] = (),
    additional: Sequence[bytes] = (),
) -> bytes:
    """`flags`: with the rcode. Records that do not fit into `limit` octets are left out. If one of the answers is, the client
    is told (TC) and asks again by TCP; of additional records it need not be told (RFC 2181 §9)."""
    flags |= QR | RA | query.flags & (RD | CD)
    edns = b"" if query.size is None else _edns(query, flags >> 16)
    room = limit - HEADER - len(query.question) - len(edns)
    fitting, room = _fitting(answers, room)
    if len(fitting) < len(answers):
        flags, authority, additional = flags | TC, (), ()
    named, room = _fitting(authority, room)
    more, _ = _fitting(additional, room)
    counts = 1, len(fitting), len(named), len(more) + bool(edns)
    header = _HEADER.pack(query.id, flags & 0xFFFF, *counts)
    return b"".join((header, query.question, *fitting, *named, *more, edns))


def failure(query: Query, rcode: int) -> bytes:
    """An answer without records. `rcode`: also an extended one."""
    return reply(query, LARGEST, (rcode >> 4) << 16 | rcode & RCODE)


def _edns(query: Query, extended: int) -> bytes:
    return b"\0" + _FIXED.pack(OPT, OURS, extended << 24 | (DO if query.signed else 0), 0)


def _fitting(records: Sequence[bytes], room: int) -> tuple[Sequence[bytes], int]:
    """As many of them as there is room for, and the room that is left."""
    for place, one in enumerate(records):
        if len(one) > room:
            return records[:place], room
        room -= len(one)
    return records, room


# -------------------------------------------------------------------------------------------------- what other servers say


def forwarded(query: Query, id: int) -> bytes:
    """The question as another server is asked it: with EDNS if the client speaks it, without the client's options."""
    edns = b"" if query.size is None else _edns(query, 0)
    return _HEADER.pack(id, query.flags & PASSED_ON, 1, 0, 0, bool(edns)) + query.question + edns


class Answer(NamedTuple):
    """Of another server. `ttls`: where in it the records' TTLs are. `life`: seconds for which it holds; 0 where it does not
    say (RFC 2308 §5)."""

    rcode: int
    cut: bool
    ttls: tuple[int, ...]
    life: int


def answers(packet: bytes, id: int, question: bytes) -> bool:
    """Whether it is an answer to this. A server that could not read the question need not repeat it."""
    if len(packet) < HEADER:
        return False
    got, flags, questions, *_ = _HEADER.unpack_from(packet)
    if got != id or not flags & QR or flags & OPCODE:
        return False
    if not questions:
        return bool(flags & RCODE)
    return questions == 1 and packet[HEADER : HEADER + len(question)].lower() == question.lower()


def read(packet: bytes) -> Answer:
    """Of an answer to a single question. Raises Malformed, and nothing else."""
    _, flags, questions, *counts = _HEADER.unpack_from(packet)
    rcode, cut = flags & RCODE, bool(flags & TC)
    ttls, lives, until = [], [], None
    try:
        at = _skip_name(packet, HEADER) + 4 if questions else HEADER
        for _ in range(0 if cut else sum(counts)):
            at = _skip_name(packet, at)
            type, _cls, ttl, length = _FIXED.unpack_from(packet, at)
            if type != OPT:
                ttls.append(at + 4)
                lives.append(ttl if ttl < 2**31 else 0)
            at += _FIXED.size + length
            if at > len(packet):
                raise Malformed(FORMERR)
            if type == SOA:
                until = int.from_bytes(packet[at - 4 : at])
    except (IndexError, struct.error):
        raise Malformed(FORMERR) from None
    if not counts[0] or rcode == NXDOMAIN:
        lives.append(until or 0)
    return Answer(rcode, cut, tuple(ttls), min(lives, default=0))


def aged(packet: bytes, query: Query, ttls: Sequence[int], age: int) -> bytes:
    """Another server's answer as the answer to this question, `age` seconds later."""
    found = bytearray(packet)
    found[:2] = query.id.to_bytes(2)
    if found[4:6] == b"\0\1":
        found[HEADER : HEADER + len(query.question)] = query.question
    for at in ttls:
        found[at : at + 4] = max(0, int.from_bytes(found[at : at + 4]) - age).to_bytes(4)
    return bytes(found)


def fitted(packet: bytes, query: Query, limit: int) -> bytes:
    """Another server's answer, or, where it is longer than `limit`, that it has to be asked for by TCP."""
    if len(packet) <= limit:
        return packet
    return reply(query, limit, int.from_bytes(packet[2:4]) & (AA | RCODE) | TC)
