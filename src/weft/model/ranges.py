"""Parts of a subnet that an address is to come from."""

from __future__ import annotations

import msgspec

from weft.base.errors import Invalid
from weft.base.net import IPAddress, IPNetwork, contains


class AddressRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From `first` to `last` of `subnet`, both included; without them from its beginning, to its end. `gateway`: which the
    caller believes to be the containers'. Raises Invalid."""

    subnet: IPNetwork
    first: IPAddress | None = None
    last: IPAddress | None = None
    gateway: IPAddress | None = None

    def __post_init__(self) -> None:
        for address in (self.first, self.last, self.gateway):
            if address is not None and not contains(self.subnet, address):
                raise Invalid(f"address range: {address} is outside {self.subnet}")
        first, last = self.ends
        if int(first) > int(last):
            raise Invalid(f"address range {self} runs backwards")

    @property
    def ends(self) -> tuple[IPAddress, IPAddress]:
        return self.first or self.subnet.network_address, self.last or self.subnet.broadcast_address

    def __contains__(self, address: IPAddress) -> bool:
        first, last = self.ends
        return address.version == first.version and int(first) <= int(address) <= int(last)

    def __str__(self) -> str:
        first, last = self.ends
        return str(self.subnet) if self.first is self.last is None else f"{first}-{last}"
