"""Whether an address is in one of many prefixes, in time that does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterable

from weft.base.net import IPAddress, IPNetwork


class Prefixes:
    def __init__(self, networks: Iterable[IPNetwork]) -> None:
        self._by_shift: dict[tuple[int, int], set[int]] = {}
        """(version, bits behind the prefix) → the prefixes' own bits."""
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            bits = int(network.network_address) >> shift
            self._by_shift.setdefault((network.version, shift), set()).add(bits)

    def __contains__(self, address: IPAddress) -> bool:
        version, number = address.version, int(address)
        return any(number >> shift in bits for (of, shift), bits in self._by_shift.items() if of == version)
