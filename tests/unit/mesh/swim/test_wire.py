"""Messages, what seals them, and news that are told on."""

from __future__ import annotations

import asyncio
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.base.errors import Denied, Invalid, WeftError
from weft.mesh.secret import Secret
from weft.mesh.swim import seal, streams
from weft.mesh.swim.gossip import Gossip
from weft.mesh.swim.seal import Seal
from weft.mesh.swim.wire import LARGEST, ROOM, Ack, Alive, Everything, Left, Nack, alive, encode, pack, unpack

CLAIM = Alive(name="node-1", uid="u", instance="i", incarnation=1, address=bytes((10, 0, 0, 1)), port=6785)
OLD, NEW = Secret(b"0123456789abcdef"), Secret(b"fedcba9876543210")


def test_what_is_packed_is_read_again_and_what_is_not_understood_passed_over() -> None:
    later = msgspec.msgpack.encode([99, "of a later version"])
    more = msgspec.msgpack.encode([6, 7, "a field of a later version"])
    assert unpack(pack([encode(CLAIM), later, more, encode(Nack(3))])) == [CLAIM, Ack(7), Nack(3)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../etc"},
        {"name": "a\n"},
        {"uid": ""},
        {"instance": "x" * 65},
        {"incarnation": -1},
        {"incarnation": 2**60},
        {"address": b""},
        {"address": bytes(5)},
        {"address": bytes(4)},
        {"address": bytes((224, 0, 0, 1))},
        {"address": b"\xff" * 16},
        {"port": 0},
        {"facts": {"x": "y" * 513}},
        {"facts": {"x": "\x1b[2J"}},
    ],
)
def test_a_claim_that_cannot_be_is_none(wrong: dict[str, object]) -> None:
    fields = {**{name: getattr(CLAIM, name) for name in CLAIM.__struct_fields__}, **wrong}
    assert unpack(pack([msgspec.msgpack.encode([1, *fields.values()]), encode(Ack(1))])) == [Ack(1)]


@given(st.binary(max_size=80))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    for read in (unpack, lambda data: Seal([OLD]).open(data, seal.DATAGRAM)):
        try:
            read(data)
        except WeftError as error:
            assert "\n" not in str(error)


def test_what_is_sealed_opens_with_one_of_the_secrets_in_its_own_way_and_unchanged() -> None:
    both, old, new = Seal([NEW, OLD]), Seal([OLD]), Seal([NEW])
    sealed = old.close(b"hello", seal.DATAGRAM)
    assert both.open(sealed, seal.DATAGRAM) == old.open(sealed, seal.DATAGRAM) == b"hello"
    assert new.open(both.close(b"hello", seal.DATAGRAM), seal.DATAGRAM) == b"hello"
    assert len(sealed) == 5 + seal.OVERHEAD and sealed != old.close(b"hello", seal.DATAGRAM)
    with pytest.raises(Denied, match="another secret"):
        new.open(sealed, seal.DATAGRAM)
    with pytest.raises(Denied, match="changed on its way"):
        old.open(sealed, seal.STREAM)
    for at in range(len(sealed)):
        with pytest.raises(Denied):
            old.open(sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :], seal.DATAGRAM)


def test_news_told_least_go_first_and_no_more_often_than_asked() -> None:
    gossip = Gossip()
    for name in ("a", "b", "c"):
        gossip.put(Left(name, "u", 1))
    size = len(encode(Left("a", "u", 1)))
    assert gossip.take(2 * size + 1, 2) == [encode(Left(name, "u", 1)) for name in "ab"]
    gossip.put(Left("a", "u", 2))
    assert gossip.take(2 * size, 2) == [encode(Left("c", "u", 1)), encode(Left("a", "u", 2))]
    told = [each for _ in range(9) for each in gossip.take(1000, 2)]
    assert sorted(told) == sorted([encode(Left("b", "u", 1)), encode(Left("c", "u", 1)), encode(Left("a", "u", 2))])
    assert not gossip and gossip.take(1000, 2) == []


def test_the_largest_claim_goes_into_a_datagram() -> None:
    largest = alive(
        CLAIM,
        name="n" * 63,
        uid="u" * 64,
        instance="i" * 64,
        address=b"\xfd" * 16,
        facts={"x": "y" * 506},
        incarnation=2**53,
    )
    gossip = Gossip()
    gossip.put(largest)
    data = Seal([OLD]).close(pack([encode(CLAIM), *gossip.take(ROOM - len(encode(CLAIM)), 9)]), seal.DATAGRAM)
    assert len(data) <= LARGEST and unpack(Seal([OLD]).open(data, seal.DATAGRAM)) == [CLAIM, largest]


async def test_streams_are_bounded_and_refuse_what_is_not_of_members() -> None:
    keys = Seal([OLD])

    async def read(data: bytes) -> object:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await streams.read(keys, reader)

    everything = Everything("node-1", "u", [])
    assert await read(streams.frame(keys, everything)) == everything
    with pytest.raises(Denied, match="no message of Weft's members"):
        await read(b"GET / HTTP/1.1\r\n")
    with pytest.raises(EOFError):
        await read(streams.frame(keys, everything)[:-1])
    refused = {zlib.compress(bytes(5 * 2**20)): "more than", b"not": "not compressed", zlib.compress(b"x"): "not what"}
    for inside, said in refused.items():
        sealed = keys.close(inside, seal.STREAM)
        with pytest.raises(Invalid, match=said):
            await read(len(sealed).to_bytes(4, "big") + sealed)
