"""Pools of a network whose addresses come from blocks: a document for each pool with conditions, or that is to be added."""

from __future__ import annotations

import msgspec

from weft.base.net import check_for_containers, parse_network
from weft.declared.item import Item, Spec
from weft.declared.own import own
from weft.model import Network, Pool

NAME = "Pool"


class PoolSpec(Spec, frozen=True, kw_only=True):
    """As `weft.model.network.Pool`."""

    nodes: str = ""
    disabled: bool = False
    masquerade: bool | None = None


def to_pool(item: Item) -> Pool:
    """Raises Invalid."""
    spec: PoolSpec = item.spec
    return Pool(subnet=parse_network(item.name), nodes=spec.nodes, disabled=spec.disabled, masquerade=spec.masquerade)


def from_pool(network: Network, pool: Pool) -> Item:
    spec = PoolSpec(nodes=pool.nodes, disabled=pool.disabled, masquerade=pool.masquerade)
    return Item(kind=NAME, name=str(pool.subnet), scope=network.name, spec=spec)


def _settle(item: Item) -> Item:
    """Raises Invalid."""
    pool = to_pool(item)
    check_for_containers(f"pool of network {item.scope}", [pool.subnet])
    return msgspec.structs.replace(item, name=str(pool.subnet))


KIND = own(NAME, PoolSpec, _settle, rank=20, scope="network")
