"""What other hosts know of a container: where it is, and what policy can say of it."""

from __future__ import annotations

import msgspec

from weft.base.names import check_name
from weft.base.net import IPAddress, parse_mac
from weft.model.identity import DEFAULT_NAMESPACE, NamedPort


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Written and removed together with its `Endpoint`, of which it is a small part: many hosts read it. Its key says
    which network and which endpoint. `namespace`, `labels`, `ports`: by which policy selects it; a record of an earlier
    version has none of them, nor a `name`. `aliases`: further names, by which containers of its network find it."""

    node: str
    mac: str
    addresses: tuple[IPAddress, ...]
    name: str = ""
    namespace: str = DEFAULT_NAMESPACE
    labels: dict[str, str] = {}
    ports: tuple[NamedPort, ...] = ()
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name("node", self.node)
        if self.mac:
            parse_mac(self.mac)

    def __str__(self) -> str:
        """Who has its addresses, where somebody else wants one."""
        return f"a container on {self.node}"
