"""What networks' bridges are called: the same on every host, and no two alike."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

import msgspec

from weft.base.names import device
from weft.model import Network
from weft.model.network import BRIDGES


def bridge_name(network: Network) -> str:
    return network.bridge or device(BRIDGES, network.name)


def named_apart(network: Network, others: Iterable[Network]) -> Network:
    """With a bridge that has another name than the bridges of `others`: two long names can be cut to the same one."""
    taken = {bridge_name(other) for other in others}
    names = (device(BRIDGES, network.name, attempt) for attempt in count())
    free = next(name for name in names if name not in taken)
    return network if free == bridge_name(network) else msgspec.structs.replace(network, bridge=free)
