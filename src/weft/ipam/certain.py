"""Whether this node's blocks are its own for certain: what giving addresses without the store rests on.

In networks whose blocks are strict (`Addresses.strict`) a node gives their addresses also while the store is away, as long
as these hold:

- the store had its lease, and nothing that was sent since can take a block away. A transaction that was never answered may
  still be carried out, also much later. So before one is sent that gives a block back the node's hold is in doubt, and that
  ends with the answer, or when the lease has been written again: then what was sent before finds it changed.
- its tenure lasts, by its own clock (`Cluster.holds`): with that the store frees what it has.
"""

from __future__ import annotations

from weft.cluster.cluster import Cluster
from weft.model import keys


class Certain:
    """The networks of which this node's lease is its own for certain, while its tenure lasts."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._view = cluster, cluster.view
        self._since: dict[str, int] = {}
        """Network → the number of the tenure in which its lease was written."""

    def doubt(self, network: str) -> None:
        """Something is sent that may take from the lease."""
        self._since.pop(network, None)

    def confirm(self, network: str, lapses: int) -> None:
        """The lease was written. `lapses`: `Cluster.lapses` before that."""
        self._since[network] = lapses

    def __contains__(self, network: str) -> bool:
        lease = keys.lease(network, self._view.me)
        there = self._view.lease(network, self._view.me) is not None and lease not in self._view.lost
        return there and self._since.get(network) == self._cluster.lapses

    def doubts(self, network: str) -> str:
        """Why nothing may be given of its blocks without the store; "" where it may."""
        if not self._cluster.holds:
            hours = self._cluster.tenure / 3600
            return f"this host has not reached the store for {hours:g} h, and its blocks may be others' by now"
        return "" if network in self else "it is not certain yet that this host's blocks are still its own"
