"""Hosts of others in networks of ours, as their registries tell of them (`weft.flannel`): beside what the store says.

They are found by the keys of the registry, as a host may have several leases. What a node of ours has written there itself is
none of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from weft.base.net import IPAddress
from weft.cluster.changes import Changed
from weft.cluster.replica import Replica
from weft.model import Lease, Node, records


class Guest(NamedTuple):
    """A foreign host, with one of its leases. `trouble`: why it cannot be a peer, in one line; ""."""

    node: Node
    lease: Lease
    trouble: str = ""


class Foreign:
    def __init__(self, view: Replica) -> None:
        self._nodes = view.table(records.NODES).by("node")
        self._leases = view.table(records.LEASES).by("network", "node")
        self._told: dict[str, dict[str, Guest]] = {}
        """Network → key → who."""
        self._keys: dict[str, dict[IPAddress, set[str]]] = {}
        """Network → address → keys."""
        self._ours: dict[IPAddress, set[str]] | None = None
        """Address → the nodes of ours that have it; None: not looked at since they changed."""

    def update(self, changed: Changed) -> None:
        if changed.of(records.NODES):
            self._ours = None

    def tell(self, network: str, guests: Mapping[str, Guest]) -> set[str]:
        """All there are now; the keys of which something else is true than before."""
        before = self._told.get(network, {})
        self._told[network] = dict(guests)
        keys: dict[IPAddress, set[str]] = {}
        for key, guest in guests.items():
            for address in guest.node.addresses:
                keys.setdefault(address.ip, set()).add(key)
        self._keys[network] = keys
        return {key for key in before.keys() | guests.keys() if before.get(key) != guests.get(key)}

    def keys(self, network: str) -> Iterable[str]:
        return self._told.get(network, {}).keys()

    def at(self, network: str, addresses: Iterable[IPAddress]) -> Iterator[str]:
        """The keys of hosts with one of these addresses."""
        known = self._keys.get(network, {})
        return (key for address in addresses for key in known.get(address, ()))

    def guest(self, network: str, key: str) -> Guest | None:
        """None where there is none, or where it is a node of ours that has a lease of its own."""
        found = self._told.get(network, {}).get(key)
        if found is None or any(self._is_ours(network, address.ip) for address in found.node.addresses):
            return None
        return found

    def guests(self, network: str) -> Iterator[Guest]:
        return (guest for key in sorted(self.keys(network)) if (guest := self.guest(network, key)))

    def networks(self) -> Iterable[str]:
        return self._told.keys()

    def _is_ours(self, network: str, address: IPAddress) -> bool:
        if self._ours is None:
            self._ours = {}
            for name, node in self._nodes.items():
                for own in node.addresses:
                    self._ours.setdefault(own.ip, set()).add(name)
        held = self._leases.get(network, {})
        return any(name in held for name in self._ours.get(address, ()))
