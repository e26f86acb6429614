"""Which networks' endpoints can have to do with each other."""

from __future__ import annotations

from collections.abc import Mapping

from weft.model.network import Network


def reach(networks: Mapping[str, Network], name: str) -> tuple[str, ...] | None:
    """The names of the networks whose endpoints those of `name` can have to do with; None: nothing is known of it."""
    network = networks.get(name)
    if network is None:
        return None
    return tuple(sorted(other.name for other in networks.values() if network.meets(other)))
