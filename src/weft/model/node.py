"""A host that runs an agent."""

from __future__ import annotations

import msgspec

from weft.base.errors import Invalid
from weft.base.names import check_ifname, check_name
from weft.base.net import Family, IPAddress, IPInterface, family
from weft.model.selector import check_labels

HIGHEST_NUMBER = 1023
"""Of a node: ten bits of a mark tell nodes apart in the routing mesh."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A host. Written by its own agent only.

    `addresses`: its underlay addresses with the prefix length on the uplink, at most one of each family.
    `segment`: an L2 segment's name, where the operator gives one; else the on-link prefixes decide.
    `instance`: made once per installation, tells two hosts that were given the same name apart.
    `labels`: the operator's, for selectors. `asn`: its autonomous system, where BGP is spoken (RFC 4271; four octets, RFC
    6793); 0: the cluster's.
    `bgp_guards`: what this node can do to protect a BGP session with another node; a session has what both ends can do:
    "ttl" (RFC 5082) and "password" (RFC 2385). Older versions of Weft tell of none.
    `control`: TCP ports of its agent and of a store that runs there, which containers are kept from.
    `policy`: through what it enforces policy: "nftables" or "iptables".
    `ciphers`: the ways in which it can encrypt what it sends to other nodes (`weft.model.ciphers`), and what these must know of
    it for that: `wg_key`: its public key of WireGuard, in base64; `esp_salt`: what the keys of those who send to it are made
    of now; `esp_start`: what its own keys to send with are made of, drawn anew whenever it may have lost count of what it sent.
    `boot`: the kernel's boot id: local namespaces of an earlier boot no longer exist.
    `number`: its own in the cluster, 1 to `HIGHEST_NUMBER`, from which its addresses in the routing mesh are made; 0: it has
    none, as with older versions of Weft.
    """

    name: str
    addresses: tuple[IPInterface, ...]
    uplink: str
    mtu: int = 1500
    segment: str = ""
    labels: dict[str, str] = {}
    asn: int = 0
    bgp_guards: tuple[str, ...] = ()
    instance: str = ""
    control: tuple[int, ...] = ()
    policy: str = "nftables"
    ciphers: tuple[str, ...] = ()
    wg_key: str = ""
    esp_salt: str = ""
    esp_start: str = ""
    boot: str = ""
    number: int = 0
    version: str = ""

    def __post_init__(self) -> None:
        check_name("node", self.name)
        check_ifname(self.uplink)
        check_labels(f"node {self.name}", self.labels)
        if not 0 <= self.asn < 1 << 32:
            raise Invalid(f"node {self.name}: AS {self.asn} is outside 1 to {(1 << 32) - 1} (RFC 6793)")
        if not self.addresses:
            raise Invalid(
                f"node {self.name}: no underlay address: give {self.uplink} one, or choose another with --iface"
            )
        families = [family(a) for a in self.addresses]
        if len(set(families)) != len(families):
            raise Invalid(f"node {self.name}: more than one underlay address of one family: {_join(self.addresses)}")
        if not 0 <= self.number <= HIGHEST_NUMBER:
            raise Invalid(f"node {self.name}: number {self.number} is outside 1 to {HIGHEST_NUMBER}")
        if not 1280 <= self.mtu <= 65536:
            raise Invalid(f"node {self.name}: MTU {self.mtu} of {self.uplink} is outside 1280 to 65536")

    def address(self, fam: Family) -> IPAddress | None:
        """The underlay address of one family."""
        return next((a.ip for a in self.addresses if a.version == fam), None)

    def shares_segment(self, other: Node, fam: Family) -> bool:
        """Whether `other` is reached in this family without a router in between."""
        if self.segment or other.segment:
            return self.segment == other.segment
        return self.on_link(other, fam)

    def on_link(self, other: Node, fam: Family) -> bool:
        """Whether `other` is in the on-link prefix of this one's address."""
        mine = next((a for a in self.addresses if a.version == fam), None)
        theirs = other.address(fam)
        return mine is not None and theirs is not None and theirs in mine.network


def _join(values: tuple[object, ...]) -> str:
    return ", ".join(map(str, values))
