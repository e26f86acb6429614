"""Where a container of a network with one subnet for all hosts is: what the other hosts must know of it."""

from __future__ import annotations

import msgspec

from weft.base.net import IPAddress


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Written and removed together with its `Endpoint`, of which it is a small part: many hosts read it. Its key says
    which network and which endpoint."""

    node: str
    mac: str
    addresses: tuple[IPAddress, ...]
