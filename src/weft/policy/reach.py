"""Which networks' endpoints can have to do with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.model.network import Network


def reach(networks: Mapping[str, Network], name: str) -> tuple[str, ...] | None:
    """The names of the networks whose endpoints those of `name` can have to do with; None: nothing is known of it."""
    network = networks.get(name)
    if network is None:
        return None
    return tuple(sorted(other.name for other in networks.values() if network.meets(other)))


def met(networks: Mapping[str, Network], network: Network) -> tuple[str, ...]:
    """The names of the other networks whose containers those of `network` can talk to."""
    return tuple(sorted(n.name for n in networks.values() if n.name != network.name and network.meets(n)))


def one_sided(networks: Mapping[str, Network], network: Network) -> Iterator[str]:
    """Where one of two names the other, which is not open to it: a line each, with the way out."""
    for name in sorted((network.reaches or frozenset()) - {network.name}):
        other = networks.get(name)
        if other is None:
            yield f"reaches {name} once there is such a network: make that with -O reach={network.name}"
        elif not other.open_to(network):
            yield f"does not reach {name}, though it names it: {_way_out(other, network)}"
    for _, other in sorted(networks.items()):
        if other.name != network.name and network.name in (other.reaches or ()) and not network.open_to(other):
            yield f"is not reached by {other.name}, which names it: {_way_out(network, other)}"


def _with(network: Network, name: str) -> str:
    """The value of its option with one more name."""
    return ",".join([*sorted(network.reaches or ()), name])


def _way_out(closed: Network, other: Network) -> str:
    if closed.internal:
        return f"{closed.name} is internal, and nothing outside of it reaches its containers"
    return f"both have to name each other; `weft network set {closed.name} -O reach={_with(closed, other.name)}`"
