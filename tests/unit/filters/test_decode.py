"""What is not understood of a rule is a doubt."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from support.filtered import seen
from weft.api.dump import FiltersDump, NftChainDump, NftRuleDump, NftTableDump
from weft.filters.nft.decode import _DECODERS
from weft.filters.rules import Filters


def attr(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", len(data) + 4, kind) + data + b"\0" * (-len(data) & 3)


def number(kind: int, value: int) -> bytes:
    return attr(kind, struct.pack(">I", value))


def expression(name: str, own: bytes) -> bytes:
    return attr(1, attr(1, name.encode() + b"\0") + attr(2, own))


def judged(*expressions: bytes) -> tuple[str, list[str]]:
    """The verdict on a packet where a rule has these and then drops, and the policy accepts."""
    drop = expression("immediate", number(1, 0) + attr(2, attr(2, number(1, 0))))
    rule = NftRuleDump(handle=1, expressions=b"".join((*expressions, drop)))
    chain = NftChainDump(name="c", type="filter", hook="forward", rules=(rule,))
    dump = FiltersDump(nft=(NftTableDump(family="ip", name="t", chains=(chain,)),))
    verdict = Filters(dump).run("forward", "ip", seen("tcp 10.0.0.1 10.0.0.2 80"))
    return verdict.action, [doubt.why for doubt in verdict.doubts]


def test_an_expression_that_nobody_knows_is_a_doubt() -> None:
    assert judged(expression("quantum", b"")) == ("depends", ["the expression quantum"])
    newer = number(1, 1) + number(2, 77) + attr(3, attr(1, b"\1"))
    assert judged(expression("cmp", newer)) == ("depends", ["the expression cmp"])
    assert judged() == ("drop", [])


NUMBERS = st.one_of(st.integers(0, 40), st.integers(0, 0xFFFFFFFF)).map(lambda number: struct.pack(">I", number))
OWN = st.dictionaries(st.integers(1, 12), st.one_of(NUMBERS, st.binary(max_size=24)), max_size=9)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(sorted(_DECODERS)), OWN), min_size=1, max_size=5))
def test_nonsense_in_an_edited_dump_comes_to_an_end(made: list[tuple[str, dict[int, bytes]]]) -> None:
    octets = b"".join(expression(kind, b"".join(attr(n, data) for n, data in own.items())) for kind, own in made)
    chain = NftChainDump(name="c", type="filter", hook="forward", rules=(NftRuleDump(handle=1, expressions=octets),))
    found = Filters(FiltersDump(nft=(NftTableDump(family="ip", name="t", chains=(chain,)),)))
    found.run("forward", "ip", seen("tcp 10.0.0.1 10.0.0.2 80"))
