"""Floating addresses, each with the container that it leads to. The container itself is not declared: it is attached."""

from __future__ import annotations

import msgspec

from weft.base.names import check_name
from weft.base.net import IPAddress, family, parse_address
from weft.declared.item import Item, Spec
from weft.declared.own import own
from weft.model import floating

NAME = "FloatingAddress"


class FloatingSpec(Spec, frozen=True, kw_only=True):
    """`endpoint`: the container's name in the network."""

    endpoint: str


def from_address(address: IPAddress, network: str, endpoint: str) -> Item:
    return Item(kind=NAME, name=str(address), scope=network, spec=FloatingSpec(endpoint=endpoint))


def _settle(item: Item) -> Item:
    """Raises Invalid."""
    address = parse_address(item.name)
    floating.check([address], [family(address)])
    check_name("endpoint", item.spec.endpoint)
    return msgspec.structs.replace(item, name=str(address))


KIND = own(NAME, FloatingSpec, _settle, rank=60, scope="network")
