"""Addresses and prefixes: the standard library's types, and parsing that explains itself.

v4 and v6 are data here and everywhere: a function that takes an `IPNetwork` takes either.

The parsers are stricter than the standard library, because what they let through goes to the kernel, to nft and to BIRD.
`ipaddress` also takes an IPv6 scope of any text (`fd00::%x`), whole numbers (5 is 0.0.0.5) and netmasks; these do not.
"""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from weft.base.errors import Invalid

if TYPE_CHECKING:
    IPAddress = IPv4Address | IPv6Address
    IPNetwork = IPv4Network | IPv6Network
    IPInterface = IPv4Interface | IPv6Interface
else:
    # At run time each is one abstract class, because msgspec takes only one custom class per field.
    IPAddress = type("IPAddress", (ABC,), {})
    IPNetwork = type("IPNetwork", (ABC,), {})
    IPInterface = type("IPInterface", (ABC,), {})
    for _cls in (IPv4Address, IPv6Address):
        IPAddress.register(_cls)
    for _cls in (IPv4Network, IPv6Network):
        IPNetwork.register(_cls)
    for _cls in (IPv4Interface, IPv6Interface):
        IPInterface.register(_cls)

_SPECIAL: dict[IPNetwork, str] = {
    ip_network(prefix): kind
    for prefix, kind in (
        ("0.0.0.0/8", '"this network"'),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, and broadcast"),
        ("::/8", "reserved: loopback and IPv4 addresses in IPv6's form"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
}

Family = Literal[4, 6]
FAMILIES: tuple[Family, ...] = (4, 6)

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]{2,45}")
_PREFIX = re.compile(_ADDRESS.pattern + r"(?:/(?:0|[1-9][0-9]{0,2}))?")


def _strict(form: re.Pattern[str], text: object) -> str:
    """The text, if it has this form. Raises ValueError."""
    if not isinstance(text, str) or not form.fullmatch(text):
        raise ValueError
    return text


def _said(text: object) -> str:
    """As it is quoted in an error: not the whole of something long."""
    return f"'{str(text)[:80]}'"


def parse_address(text: str) -> IPAddress:
    """Raises Invalid."""
    try:
        return ip_address(_strict(_ADDRESS, text))
    except ValueError:
        raise Invalid(f"{_said(text)} is not an IP address: write it like 10.1.0.5 or fd00::5") from None


def parse_network(text: str) -> IPNetwork:
    """A prefix whose host bits are zero (RFC 4632 §3.1). Raises Invalid."""
    try:
        meant = ip_network(_strict(_PREFIX, text), strict=False)
    except ValueError:
        raise Invalid(f"{_said(text)} is not a prefix: write it like 10.1.0.0/16 or fd00:1::/48") from None
    if meant.network_address != parse_address(text.partition("/")[0]):
        raise Invalid(f"'{text}' has host bits set: did you mean {meant}?")
    return meant


def parse_subnet(text: str) -> IPNetwork:
    """The same, of a network's addresses: an address alone is none. Raises Invalid."""
    meant = parse_network(text)
    if "/" not in text:
        wide = ip_network(f"{text}/{16 if meant.version == 4 else 48}", strict=False)
        raise Invalid(f"'{text}' has no prefix length: write it like {wide}")
    return meant


def parse_interface(text: str) -> IPInterface:
    """An address with the length of its on-link prefix, such as 192.168.1.68/24. Raises Invalid."""
    try:
        return ip_interface(_strict(_PREFIX, text))
    except ValueError:
        raise Invalid(f"{_said(text)} is not an address with a prefix length: write it like 10.1.0.5/24") from None


def parse_mac(text: str) -> str:
    """A unicast EUI-48 address in lower case with colons (IEEE 802, RFC 7042). Raises Invalid."""
    mac = text.lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise Invalid(f"{_said(text)} is not a MAC address: write it like 02:42:0a:01:00:05")
    if int(mac[:2], 16) & 1:
        raise Invalid(f"'{text}' is a multicast MAC address: the first octet must be even")
    if mac == "00:00:00:00:00:00":  # is_valid_ether_addr in linux/etherdevice.h
        raise Invalid(f"'{text}' is no device's MAC address: write it like 02:42:0a:01:00:05")
    return mac


def link_local(mac: str) -> IPv6Address:
    """The IPv6 address that a device makes of its MAC (RFC 4291 appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    inner = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return IPv6Address(b"\xfe\x80" + bytes(6) + inner)


def parse_family(text: str) -> Family | None:
    """ "4" or "6"; "" is None. Raises Invalid."""
    match text:
        case "":
            return None
        case "4":
            return 4
        case "6":
            return 6
    raise Invalid(f"family '{text}' is neither 4 nor 6")


def family(value: IPAddress | IPNetwork | IPInterface) -> Family:
    return 4 if value.version == 4 else 6


def host_text(subnet: IPNetwork) -> str:
    """A prefix as nft prints it: one of a single address without its length."""
    return str(subnet.network_address) if subnet.prefixlen == subnet.max_prefixlen else str(subnet)


def host_prefix(address: IPAddress) -> str:
    """The /32 or /128 of one address."""
    return f"{address}/{address.max_prefixlen}"


def contains(network: IPNetwork, address: IPAddress) -> bool:
    return network.version == address.version and address in network


def check_for_containers(what: str, subnets: Iterable[IPNetwork]) -> None:
    """Raises Invalid, which calls it `what`, where a container could not have an address out of a subnet, or nobody could
    reach it there: hosts and routers keep these prefixes for something else (RFC 6890, RFC 4291 §2.4)."""
    for subnet in subnets:
        for special, kind in _SPECIAL.items():
            if covers(special, subnet) or covers(subnet, special):
                raise Invalid(
                    f"{what}: {subnet} has addresses of {special}, which is {kind}: choose a private prefix, such as "
                    "10.1.0.0/16 or fd00:1::/48"
                )


def first_overlap(prefixes: Iterable[IPNetwork]) -> tuple[IPNetwork, IPNetwork] | None:
    """Two of the prefixes that share addresses, in the order in which they are given; None where all are apart.

    Prefixes are nested or apart. So in the order of their addresses one overlaps its successor, or nothing does."""
    listed = list(prefixes)
    order = sorted(
        range(len(listed)), key=lambda i: (listed[i].version, int(listed[i].network_address), listed[i].prefixlen)
    )
    for first, second in pairwise(order):
        if covers(listed[first], listed[second]):
            return listed[min(first, second)], listed[max(first, second)]
    return None


def covers(outer: IPNetwork, inner: IPNetwork) -> bool:
    return outer.version == inner.version and outer.prefixlen <= inner.prefixlen and inner.network_address in outer
