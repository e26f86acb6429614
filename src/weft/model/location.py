"""Where a container of a network with one subnet for all hosts is: what the other hosts must know of it."""

from __future__ import annotations

import msgspec

from weft.base.names import check_name
from weft.base.net import IPAddress, parse_mac


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Written and removed together with its `Endpoint`, of which it is a small part: many hosts read it. Its key says
    which network and which endpoint."""

    node: str
    mac: str
    addresses: tuple[IPAddress, ...]

    def __post_init__(self) -> None:
        check_name("node", self.node)
        parse_mac(self.mac)

    def __str__(self) -> str:
        """Who has its addresses, where somebody else wants one."""
        return f"a container on {self.node}"
