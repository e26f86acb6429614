"""What rules have counted. Rules are read alone, never the sets that they name: with these it would take seconds."""

from __future__ import annotations

import struct

from weft.hoststate.firewall import INET, TABLE
from weft.kernel.kinds.iptables import counted as of_iptables
from weft.kernel.plumbing import netns
from weft.kernel.plumbing import uapi as u
from weft.kernel.plumbing.netlink import attr, attributes
from weft.kernel.plumbing.nfnl import NFGENMSG, Nftables
from weft.policy.counting import Count, Counts


def nft(ns: str, chain: str = "") -> Counts:
    """Of Weft's table `inet` in a namespace: of all chains, or of one. Raises NotFound, Denied, Failed."""
    return netns.call(ns, lambda: _read(u.NFPROTO_INET, chain))


def bridged(ns: str) -> Counts:
    """Of Weft's table `bridge` there; of none where the kernel has no nftables for bridges. Raises NotFound, Denied, Failed."""
    return netns.call(ns, lambda: _read(u.NFPROTO_BRIDGE))


def _read(family: int, chain: str = "") -> Counts:
    body = NFGENMSG.pack(family, 0, 0) + attr(u.NFTA_RULE_TABLE, TABLE.encode() + b"\0")
    if chain:
        body += attr(u.NFTA_RULE_CHAIN, chain.encode() + b"\0")
    found: dict[str, list[Count]] = {}
    with Nftables() as kernel:
        for name, count in kernel.dump(u.NFT_MSG_GETRULE, body, _decode):
            found.setdefault(name, []).append(count)
    return found


def iptables(ns: str) -> Counts:
    """Of Weft's chains in iptables, which are told with their family: "WEFT-…/4". Raises WeftError."""
    return {chain: [Count(*each) for each in found] for chain, found in of_iptables(ns).items()}


_COUNTER = attr(u.NFTA_EXPR_NAME, b"counter\0")
"""How the expression begins that is wanted."""


def _decode(data: bytes, start: int, end: int) -> tuple[str, Count] | None:
    """There may be tens of thousands of rules: of their expressions only this one is read."""
    found = attributes(data, start + NFGENMSG.size, end)
    if found.get(u.NFTA_RULE_TABLE, b"").rstrip(b"\0").decode() != INET.name:
        return None
    name = found.get(u.NFTA_RULE_CHAIN, b"").rstrip(b"\0").decode()
    said = found.get(u.NFTA_RULE_EXPRESSIONS, b"")
    at = said.find(_COUNTER)
    if at < 0:
        return name, Count()
    inner = attributes(said, at + len(_COUNTER), len(said)).get(u.NFTA_EXPR_DATA, b"")
    parts = attributes(inner, 0, len(inner))
    packets, octets = (parts.get(part, bytes(8)) for part in (u.NFTA_COUNTER_PACKETS, u.NFTA_COUNTER_BYTES))
    return name, Count(*struct.unpack(">QQ", packets + octets))
