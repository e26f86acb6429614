"""The types of what sets and maps of nftables hold: values as text, as `nft` prints them, and as the kernel has them. Pure.

A key of several fields is these one after the other, each padded to four octets: the kernel compares registers. The kernel
itself does not know types. It stores a number for whoever lists the set: six bits for each field (datatype.h of nftables).

Values are big-endian, so that they sort as their octets do. A mark is not: it is in the host's order, except in intervals,
for which nft turns it round.
"""

from __future__ import annotations

import functools
import re
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from weft.base.errors import Invalid, Unsupported
from weft.hoststate.firewall import DRAWN, PORTS

HOST_ENDIAN, BIG_ENDIAN = 1, 2
"""As nft numbers them in what it remembers of a set (`NFTNL_UDATA_SET_KEYBYTEORDER`)."""
_TYPE_BITS = 6


class Type(msgspec.Struct, frozen=True):
    """`size`: octets. `order`: HOST_ENDIAN or BIG_ENDIAN. `prefixes`, `ranges`: what an interval may be written as. `pack`
    raises OSError or ValueError."""

    name: str
    number: int
    size: int
    pack: Callable[[str], bytes]
    text: Callable[[bytes], str]
    order: int = BIG_ENDIAN
    prefixes: bool = False
    ranges: bool = True

    @property
    def padding(self) -> bytes:
        return bytes(-self.size & 3)


# -- the types ---------------------------------------------------------------------------------------------------------

_PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_PROTOCOL_NAMES = {number: name for name, number in _PROTOCOLS.items()}
_IFNAMSIZ = 16
_ORDER = sys.byteorder


def _number(size: int, text: Callable[[int], str] = str) -> dict[str, Any]:
    return {
        "size": size,
        "pack": lambda value: int(value, 0).to_bytes(size, "big"),
        "text": lambda data: text(int.from_bytes(data, "big")),
    }


def _pack_protocol(value: str) -> bytes:
    return bytes([_PROTOCOLS[value] if value in _PROTOCOLS else int(value)])


def _pack_ether(value: str) -> bytes:
    parts = value.split(":")
    if len(parts) != 6:
        raise ValueError(value)
    return bytes(int(part, 16) for part in parts)


def _pack_ifname(value: str) -> bytes:
    name = value.strip('"').encode()
    if not 0 < len(name) < _IFNAMSIZ:
        raise ValueError(value)
    return name.ljust(_IFNAMSIZ, b"\0")


TYPES: dict[str, Type] = {
    each.name: each
    for each in (
        Type(
            "ipv4_addr",
            7,
            4,
            functools.partial(socket.inet_pton, socket.AF_INET),
            functools.partial(socket.inet_ntop, socket.AF_INET),
            prefixes=True,
        ),
        Type(
            "ipv6_addr",
            8,
            16,
            functools.partial(socket.inet_pton, socket.AF_INET6),
            functools.partial(socket.inet_ntop, socket.AF_INET6),
            prefixes=True,
        ),
        Type("ether_addr", 9, 6, _pack_ether, lambda data: data.hex(":")),
        Type("inet_proto", 12, 1, _pack_protocol, lambda data: _PROTOCOL_NAMES.get(data[0], str(data[0]))),
        *(Type(part, 13, **_number(2)) for part in ("inet_service", *PORTS.values())),
        Type(
            "mark",
            19,
            4,
            lambda value: int(value, 0).to_bytes(4, _ORDER),
            lambda data: f"{int.from_bytes(data, _ORDER):#010x}",
            order=HOST_ENDIAN,
        ),
        Type(
            "ifname",
            41,
            _IFNAMSIZ,
            _pack_ifname,
            lambda data: '"' + data.rstrip(b"\0").decode(errors="replace") + '"',
            order=HOST_ENDIAN,
            ranges=False,
        ),
    )
}
_BY_NUMBER = {each.number: each for each in TYPES.values() if " " not in each.name}
_MARK = TYPES["mark"]
_MARK_IN_INTERVALS = msgspec.structs.replace(_MARK, **_number(4, lambda number: f"{number:#010x}"))


# -- what has no type by name (typeof) ---------------------------------------------------------------------------------

