"""What members say to each other.

A datagram is a list of messages (msgpack), sealed (`weft.mesh.swim.seal`). A message is an array that begins with its number;
later versions may add fields at its end and messages with other numbers, which are passed over here. No message carries a time
of day: clocks of hosts may be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from weft.base.errors import Invalid
from weft.mesh.membership import Standing
from weft.mesh.swim import seal

Place = tuple[str, int]
"""Address as text, and port."""
LARGEST = 1400
"""Octets of a datagram."""
ROOM = LARGEST - seal.OVERHEAD - 3
"""Octets of messages in one: without what seals it and the list's head."""
MOST_FACTS = 512

Name = Annotated[str, Meta(pattern=r"\A[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\Z")]
Id = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z-]{1,64}\Z")]
Incarnation = Annotated[int, Meta(ge=0, le=2**53)]
Number = Annotated[int, Meta(ge=0, lt=2**32)]


class Alive(msgspec.Struct, frozen=True, array_like=True, tag=1, dict=True):
    """What a member says of itself, told on by others word for word. `instance` is the host's, through all its starts;
    `uid` is of one start. Who says something new raises `incarnation`; of two claims the higher one counts. Only the member
    itself raises it, so nobody else changes what is said of it."""

    name: Name
    uid: Id
    instance: Id
    incarnation: Incarnation
    address: Annotated[bytes, Meta(min_length=4, max_length=16)]
    port: Annotated[int, Meta(ge=1, le=65535)]
    facts: dict[str, str] = {}

    def __post_init__(self) -> None:
        address = self.address
        first = address[0]
        if len(address) not in (4, 16) or first >= (224 if len(address) == 4 else 255) or not any(address):
            raise ValueError(f"{address.hex()} is no host's address")
        if self.facts:
            check_facts(self.facts)

    @cached_property
    def ip(self) -> IPv4Address | IPv6Address:
        return ip_address(self.address)

    @cached_property
    def place(self) -> Place:
        return (str(self.ip), self.port)


class Suspect(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """`by` had no answer of it."""

    name: Name
    uid: Id
    incarnation: Incarnation
    by: Name


class Dead(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """It was suspected, by several or for long, and did not contradict."""

    name: Name
    uid: Id
    incarnation: Incarnation
    by: Name


class Left(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Said by itself."""

    name: Name
    uid: Id
    incarnation: Incarnation


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Asks `target` for an Ack. Who is called otherwise does not answer: the address is another's now."""

    number: Number
    target: Name
    name: Name
    uid: Id


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=6):
    number: Number


class Relay(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Asks a third member to ping `target`, and to answer by Relayed, or by Nack in time."""

    number: Number
    target: Name


class Relayed(msgspec.Struct, frozen=True, array_like=True, tag=8):
    number: Number


class Nack(msgspec.Struct, frozen=True, array_like=True, tag=9):
    number: Number


class State(msgspec.Struct, frozen=True, array_like=True):
    """What one member knows of one. `doubted`: the incarnation at which it was suspected, or dead, or left."""

    claim: Alive
    standing: Standing
    doubted: Incarnation


class Everything(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """All that `by` knows. By TCP only, answered in kind."""

    by: Name
    uid: Id
    states: list[State]


News = Alive | Suspect | Dead | Left
Datagram = News | Ping | Ack | Relay | Relayed | Nack
Stream = Everything | Ping | Ack
Message = Datagram | Everything

encode = msgspec.msgpack.Encoder().encode
_datagram = msgspec.msgpack.Decoder(list[Datagram])
_one = msgspec.msgpack.Decoder(Datagram)
_raw = msgspec.msgpack.Decoder(list[msgspec.Raw])
_stream = msgspec.msgpack.Decoder(Stream)


def check_facts(facts: Mapping[str, str]) -> None:
    """Raises ValueError."""
    if (size := len(encode(facts))) > MOST_FACTS:
        raise ValueError(f"what a host says of itself takes {size} octets, at most {MOST_FACTS} are told on: say less")
    for key, value in facts.items():
        if not (key.isprintable() and value.isprintable()):
            raise ValueError(f"what a host says of itself is printable: {key!r}={value!r} is not")


def pack(messages: Sequence[bytes]) -> bytes:
    """A datagram of messages that are encoded already: most are sent several times."""
    return b"\xdc" + len(messages).to_bytes(2, "big") + b"".join(messages)


def unpack(data: bytes) -> list[Datagram]:
    """Messages that are not understood are left out. Raises Invalid where none can be read."""
    try:
        return _datagram.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        each = [_understood(raw) for raw in _raw.decode(data)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"not a list of messages: {error}") from None
    return [message for message in each if message is not None]


def _understood(raw: msgspec.Raw) -> Datagram | None:
    try:
        message: Datagram = _one.decode(raw)
        return message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_stream(data: bytes) -> Stream:
    """Raises Invalid."""
    try:
        message: Stream = _stream.decode(data)
        return message
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"not what members say: {error}") from None


def alive(claim: Alive, **changed: Any) -> Alive:
    """The claim with something changed. (`msgspec.structs.replace` does not look at what it is given.)"""
    return Alive(**{**{field: getattr(claim, field) for field in claim.__struct_fields__}, **changed})
