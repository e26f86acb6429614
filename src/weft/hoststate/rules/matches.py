"""What a rule asks of a packet: comparisons of what the packet, its device or its connection says.

Fields have nftables' names ("ip saddr", "tcp dport", "ct state"). Several together are a concatenation, which is looked up
in a set as one key. Values are checked here, so that a renderer can write them as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import msgspec

from weft.base.errors import Invalid, WeftError
from weft.base.net import Family, family, parse_network


def _form(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text) is not None


def _prefix(of: Family) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return family(parse_network(text)) == of
        except WeftError:
            return False

    return check


def _numbers(most: int) -> Callable[[str], bool]:
    """A number, or a range of them as "8000-8099"."""

    def check(text: str) -> bool:
        parts = text.split("-")
        numbers = [int(part) for part in parts if re.fullmatch(r"\d{1,10}", part)]
        return len(numbers) == len(parts) <= 2 and numbers == sorted(numbers) and numbers[-1] <= most

    return check


_WORD = _form(r"[a-z0-9][a-z0-9-]*")
_DEVICE = _form(r"[!#-)+-.0-9;-~]{1,15}|[!#-)+-.0-9;-~]{1,14}\*")  # neither quotes, "/" nor ":"; "*" at the end only
_MAC = _form(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MARK = _form(r"0x[0-9a-f]{1,8}(/0x[0-9a-f]{1,8})?")
_PORT = _numbers(0xFFFF)

FIELDS: dict[str, Callable[[str], bool]] = {
    "iifname": _DEVICE,
    "oifname": _DEVICE,
    "iifgroup": _numbers(0xFFFFFFFF),
    "oifgroup": _numbers(0xFFFFFFFF),
    "meta mark": _MARK,
    "ct mark": _MARK,
    "ct state": _form("new|established|related|invalid|untracked"),
    "ct direction": _form("original|reply"),
    "ct status": _form("expected|seen-reply|assured|confirmed|snat|dnat|dying|0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}"),
    "meta nfproto": _form("ipv4|ipv6"),
    "meta l4proto": _WORD,
    "meta pkttype": _form("host|broadcast|multicast|other"),
    "ip saddr": _prefix(4),
    "ip daddr": _prefix(4),
    "ip6 saddr": _prefix(6),
    "ip6 daddr": _prefix(6),
    "ct original ip daddr": _prefix(4),
    "ct original ip6 daddr": _prefix(6),
    **{f"{protocol} {end}": _PORT for protocol in ("th", "tcp", "udp", "sctp") for end in ("sport", "dport")},
    "icmp type": _WORD,
    "icmpv6 type": _WORD,
    "icmp code": _numbers(0xFF),
    "icmpv6 code": _numbers(0xFF),
    "tcp flags": _form(r"[a-z]+(,[a-z]+)*/[a-z]+(,[a-z]+)*"),
    "ip6 length": _numbers(0xFFFF),
    "arp saddr ether": _MAC,
    "arp saddr ip": _prefix(4),
    "arp daddr ip": _prefix(4),
    "ether saddr": _MAC,
    "ether daddr": _MAC,
    "ether type": _WORD,
    "vlan id": _numbers(0xFFF),
    "fib daddr type": _form("local|unicast|broadcast|multicast|anycast"),
    "fib saddr . iif oif": _form("missing"),
}
"""Each with whether it can have a value ("tcp flags": those that are set / those that are looked at). Beyond these: places
in a packet, "@th,96,24", numbers that are made (`drawn`, `hashed`), and some bits of a mark ("ct mark & 0xff00")."""

PLACE = re.compile(r"@(?:ll|nh|th),(\d{1,4}),(\d{1,3})")
"""So many bits (second) behind so many (first) of the link's, network's or transport's header."""


_MADE = re.compile(
    r"numgen random mod [1-9]\d{0,8}|jhash ip6? saddr mod [1-9]\d{0,8} seed 0x[0-9a-f]{1,8}"
    r"|(?:meta|ct) mark & 0x[0-9a-f]{1,8}"
)
"""What a rule makes: a number by chance or by a hash, some bits of a mark."""


