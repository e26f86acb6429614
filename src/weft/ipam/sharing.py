"""Several networks over one: theirs are its subnets, pools, blocks, leases and data path; their own are their containers."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from weft.base.errors import Conflict, Invalid
from weft.model import Network


def completed(network: Network, home: Network | None) -> Network:
    """With what it takes over from `home`, the network that it shares; None: it shares none. Raises Invalid."""
    if home is None:
        return network
    if home.home != home.name:
        raise Invalid(f"network {network.name}: {home.name} shares {home.home} itself: give share={home.home}")
    if home.driver != network.driver:
        raise Invalid(
            f"network {network.name}: share={home.name} is of driver {home.driver}, not {network.driver}: share another one, "
            "or give --subnet instead"
        )
    if network.subnets and set(network.subnets) != set(home.subnets):
        raise Invalid(f"network {network.name}: its subnets are those of {home.name}: leave --subnet out")
    return msgspec.structs.replace(network, subnets=home.subnets)


def sharers(name: str, networks: Iterable[Network]) -> list[Network]:
    return [n for n in networks if n.home == name and n.name != name]


def check_unshared(name: str, networks: Iterable[Network]) -> None:
    """Raises Conflict."""
    names = sorted(n.name for n in sharers(name, networks))
    if names:
        raise Conflict(
            f"network {name} is shared by {', '.join(names)}: remove {'that' if len(names) == 1 else 'those'} first"
        )
