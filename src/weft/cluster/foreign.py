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

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        return tuple(address.ip for address in self.node.addresses)


class Foreign:
    def __init__(self, view: Replica) -> None:
        self._me = view.me
        self._nodes = view.table(records.NODES).by("node")
        self._present = view.table(records.PRESENCE).by("node")
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
        changed = {key for key in before.keys() | guests.keys() if before.get(key) != guests.get(key)}
        addresses = {a for some in (before, guests) for key in changed & some.keys() for a in some[key].addresses}
        self._told[network] = dict(guests)
        if not guests:
            del self._told[network]
        keys: dict[IPAddress, set[str]] = {}
        for key, guest in guests.items():
            for address in guest.addresses:
                keys.setdefault(address, set()).add(key)
        self._keys[network] = keys
        return changed.union(self.at(network, addresses))

    def keys(self, network: str) -> Iterable[str]:
        return self._told.get(network, {}).keys()

    def at(self, network: str, addresses: Iterable[IPAddress]) -> Iterator[str]:
        """The keys of hosts with one of these addresses."""
        known = self._keys.get(network, {})
        return (key for address in addresses for key in known.get(address, ()))

    def guest(self, network: str, key: str) -> Guest | None:
        """None where there is none, or where it is a node of ours that has a lease of its own. While that one's agent does not
        run the registry is believed: a flanneld may be there in its place."""
        found = self._told.get(network, {}).get(key)
        node = self._node(network, found.addresses) if found else ""
        if found is None or not node:
            return found
        if self._instead(network, node):
            return found
        held = self._leases[network][node]
        if node == self._me or not _same_subnets(found.lease, held) or found.lease.data == held.data:
            return None
        said, meant = (_words(lease.data) for lease in (found.lease, held))
        return found._replace(
            trouble=f"{node}'s entry in flannel's registry says {said}, and its lease {meant}: see that no flanneld runs there"
        )

    def guests(self, network: str) -> Iterator[Guest]:
        return (guest for key in sorted(self.keys(network)) if (guest := self.guest(network, key)))

    def networks(self) -> Iterable[str]:
        return self._told.keys()

    def replaced(self, network: str, node: str) -> bool:
        """Whether the registry knows another host where a node of ours was."""
        return network in self._told and node in self._leases.get(network, {}) and self._instead(network, node)

    def nodes(self, network: str, keys: Iterable[str]) -> Iterator[str]:
        """Other nodes of ours that these entries may be about."""
        told = self._told.get(network, {})
        found = (self._node(network, told[key].addresses) for key in keys if key in told)
        return (node for node in found if node and node != self._me)

    def _instead(self, network: str, node: str) -> bool:
        """Of a node with a lease: its agent does not run, and all that is said of its host is something else."""
        if node in self._present or node == self._me or node not in self._nodes:
            return False
        held, told = self._leases[network][node], self._told[network]
        entries = [told[key].lease for key in self.at(network, (a.ip for a in self._nodes[node].addresses))]
        return bool(entries) and not any(_same_subnets(e, held) and e.data == held.data for e in entries)

    def _node(self, network: str, addresses: Iterable[IPAddress]) -> str:
        """Of ours, with one of these addresses and a lease; ""."""
        if self._ours is None:
            self._ours = {}
            for name, node in self._nodes.items():
                for own in node.addresses:
                    self._ours.setdefault(own.ip, set()).add(name)
        held, ours = self._leases.get(network, {}), self._ours
        return next((name for a in addresses for name in sorted(ours.get(a, ())) if name in held), "")


def _same_subnets(one: Lease, other: Lease) -> bool:
    return set(one.subnets) == set(other.subnets)


def _words(data: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(data.items())) or "nothing more"