_CONCAT, _PAYLOAD, _META, _NUMGEN = 13, 7, 9, 23
"""Expressions, as nft numbers them in what it remembers of a set (enum expr_types)."""
_EXPR, _DATA = 0, 1
_INTEGER = 4
_BASES = {"ll": 1, "nh": 2, "th": 3}
_RANDOM = 1
_PLACE = re.compile(r"@(ll|nh|th),(\d+),(\d+)")
_LIKE = {
    "ipv4_addr": (_PAYLOAD, 12, 11),
    "ipv6_addr": (_PAYLOAD, 13, 8),
    "inet_service": (_PAYLOAD, 11, 2),
    "ether_addr": (_PAYLOAD, 17, 2),
    "inet_proto": (_META, 16),
    "ifname": (_META, 6),
    "mark": (_META, 3),
    DRAWN: (_NUMGEN, _RANDOM, 2, 0),
    PORTS["tcp"]: (_PAYLOAD, 8, 2),
    PORTS["udp"]: (_PAYLOAD, 6, 2),
    PORTS["sctp"]: (_PAYLOAD, 10, 2),
}
"""An expression of each type, as nft numbers protocols, their fields, keys of `meta`, and how numbers are made: a
set that has a part without a type by name takes all its parts from expressions."""


def _tlv(kind: int, payload: bytes) -> bytes:
    """What user space remembers with an object: type, length, value, without padding (libnftnl's udata)."""
    return bytes((kind, len(payload))) + payload


def _u32(kind: int, value: int) -> bytes:
    return _tlv(kind, struct.pack("=I", value))