class Part(msgspec.Struct, frozen=True):
    """Of a rule."""

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets and maps that it looks up."""
        return ()

    @property
    def jumps(self) -> tuple[str, ...]:
        """The chains that it leads to."""
        return ()

    @property
    def flowtables(self) -> tuple[str, ...]:
        """Those that it adds to."""
        return ()


class Match(Part, frozen=True):
    """The fields have one of `values`, or are in the set `among`; the contrary where it is `negated`. A mark's value can
    have a mask, "0x100/0xff00", and so can a connection's status. Raises Invalid."""

    fields: tuple[str, ...]
    values: tuple[str, ...] = ()
    among: str = ""
    negated: bool = False

    def __post_init__(self) -> None:
        _check_fields(self.fields)
        if bool(self.among) == bool(self.values):
            raise Invalid(f"{' . '.join(self.fields)} has to be compared with values or a set, with one of them")
        if self.values and len(self.fields) > 1:
            raise Invalid(f"{' . '.join(self.fields)}: only a set has values of several parts")
        for value in self.values:
            if not FIELDS.get(self.fields[0], _form(r"\d+|0x[0-9a-f]+"))(value):
                raise Invalid(f"{self.fields[0]} cannot be {value!r}")

    @property
    def sets(self) -> tuple[str, ...]:
        return (self.among,) if self.among else ()


class Selector(msgspec.Struct, frozen=True):
    """Fields to be compared or looked up; two of them added are the concatenation. Raises Invalid."""

    fields: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_fields(self.fields)

    def __add__(self, other: Selector) -> Selector:
        return Selector(self.fields + other.fields)

    def is_(self, *values: object) -> Match:
        """One of these."""
        return Match(self.fields, tuple(map(str, values)))

    def is_not(self, *values: object) -> Match:
        """None of these."""
        return Match(self.fields, tuple(map(str, values)), negated=True)

    def among(self, name: str) -> Match:
        return Match(self.fields, among=name)

    def not_among(self, name: str) -> Match:
        return Match(self.fields, among=name, negated=True)


class Limit(Part, frozen=True):
    """Fits so many packets of a time, and `burst` at once."""

    rate: int
    per: Literal["second", "minute", "hour", "day"] = "second"
    burst: int = 5


def _check_fields(fields: tuple[str, ...]) -> None:
    if not fields:
        raise Invalid("a match without a field")
    for field in fields:
        if field not in FIELDS and not PLACE.fullmatch(field) and not _MADE.fullmatch(field):
            raise Invalid(f"{field!r} is nothing that rules ask for")


def field(name: str) -> Selector:
    return Selector((name,))


def drawn(most: int) -> Selector:
    """A number from 0, of so many ones, by chance; each is as likely. In a set: a part of the type DRAWN."""
    return field(f"numgen random mod {most}")


def hashed(fam: Family, most: int, seed: int) -> Selector:
    """A number from 0, of so many ones, the same for each source address on all hosts. In a set: a part of the type DRAWN."""
    return field(f"jhash {'ip' if fam == 4 else 'ip6'} saddr mod {most} seed {seed:#x}")


IIFNAME, OIFNAME = field("iifname"), field("oifname")
IIFGROUP, OIFGROUP = field("iifgroup"), field("oifgroup")
MARK = field("meta mark")
CT_DIRECTION = field("ct direction")
CT_STATE, CT_STATUS = field("ct state"), field("ct status")
L4PROTO, PKTTYPE = field("meta l4proto"), field("meta pkttype")
ETHER_SADDR = field("ether saddr")
SADDR: dict[Family, Selector] = {4: field("ip saddr"), 6: field("ip6 saddr")}
DADDR: dict[Family, Selector] = {4: field("ip daddr"), 6: field("ip6 daddr")}
TCP_DPORT, UDP_DPORT, TH_DPORT = field("tcp dport"), field("udp dport"), field("th dport")
DPORT: dict[str, Selector] = {protocol: field(f"{protocol} dport") for protocol in ("tcp", "udp", "sctp")}
TH_SPORT = field("th sport")
SENT_TO: dict[Family, Selector] = {4: field("ct original ip daddr"), 6: field("ct original ip6 daddr")}
"""The address that a connection's first packet was sent to, before it was translated."""
DADDR_TYPE = field("fib daddr type")
"""Whether the host itself is meant ("local"), by its routes."""
NO_WAY_BACK = field("fib saddr . iif oif").is_("missing")
"""An answer would not leave by the device that the packet came in by (strict reverse path, RFC 3704)."""
