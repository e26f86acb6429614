"""Rules: Weft's own nftables tables `inet weft` and `bridge weft`, and chains of its own where iptables is in use.

Rules are text exactly as `nft list` and `iptables-save` print them, so that what is read back can be compared.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

TABLE = "weft"
"""Ownership mark: everything in the tables of this name of the families `inet` and `bridge` is ours, nothing outside is."""
Family = Literal["inet", "bridge"]

CHAIN_PREFIX = "WEFT-"
"""Ownership mark of iptables chains, and of the jumps to them."""


class NftSet(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`type`: "ipv4_addr", "inet_service", "ipv4_addr . ipv4_addr" …, or "typeof" and an expression, for what has no type by
    name. `flags`: ("interval",) for prefixes.
    `to`: the type of what each element leads to, which makes it a map (rules name it as they name a set, `@name`)."""

    kind: ClassVar[str] = "nft-set"

    name: str
    type: str
    flags: tuple[str, ...] = ()
    to: str = ""
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("nft-set", self.ns, self.name)


class NftElement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One element of a set: "10.1.0.0/16", "8472", "10.1.0.0/16 . 10.1.0.0/16"; of a map also what it leads to."""

    kind: ClassVar[str] = "nft-element"

    set: str
    value: str
    to: str = ""
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("nft-element", self.ns, self.set, self.value)


def element_text(obj: NftElement) -> str:
    """As it stands between the braces."""
    return f"{obj.value} : {obj.to}" if obj.to else obj.value


def set_text(obj: NftSet) -> str:
    """As it stands behind `add`."""
    flags = f" flags {','.join(obj.flags)};" if obj.flags else ""
    to = f" : {obj.to}" if obj.to else ""
    kind = obj.type if obj.type.startswith("typeof ") else f"type {obj.type}"
    return f"{noun(obj)} inet {TABLE} {obj.name} {{ {kind}{to};{flags} }}"


def noun(obj: NftSet) -> str:
    return "map" if obj.to else "set"


class NftChain(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`hook`: "type filter hook forward priority filter; policy accept;" for a base chain, "" for one jumped to. `family`:
    of its table; no two chains of one namespace have the same name, whatever their family."""

    kind: ClassVar[str] = "nft-chain"

    name: str
    family: Family = "inet"
    hook: str = ""
    rules: tuple[str, ...] = ()
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("nft-chain", self.ns, self.name)


class IptablesChain(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A chain of ours and the jump to it, first in `parent`. Needed because an accept in one nftables table does not
    overrule the drop policy that another program (Docker) gives to iptables' FORWARD. `rules` without "-A CHAIN"."""

    kind: ClassVar[str] = "iptables-chain"

    backend: Literal["nft", "legacy"]
    family: Literal[4, 6]
    table: str
    parent: str
    name: str
    rules: tuple[str, ...] = ()
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("iptables-chain", self.ns, self.backend, str(self.family), self.table, self.name)
