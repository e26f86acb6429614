"""Expressions out of the attributes that the kernel wrote (NFTA_RULE_EXPRESSIONS)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

from weft.base.attributes import ATTR, attributes, name
from weft.filters.nft import act, compute, ct, meta, nat, payload
from weft.filters.nft.machine import Expression

_DECODERS: dict[str, Callable[[dict[int, bytes]], Expression]] = {
    "payload": payload.Payload.decode,
    "exthdr": payload.ExtensionHeader.decode,
    "meta": meta.Meta.decode,
    "ct": ct.Ct.decode,
    "cmp": compute.Cmp.decode,
    "range": compute.Range.decode,
    "bitwise": compute.Bitwise.decode,
    "byteorder": compute.Byteorder.decode,
    "immediate": compute.Immediate.decode,
    "lookup": compute.LookUp.decode,
    "dynset": compute.Dynset.decode,
    "nat": nat.Nat.decode,
    "masq": nat.Masquerade.decode,
    "redir": nat.Redirect.decode,
    "reject": act.Reject.decode,
    "quota": act.Quota.decode,
    "notrack": lambda found: act.Notrack(),
    "objref": act.ObjectReference.decode,
    "flow_offload": act.FlowAdd.decode,
    "numgen": act.Number.decode,
    "hash": act.Hash.decode,
    "fib": act.Fib.decode,
    "match": act.Match.decode,
    "target": act.Target.decode,
    **{kind: partial(act.Nothing, kind) for kind in ("counter", "log", "last", "dup")},
    **{kind: partial(act.Limit, kind) for kind in ("limit", "connlimit")},
    **{kind: partial(act.Ending, kind) for kind in ("queue", "fwd", "tproxy", "synproxy")},
}


@lru_cache(maxsize=1 << 16)
def expression(data: bytes) -> Expression:
    """One element of the list. Rules have most of theirs in common with others, so each is decoded once."""
    found = attributes(data[4:])
    kind = name(found, 1)
    own = attributes(found.get(2, b""))
    try:
        return _DECODERS.get(kind, partial(act.elsewhere, kind))(own)
    except (LookupError, ValueError, struct.error):  # of a kernel that knows more, or cut off
        return act.Elsewhere(kind, None)


def expressions(data: bytes) -> Iterator[Expression]:
    """Of a rule, one after the other: most rules do not match at their second one, and the rest need not be decoded."""
    start, end = 0, len(data)
    unpack = ATTR.unpack_from
    while start + 4 <= end:
        size, _kind = unpack(data, start)
        if size < 4:
            return
        yield expression(data[start : start + size])
        start += (size + 3) & ~3
