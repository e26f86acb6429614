"""Words that all rules are made of."""

from __future__ import annotations

from collections.abc import Iterator

from weft.base.net import FAMILIES, Family
from weft.hoststate import NftChain, NftSet, Object

MULTICAST: dict[Family, str] = {4: "224.0.0.0/4", 6: "ff00::/8"}
IP: dict[Family, str] = {4: "ip", 6: "ip6"}
"""The family's word in nftables."""


def sets(name: str, type: str = "{addr}") -> Iterator[Object]:
    """A set of prefixes for each family."""
    for fam in FAMILIES:
        yield NftSet(name=f"{name}{fam}", type=type.format(addr=f"ipv{fam}_addr"), flags=("interval",))


def base_chain(name: str, hook: str, *rules: str) -> NftChain:
    return NftChain(name=name, hook=f"{hook}; policy accept;", rules=rules)