def tlvs(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 2 <= len(data):
        kind, size = data[at], data[at + 1]
        found[kind] = data[at + 2 : at + 2 + size]
        at += 2 + size
    return found


def _place(text: str) -> Type:
    """A place in a packet: where it begins, in bits, and how many; or a number that a rule makes. Raises Unsupported."""
    if text == DRAWN:
        return Type(DRAWN, _INTEGER, 4, lambda value: int(value).to_bytes(4, _ORDER), _drawn_text, order=HOST_ENDIAN)
    if not (place := _PLACE.fullmatch(text)):
        raise Unsupported(f"'{text}' is no type that Weft makes sets of")
    return Type(name=text, number=_INTEGER, **_number((int(place[3]) + 7) // 8, hex))


def _drawn_text(data: bytes) -> str:
    return str(int.from_bytes(data, _ORDER))


def _expression(field: Type) -> bytes:
    kind, *numbers = _LIKE.get(field.name, (_PAYLOAD,))
    if place := _PLACE.fullmatch(field.name):
        numbers = [0, 0, _BASES[place[1]], int(place[2]), int(place[3])]
    return _u32(_EXPR, kind) + _tlv(_DATA, b"".join(_u32(i, number) for i, number in enumerate(numbers)))


def nameless(fields: tuple[Type, ...]) -> bool:
    """Whether one of them has no type by name."""
    return any(field.number == _INTEGER for field in fields)


def expressions(fields: tuple[Type, ...]) -> bytes:
    """As nft remembers what a set's key is taken from, or what it leads to."""
    if len(fields) == 1:
        return _expression(fields[0])
    nests = b"".join(_tlv(i, _expression(field)) for i, field in enumerate(fields))
    return _u32(_EXPR, _CONCAT) + _tlv(_DATA, nests)


_NAMED = {like: part for part, like in _LIKE.items() if part == DRAWN or " " in part}
"""What is no place in a packet, and what nft knows it by."""


def _places(remembered: bytes) -> list[str]:
    """Field by field; "" for what has a type by name."""
    whole = tlvs(remembered)
    several = int.from_bytes(whole.get(_EXPR, b""), _ORDER) == _CONCAT
    nests = map(tlvs, tlvs(whole.get(_DATA, b"")).values()) if several else [whole]
    found = []
    for nest in nests:
        parts = {kind: int.from_bytes(value, _ORDER) for kind, value in tlvs(nest.get(_DATA, b"")).items()}
        whose = int.from_bytes(nest.get(_EXPR, b""), _ORDER), *parts.values()
        base, offset, bits = (parts.get(kind, 0) for kind in (2, 3, 4))
        name = next((name for name, number in _BASES.items() if number == base), "")
        found.append(f"@{name},{offset},{bits}" if name and bits else _NAMED.get(whose, ""))
    return found


# -- keys of one or several fields -------------------------------------------------------------------------------------


class Shape(msgspec.Struct, frozen=True):
    """The fields of a key, or of what it leads to. `interval`: they may be prefixes and ranges."""

    fields: tuple[Type, ...]
    interval: bool

    @property
    def number(self) -> int:
        return functools.reduce(lambda whole, field: whole << _TYPE_BITS | field.number, self.fields, 0)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Octets of each field in a register."""
        return tuple(field.size + len(field.padding) for field in self.fields)

    @property
    def length(self) -> int:
        return self.fields[0].size if len(self.fields) == 1 else sum(self.lengths)

    @property
    def order(self) -> int:
        return self.fields[0].order if len(self.fields) == 1 else 0

    def pack(self, text: str) -> bytes:
        """A single value. Raises Invalid."""
        fields = self.fields
        try:
            if len(fields) == 1:
                return fields[0].pack(text)
            parts = text.split(" . ")
            return b"".join(f.pack(part) + f.padding for f, part in zip(fields, parts, strict=True))
        except (OSError, ValueError, OverflowError):
            raise Invalid(f"'{text}' is not of type {self}") from None

    def bounds(self, text: str) -> tuple[bytes, bytes]:
        """The first and the last value of a prefix or range, in each field. Raises Invalid."""
        fields = self.fields
        try:
            if len(fields) == 1:
                return _bounds(fields[0], text)
            pairs = [_bounds(f, part) for f, part in zip(fields, text.split(" . "), strict=True)]
        except (OSError, ValueError, OverflowError):
            raise Invalid(f"'{text}' is not of type {self}") from None
        low = b"".join(pair[0] + f.padding for f, pair in zip(fields, pairs, strict=True))
        return low, b"".join(pair[1] + f.padding for f, pair in zip(fields, pairs, strict=True))

    def text(self, low: bytes, high: bytes | None = None) -> str:
        """As nft prints it. `high`: the last value, in each field."""
        if len(self.fields) == 1:
            return _range_text(self.fields[0], low, low if high is None else high)
        parts, at = [], 0
        for field, length in zip(self.fields, self.lengths, strict=True):
            here = slice(at, at + field.size)
            parts.append(_range_text(field, low[here], (low if high is None else high)[here]))
            at += length
        return " . ".join(parts)

    def __str__(self) -> str:
        return " . ".join(field.name for field in self.fields)


@functools.cache
def shape(parts: tuple[str, ...], interval: bool = False) -> Shape:
    """Of the parts of a set's type. Raises Unsupported."""
    fields = tuple(TYPES[part] if part in TYPES else _place(part) for part in parts)
    if interval:
        fields = tuple(_MARK_IN_INTERVALS if field is _MARK else field for field in fields)
    return Shape(fields, interval)


def parts_of(number: int, remembered: bytes = b"") -> tuple[str, ...]:
    """The parts of a type, of which the kernel has the `number`, and nft remembered what they are taken from. Something
    that fits nothing, where one of them is of a type that Weft makes no sets of."""
    numbers: list[int] = []
    rest = number
    while rest:
        numbers.insert(0, rest & (1 << _TYPE_BITS) - 1)
        rest >>= _TYPE_BITS
    places = _places(remembered)
    if len(places) != len(numbers):
        places = [""] * len(numbers)
    found = [
        place if place or each == _INTEGER else _BY_NUMBER[each].name if each in _BY_NUMBER else ""
        for each, place in zip(numbers, places, strict=True)
    ]
    return tuple(found) if found and all(found) else (f"type {number:#x}",)


def _bounds(field: Type, text: str) -> tuple[bytes, bytes]:
    if field.prefixes:
        address, slash, length = text.partition("/")
        if slash:
            low, host = field.pack(address), 8 * field.size - int(length)
            mask = (1 << host) - 1
            number = int.from_bytes(low, "big")
            return (number & ~mask).to_bytes(field.size, "big"), (number | mask).to_bytes(field.size, "big")
    first, dash, last = text.partition("-")
    if dash and field.ranges:
        low, high = field.pack(first), field.pack(last)
        if low > high:
            raise ValueError(text)
        return low, high
    only = field.pack(text)
    return only, only


def _range_text(field: Type, low: bytes, high: bytes) -> str:
    if low == high:
        return field.text(low)
    first, last = int.from_bytes(low, "big"), int.from_bytes(high, "big")
    span = last - first + 1
    if field.prefixes and span & (span - 1) == 0 and first % span == 0:
        return f"{field.text(low)}/{8 * field.size - span.bit_length() + 1}"
    return f"{field.text(low)}-{field.text(high)}"
