"""Which blocks a node takes addresses from, and which address: its own blocks first, then a new one, then, unless the network
forbids it, a single address out of another node's block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from weft.base.errors import Invalid
from weft.base.net import Family, IPNetwork, covers, family
from weft.model import Network


def check(network: Network, block_prefix: Callable[[Family], int], reserved: Iterable[IPNetwork]) -> None:
    """Whether blocks can be cut from the network's subnets. Raises Invalid."""
    for whole in network.subnets:
        length = block_prefix(family(whole))
        if length < whole.prefixlen:
            raise Invalid(
                f"network {network.name}: a block of /{length} is larger than {whole}: choose a larger subnet, or "
                f"block-size{'-v6' if whole.version == 6 else ''} of {whole.prefixlen} or more"
            )
    for prefix in reserved:
        if not any(covers(whole, prefix) for whole in network.subnets):
            raise Invalid(
                f"network {network.name}: reserve={prefix} is not inside {' or '.join(map(str, network.subnets))}: "
                "reserve only what is part of the network"
            )
