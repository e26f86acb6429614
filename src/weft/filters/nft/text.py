"""Rules as nft would write them, and where they are."""

from __future__ import annotations

import msgspec

from weft.api.dump import NftChainDump, NftRuleDump, NftTableDump
from weft.filters.model import Where
from weft.filters.nft.write import written
from weft.filters.xt import Ipsets, commands, spec

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


def rule(table: NftTableDump, chain: NftChainDump, found: NftRuleDump, hook: str, ipsets: Ipsets) -> Where:
    where = msgspec.structs.replace(_where(table, chain, hook), handle=found.handle, comment=comment(found.userdata))
    if not of_iptables(table):
        return msgspec.structs.replace(where, text=written(table, found))
    said = spec(found.expressions, table.family, ipsets)
    position = next((n for n, each in enumerate(chain.rules, 1) if each.handle == found.handle), 0)
    how = commands.of_rule(_program(table), table.name, chain.name, position, said.text if said.whole else "")
    return msgspec.structs.replace(where, text=f"-A {chain.name} {said.text}", show=how.show, remedy=how.remedy)


def policy(table: NftTableDump, chain: NftChainDump) -> Where:
    where = _where(table, chain, chain.hook)
    if not of_iptables(table):
        return msgspec.structs.replace(where, text=f"policy {chain.policy}")
    how = commands.of_policy(_program(table), table.name, chain.name)
    return msgspec.structs.replace(
        where, text=f"-P {chain.name} {chain.policy.upper()}", show=how.show, remedy=how.remedy
    )


def _program(table: NftTableDump) -> str:
    return commands.program("nft", table.family)


def _where(table: NftTableDump, chain: NftChainDump, hook: str) -> Where:
    program = "iptables" if of_iptables(table) else "nft"
    return Where(program=program, family=table.family, table=table.name, chain=chain.name, hook=hook)
