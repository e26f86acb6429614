"""Words that all rules are made of."""

from __future__ import annotations

from collections.abc import Iterator

from weft.base.net import FAMILIES, Family
from weft.hoststate import NftChain, NftSet, Object
from weft.hoststate.firewall import INET, Hook, Table
from weft.hoststate.rules import Rule
from weft.hoststate.rules.matches import DADDR, Match

MESH_MARK = 0x7FE0_0000
"""Bits of marks of connections and packets that say by which host they came (`_routing_mesh`)."""

MULTICAST: dict[Family, str] = {4: "224.0.0.0/4", 6: "ff00::/8"}


def address(fam: Family) -> str:
    """A set's type for addresses of this family."""
    return f"ipv{fam}_addr"


def sets(name: str, *parts: str) -> Iterator[Object]:
    """A set of prefixes for each family. `parts` of a key, "" being an address of that family; none given: just that."""
    for fam in FAMILIES:
        kind = tuple(part or address(fam) for part in parts or ("",))
        yield NftSet(name=f"{name}{fam}", type=kind, flags=("interval",))


def base_chain(name: str, type: str, hook: str, priority: int, *rules: Rule, table: Table = INET) -> NftChain:
    return NftChain(name=name, table=table, hook=Hook(type=type, hook=hook, priority=priority), rules=rules)


def outside(fam: Family) -> tuple[Match, Match]:
    """Of packets that leave Weft's networks."""
    return DADDR[fam].not_among(f"cluster{fam}"), DADDR[fam].is_not(MULTICAST[fam])


def virtual() -> Iterator[NftSet]:
    """Addresses of services: what is sent to one is for whoever may talk to the member that it is translated to."""
    for fam in FAMILIES:
        yield NftSet(name=f"virtual{fam}", type=(address(fam),))
