"""What is not understood of a rule is a doubt."""

from __future__ import annotations

import struct

from support.filtered import seen
from weft.api.dump import FiltersDump, NftChainDump, NftRuleDump, NftTableDump
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
