"""Sets of addresses that rules of iptables look up (ipset(8)). Those that Weft writes for nftables are of another kind."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from weft.base.errors import Invalid
from weft.base.net import Family
from weft.hoststate.rules.iptables import SET_PREFIX

LONGEST_NAME = 31
IpsetType = Literal["hash:ip", "hash:net", "hash:ip,port"]
MAXELEM = 1 << 24
"""So many elements a set takes at most. Only a limit: memory is taken as elements come."""


class Ipset(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`type`: an IpsetType; what is found on a host may be of another one, or have options that ours have not. Raises
    Invalid."""

    kind: ClassVar[str] = "ipset"

    name: str
    type: str
    family: Family
    ns: str = ""

    def __post_init__(self) -> None:
        if not self.name.startswith(SET_PREFIX) or len(self.name) > LONGEST_NAME:
            raise Invalid(f"a set of Weft's cannot be called '{self.name}': {SET_PREFIX}…, {LONGEST_NAME} characters")

    @property
    def key(self) -> tuple[str, ...]:
        return ("ipset", self.ns, self.name)


class IpsetElement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One element of a set: "10.1.0.2"; in a "hash:net" also "10.1.0.0/16", but for a prefix of length 0, which no such set
    takes; in a "hash:ip,port" "10.1.0.2,tcp:80"."""

    kind: ClassVar[str] = "ipset-element"

    set: str
    value: str
    ns: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("ipset-element", self.ns, self.set, self.value)

    @property
    def holder(self) -> tuple[str, ...]:
        """The key of its set."""
        return ("ipset", self.ns, self.set)
