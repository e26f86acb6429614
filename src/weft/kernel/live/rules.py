"""What the rules say that decided against a packet, in nft's own words, and whose they are. The kernel's trace tells only where
they are; so the rules of that namespace are read once, where there is one to be named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from weft.api.dump import FiltersDump, NftTableDump
from weft.api.live import RuleSeen
from weft.filters.model import Where
from weft.filters.nft import text
from weft.filters.owners import owner
from weft.filters.xt import Ipsets
from weft.kernel.host import filters

AGAINST = ("drop", "queue", "stolen")
"""Verdicts with which a packet does not go on. A rule that refuses ("reject") is told as one that drops."""


def described(seen: Iterable[RuleSeen]) -> list[RuleSeen]:
    """All of them; of those that decided against the packet with text, comment and owner, as far as they are still there."""
    dumps: dict[str, FiltersDump] = {}
    found = []
    for one in seen:
        if one.verdict in AGAINST:
            if one.namespace not in dumps:
                dumps[one.namespace] = filters.of(one.namespace)
            one = _told(one, dumps[one.namespace])
        found.append(one)
    return found


def _told(seen: RuleSeen, dump: FiltersDump) -> RuleSeen:
    for table, where in _places(seen, dump):
        beside = () if where.handle else (chain.name for chain in table.chains)
        whose = where.owner or owner(where.table, where.chain, where.comment, beside)
        return msgspec.structs.replace(seen, text=where.text, comment=where.comment, owner=whose)
    return seen


def _places(seen: RuleSeen, dump: FiltersDump) -> Iterator[tuple[NftTableDump, Where]]:
    for table in dump.nft:
        for chain in table.chains:
            if (table.family, table.name, chain.name) != (seen.family, seen.table, seen.chain):
                continue
            if not seen.handle:
                yield table, text.policy(table, chain)
            for rule in chain.rules:
                if rule.handle == seen.handle:
                    yield table, text.rule(table, chain, rule, chain.hook, Ipsets(dump.ipsets))
