"""Addresses and prefixes: the standard library's types, and parsing that explains itself.

v4 and v6 are data here and everywhere: a function that takes an `IPNetwork` takes either.
"""

from __future__ import annotations

import re
from abc import ABC
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

Family = Literal[4, 6]
FAMILIES: tuple[Family, ...] = (4, 6)

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")


def parse_address(text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise Invalid(f"'{text}' is not an IP address: write it like 10.1.0.5 or fd00::5") from None


def parse_network(text: str) -> IPNetwork:
    """A prefix whose host bits are zero (RFC 4632 §3.1)."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise Invalid(f"'{text}' is not a prefix: write it like 10.1.0.0/16 or fd00:1::/48") from None
    raise Invalid(f"'{text}' has host bits set: did you mean {meant}?")


def parse_interface(text: str) -> IPInterface:
    """An address with the length of its on-link prefix, such as 192.168.1.68/24."""
    try:
        return ip_interface(text)
    except ValueError:
        raise Invalid(f"'{text}' is not an address with a prefix length: write it like 10.1.0.5/24") from None


def parse_mac(text: str) -> str:
    """A unicast EUI-48 address in lower case with colons (IEEE 802, RFC 7042)."""
    mac = text.lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise Invalid(f"'{text}' is not a MAC address: write it like 02:42:0a:01:00:05")
    if int(mac[:2], 16) & 1:
        raise Invalid(f"'{text}' is a multicast MAC address: the first octet must be even")
    return mac


def family(value: IPAddress | IPNetwork | IPInterface) -> Family:
    return 4 if value.version == 4 else 6


def host_prefix(address: IPAddress) -> str:
    """The /32 or /128 of one address."""
    return f"{address}/{address.max_prefixlen}"


def contains(network: IPNetwork, address: IPAddress) -> bool:
    return network.version == address.version and address in network


def covers(outer: IPNetwork, inner: IPNetwork) -> bool:
    return outer.version == inner.version and outer.prefixlen <= inner.prefixlen and inner.network_address in outer
