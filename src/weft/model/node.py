"""A host that runs an agent."""

from __future__ import annotations

import msgspec

from weft.base.errors import Invalid
from weft.base.names import check_ifname, check_name
from weft.base.net import Family, IPAddress, IPInterface, family


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A host. Written by its own agent only.

    `addresses`: its underlay addresses with the prefix length on the uplink, at most one of each family.
    `segment`: an L2 segment's name, where the operator gives one; else the on-link prefixes decide.
    `instance`: made once per installation, tells two hosts that were given the same name apart.
    `boot`: the kernel's boot id: local namespaces of an earlier boot no longer exist.
    """

    name: str
    addresses: tuple[IPInterface, ...]
    uplink: str
    mtu: int = 1500
    segment: str = ""
    instance: str = ""
    boot: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        check_name("node", self.name)
        check_ifname(self.uplink)
        if not self.addresses:
            raise Invalid(
                f"node {self.name}: no underlay address: give {self.uplink} one, or choose another with --iface"
            )
        families = [family(a) for a in self.addresses]
        if len(set(families)) != len(families):
            raise Invalid(f"node {self.name}: more than one underlay address of one family: {_join(self.addresses)}")
        if not 1280 <= self.mtu <= 65536:
            raise Invalid(f"node {self.name}: MTU {self.mtu} of {self.uplink} is outside 1280 to 65536")

    def address(self, fam: Family) -> IPAddress | None:
        """The underlay address of one family."""
        return next((a.ip for a in self.addresses if a.version == fam), None)

    def shares_segment(self, other: Node, fam: Family) -> bool:
        """Whether `other` is reached in this family without a router in between."""
        if self.segment or other.segment:
            return self.segment == other.segment
        mine = next((a for a in self.addresses if a.version == fam), None)
        theirs = other.address(fam)
        return mine is not None and theirs is not None and theirs in mine.network


def _join(values: tuple[object, ...]) -> str:
    return ", ".join(map(str, values))
