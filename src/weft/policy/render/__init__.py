"""From programs to kernel objects. There is a module for each way to enforce policy, with the same functions (`Renderer`)."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Literal, Protocol, cast

from weft.base.net import FAMILIES, Family, IPAddress
from weft.hoststate import Key, Object
from weft.policy.model import Direction
from weft.policy.program import Chain, Lookup, SetSpec, Use
from weft.policy.render import iptables, nft
from weft.policy.render.marks import CUT

__all__ = ["CUT", "Means", "Renderer", "renderer"]

Means = Literal["nftables", "iptables"]
"""Through what policy is enforced."""


class Renderer(Protocol):
    """`ns`: the namespace that it is for."""

    def base(self, ns: str) -> Iterator[Object]:
        """What all of policy stands on, in one namespace."""

    def chain(self, found: Chain, ns: str) -> Iterator[Object]:
        """A chain of a program."""

    def looked_up(self, found: Chain, lookup: Lookup, use: Use, address: IPAddress, ns: str) -> Iterator[Object]:
        """What has a member of a set looked up instead of tried; nothing where all lines are tried."""

    def counted(self, found: Chain) -> Iterator[tuple[str, int, int]]:
        """Where each line of a chain is counted: (the kernel's chain, the rule in it, the line)."""

    def table_set(self, spec: SetSpec, ns: str) -> Iterator[Object]:
        """A set that programs name, in both families."""

    def element(self, spec: SetSpec, fam: Family, value: str, ns: str) -> Iterator[Object]:
        """A member of a set: an address, a prefix, or ADDRESS . PROTOCOL . PORT."""

    def dispatch(self, address: IPAddress, direction: Direction, to: Chain, ns: str) -> Iterator[Object]:
        """Which chain the packets of an endpoint's address are led to."""

    def itself(self, address: IPAddress, ns: str) -> Iterator[Object]:
        """What an endpoint sends to itself by another address, such as its host's, is nobody's matter."""

    def keys(self, address: IPAddress, direction: Direction, ns: str) -> Iterator[Key]:
        """Of the objects that close an endpoint."""


def renderer(policy: Means, in_use: Set[tuple[int, str]], *, ipv6: bool = True) -> Renderer:
    """`policy`: as the node's settings say. `in_use`: the back ends of iptables that are, as (family, back end). `ipv6`:
    whether the host speaks it."""
    if policy == "nftables":
        return cast(Renderer, nft)
    return iptables.renderer(iptables.backend(in_use), FAMILIES if ipv6 else (4,))
