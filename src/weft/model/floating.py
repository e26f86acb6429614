"""External addresses that lead to one endpoint, wherever it lives."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from weft.base.errors import Invalid
from weft.base.net import Family, IPAddress, family


def check(addresses: Iterable[IPAddress], families: Collection[Family]) -> None:
    """Whether an endpoint of these families can be reached at them. Raises Invalid."""
    seen = set[IPAddress]()
    for address in addresses:
        if kind := _unroutable(address):
            raise Invalid(
                f"floating address {address} is {kind}: no router sends it to a host; give one that yours can route here"
            )
        if family(address) not in families:
            has = " and ".join(f"IPv{fam}" for fam in families)
            raise Invalid(f"floating address {address} cannot lead to a container that has only {has}")
        if address in seen:
            raise Invalid(f"floating address {address} is given twice: once is enough")
        seen.add(address)


def _unroutable(address: IPAddress) -> str:
    """What it is instead of a unicast address of more than one link; "" for those."""
    if address.version == 6 and address.ipv4_mapped is not None:
        return "an IPv4 address in IPv6's form"
    kinds = (
        (address.is_unspecified or (address.version == 4 and int(address) >> 24 == 0), "no address of a host"),
        (address.is_multicast, "a multicast address"),
        (address.is_loopback, "a loopback address"),
        (address.is_link_local, "a link-local address"),
        (address.version == 4 and address.is_reserved, "a reserved address"),
    )
    return next((text for true, text in kinds if true), "")
