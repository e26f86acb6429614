"""Rules as nft would write them, and where they are."""

from __future__ import annotations

import msgspec

from weft.api.dump import NftChainDump, NftRuleDump, NftTableDump
from weft.filters import owners
from weft.filters.model import Where

_IPTABLES = frozenset(("filter", "nat", "mangle", "raw", "security"))
_HOOKS = frozenset(("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"))


def comment(userdata: bytes) -> str:
    """What nft keeps with a rule: type, length, value; the comment has type 0 (NFTNL_UDATA_RULE_COMMENT)."""
    at = 0
    while at + 2 <= len(userdata):
        kind, size = userdata[at], userdata[at + 1]
        if kind == 0:
            return userdata[at + 2 : at + 2 + size].rstrip(b"\0").decode(errors="replace")
        at += 2 + size
    return ""


def of_iptables(table: NftTableDump) -> bool:
    """Whether iptables-nft made the table: it has its names, and its chains at hooks have theirs."""
    bases = {chain.name for chain in table.chains if chain.hook}
    return table.family in ("ip", "ip6") and table.name in _IPTABLES and bool(bases) and bases <= _HOOKS


def rule(table: NftTableDump, chain: NftChainDump, found: NftRuleDump, hook: str) -> Where:
    said = comment(found.userdata)
    return msgspec.structs.replace(_where(table, chain, hook), handle=found.handle, comment=said)


def policy(table: NftTableDump, chain: NftChainDump) -> Where:
    return _where(table, chain, chain.hook)


def _where(table: NftTableDump, chain: NftChainDump, hook: str) -> Where:
    return Where(
        program="iptables" if of_iptables(table) else "nft",
        family=table.family,
        table=table.name,
        chain=chain.name,
        hook=hook,
        text=f"policy {chain.policy}",
        owner=owners.owner(table.name, chain.name),
    )
