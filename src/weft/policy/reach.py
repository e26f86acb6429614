"""Which networks' endpoints can have to do with each other."""

from __future__ import annotations

from collections.abc import Mapping

from weft.model.network import Network

OPTION = "reach"
ALL = "all"


def reach(networks: Mapping[str, Network], name: str) -> tuple[str, ...] | None:
    """The names of the networks whose endpoints those of `name` can have to do with, itself among them; None: of all."""
    network = networks.get(name)
    if network is None or _says(network) is None:
        return None
    others = (other for other in networks.values() if _names(network, other) and _names(other, network))
    return tuple(sorted({name, *(other.name for other in others)}))


def _names(one: Network, other: Network) -> bool:
    said = _says(one)
    return said is None or other.name in said


def _says(network: Network) -> frozenset[str] | None:
    """The names that its option gives; None: all, which is what a network means that says nothing."""
    text = str(network.options.get(OPTION, ALL))
    return None if text == ALL else frozenset(part.strip() for part in text.split(","))
