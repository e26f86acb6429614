"""Chains of Weft's own in iptables, and maps that lead from addresses to chains."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeGuard

import msgspec

from weft.base.net import Family
from weft.hoststate.rules import Rule, Rules
from weft.hoststate.rules.actions import Action, Dispatch
from weft.hoststate.rules.iptables import SET_PREFIX

Backend = Literal["nft", "legacy"]


class IptablesChain(msgspec.Struct, frozen=True, kw_only=True):
    """A chain of ours, and the jump to it from `parent`, before all rules that are not ours; "": only other chains of ours
    lead to it. `first`: what Docker puts first in `parent` comes after it, too, as do other chains of ours.

    Needed because an accept in one nftables table does not overrule the drop policy that another program (Docker) gives to
    iptables' FORWARD; and where policy is enforced by iptables."""

    kind: ClassVar[str] = "iptables-chain"

    backend: Backend
    family: Family
    table: str
    parent: str = ""
    name: str
    first: bool = False
    rules: Rules = ()
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("iptables-chain", self.ns, self.backend, str(self.family), self.table, self.name)

    @property
    def marks(self) -> tuple[str, ...]:
        """Raises Unsupported."""
        return tuple(rule.iptables_mark(self.family) if isinstance(rule, Rule) else rule.mark for rule in self.rules)

    @property
    def lines(self) -> tuple[str, ...]:
        """Its rules as arguments, behind "-A CHAIN". Raises Unsupported."""
        return tuple(rule.iptables(self.family) for rule in self.rules if isinstance(rule, Rule))

    @property
    def sets(self) -> set[tuple[str, ...]]:
        """The keys of the sets that its rules look up, and of the maps that lead on."""
        maps = {
            action.map for rule in self.rules if isinstance(rule, Rule) for action in rule.actions if _leads(action)
        }
        names = {name for rule in self.rules for name in rule.sets} - maps
        return {("ipset", self.ns, SET_PREFIX + name) for name in names} | {
            ("iptables-map", *self.key[1:-1], name) for name in maps
        }

    @property
    def jumps(self) -> set[tuple[str, ...]]:
        """The keys of the chains that its rules lead to."""
        return {(*self.key[:-1], name) for rule in self.rules for name in rule.jumps}


def _leads(action: Action) -> TypeGuard[Dispatch]:
    return isinstance(action, Dispatch)


class IptablesMap(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Leads packets to a chain by the address of one `end`, as a verdict map of nftables does: a tree of chains that asks for a
    few bits of the address at a time, so that its cost grows with the logarithm of the number of addresses. A rule asks it
    by Dispatch. What an address sends to itself by another one, which was
    translated, is led nowhere. Its chains are called after its `name`."""

    kind: ClassVar[str] = "iptables-map"

    backend: Backend
    family: Family
    table: str
    name: str
    end: Literal["source", "destination"]
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("iptables-map", self.ns, self.backend, str(self.family), self.table, self.name)


class IptablesElement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The packets of an `address` go on in the chain `to`, and from its end to the rule after the one that asked the map.
    `end`: as of the map."""

    kind: ClassVar[str] = "iptables-element"

    backend: Backend
    family: Family
    table: str
    map: str
    end: Literal["source", "destination"]
    address: str
    to: str
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("iptables-element", self.ns, self.backend, str(self.family), self.table, self.map, self.address)

    @property
    def holder(self) -> tuple[str, ...]:
        """The key of its map."""
        return ("iptables-map", self.ns, self.backend, str(self.family), self.table, self.map)
