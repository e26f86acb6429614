"""What is declared about BGP: how the nodes speak it, and routers that they are to speak it with."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from weft.base.errors import Invalid
from weft.base.names import check_name, check_texts
from weft.base.net import IPAddress, IPNetwork, parse_network
from weft.model import selector

MOST_ASN = (1 << 32) - 1
"""RFC 6793."""
REFLECTOR = "route-reflector"
"""The label that makes a node a route reflector; its value is the cluster id (RFC 4456), an IPv4 address."""
ALL = ("all",)
NONE = ("none",)

# BIRD reads ASCII only: `[0-9]` and not `\d`, which takes the digits of every script.
_PATTERN = re.compile(
    r"(?P<prefix>[0-9A-Fa-f:.]+/[0-9]{1,3})(?:(?P<longer>\+)|\{(?P<low>[0-9]{1,3}),(?P<high>[0-9]{1,3})\})?"
)
_PASSWORD = re.compile(r"[ !#-~]{1,80}")
_COMMUNITY = re.compile(r"[0-9]{1,10}(:[0-9]{1,10}){1,2}")
_SECRET = re.compile(r"[0-9a-f]{64}")


class BgpSecret(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster's secret, of which the passwords of the sessions between its nodes are made. It is made once, by the node
    that needs it first. `value`: 32 octets in hex. It is in the store and in no answer, log or status."""

    value: str

    def __post_init__(self) -> None:
        if not _SECRET.fullmatch(self.value):
            raise Invalid("the cluster's secret for BGP is not 64 hexadecimal digits")

    def __repr__(self) -> str:
        return "BgpSecret(…)"


class BgpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Of the whole cluster. `asn`: of nodes that have none of their own. `hold_time`: seconds until a silent neighbour
    counts as gone (RFC 4271). `graceful_restart`: for so many seconds the routes of a neighbour stay whose BGP speaker, but
    not the host, went away (RFC 4724); 0: not at all. `mesh`: where no node is a route reflector, all nodes peer with all."""

    asn: int = 64512
    hold_time: int = 90
    graceful_restart: int = 120
    mesh: bool = True

    def __post_init__(self) -> None:
        check_asn("bgp", self.asn)
        check_hold_time("bgp", self.hold_time)
        if not 0 <= self.graceful_restart <= 4095:
            raise Invalid(f"bgp: graceful-restart {self.graceful_restart} is outside 0 to 4095 seconds (RFC 4724)")


class BgpPeer(msgspec.Struct, frozen=True, kw_only=True):
    """A router that is no node of the cluster. `address`: also tells the family that is spoken of. `nodes`: a selector of
    those that peer with it. `password`: TCP MD5 (RFC 2385). `ttl_security`: nothing from further away than it should be
    (RFC 5082). `hold_time`: 0: the cluster's.

    `accept`, `announce`: which prefixes are taken from it, and which of Weft's it is told: ("all",), ("none",), or patterns
    in BIRD's notation: `10.0.0.0/8` (that one), `10.0.0.0/8+` (and what is in it), `10.0.0.0/8{16,24}`. `scope`: it is told
    what lives on the node that speaks to it, or all of the cluster. `communities`: put on what is announced, `AS:VALUE`
    (RFC 1997) or `AS:VALUE:VALUE` (RFC 8092). `med`: of what lives on the node itself; of all else it is 100 more.
    `labels`: by which it is chosen among others."""

    name: str
    address: IPAddress
    asn: int
    nodes: str = ""
    password: str = ""
    ttl_security: bool = False
    hold_time: int = 0
    accept: tuple[str, ...] = ALL
    announce: tuple[str, ...] = ALL
    scope: Literal["node", "cluster"] = "cluster"
    communities: tuple[str, ...] = ()
    med: int = 0
    labels: dict[str, str] = {}

    def __hash__(self) -> int:
        """It is a key where it matters that it is as it was; labels cannot be hashed."""
        return hash((self.name, self.address, self.asn))

    def __post_init__(self) -> None:
        what = f"bgp peer {self.name}"
        check_name("bgp peer", self.name)
        check_asn(what, self.asn)
        check_texts(what, self.labels)
        selector.check(self.nodes)
        _check_address(what, self.address)
        if self.hold_time:
            check_hold_time(what, self.hold_time)
        if self.password and not _PASSWORD.fullmatch(self.password):
            raise Invalid(f"{what}: a password is 1 to 80 printable ASCII characters without '\"' (RFC 2385, BIRD)")
        for patterns in (self.accept, self.announce):
            if patterns not in (ALL, NONE):
                for pattern in patterns:
                    _check_pattern(what, pattern, self.address.version)
        for community in self.communities:
            _check_community(what, community)
        if not 0 <= self.med < MOST_ASN - 100:
            raise Invalid(f"{what}: med {self.med} is outside 0 to {MOST_ASN - 101}")


def check_asn(what: str, asn: int) -> None:
    """Raises Invalid. 23456 stands for numbers that need four octets (RFC 6793), 65535 and the last are reserved (RFC 7300)."""
    if not 1 <= asn < MOST_ASN or asn in (23456, 65535):
        raise Invalid(
            f"{what}: AS {asn} is none: choose 1 to {MOST_ASN - 1}, but not 23456 or 65535 (RFC 6793, RFC 7300)"
        )


def check_hold_time(what: str, seconds: int) -> None:
    if not 3 <= seconds <= 65535:
        raise Invalid(f"{what}: hold-time {seconds} is outside 3 to 65535 seconds (RFC 4271)")


def _check_address(what: str, address: IPAddress) -> None:
    for wrong, kind in (
        (address.is_multicast, "multicast"),
        (address.is_loopback, "a loopback address"),
        (address.is_unspecified, "no address"),
        (address.is_link_local, "link-local, which says nothing without an interface"),
    ):
        if wrong:
            raise Invalid(f"{what}: {address} is {kind}: give the router's address on its segment")


def canonical(pattern: str) -> str:
    """A pattern of `accept` or `announce` as BIRD reads it, its numbers and its prefix in their usual form."""
    found = _PATTERN.fullmatch(pattern)
    assert found is not None, "it was checked when the peer was built"
    lengths = f"{{{int(found['low'])},{int(found['high'])}}}" if found["low"] else found["longer"] or ""
    return f"{parse_network(found['prefix'])}{lengths}"


def _check_pattern(what: str, pattern: str, version: int) -> IPNetwork:
    found = _PATTERN.fullmatch(pattern)
    if found is None:
        raise Invalid(f"{what}: {pattern!r} is none of PREFIX, PREFIX+, PREFIX{{LOW,HIGH}}, or all, or none alone")
    prefix = parse_network(found["prefix"])
    if prefix.version != version:
        raise Invalid(
            f"{what}: {pattern} is not IPv{version} as the session is: add another peer, by its IPv{prefix.version}"
        )
    if found["low"] and not prefix.prefixlen <= int(found["low"]) <= int(found["high"]) <= prefix.max_prefixlen:
        raise Invalid(f"{what}: {pattern}: lengths go up from {prefix.prefixlen} to at most {prefix.max_prefixlen}")
    return prefix


def _check_community(what: str, community: str) -> None:
    parts = community.split(":")
    most = (1 << 16) - 1 if len(parts) == 2 else (1 << 32) - 1
    if not _COMMUNITY.fullmatch(community) or any(int(part) > most for part in parts):
        raise Invalid(
            f"{what}: {community!r} is no community: write 64512:100 (two numbers to 65535, RFC 1997) or 64512:1:100 "
            "(three to 4294967295, RFC 8092)"
        )
