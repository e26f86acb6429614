"""The model as the store last told it: what one node needs of it.

How it is kept is `weft.cluster.replica`. What most ask for has a name here: `view.nodes`, `view.lease(network, node)`. The
records of other kinds are found by `view.table(KIND)`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from weft.base.net import IPAddress
from weft.cluster.replica import Replica
from weft.datapaths import registry
from weft.datapaths.driver import Driver
from weft.datapaths.traits import KnownBy
from weft.model import BgpPeer, BgpSettings, Endpoint, Lease, Location, Network, Node, keys, records


class View(Replica):
    @property
    def nodes(self) -> dict[str, Node]:
        return self._tables[records.NODES].by("node")

    @property
    def present(self) -> dict[str, str]:
        """Node name → instance, of those whose agent lives."""
        return self._tables[records.PRESENCE].by("node")

    @property
    def networks(self) -> dict[str, Network]:
        return self._tables[records.NETWORKS].by("network")

    @property
    def leases(self) -> dict[str, dict[str, Lease]]:
        """Network → node → lease."""
        return self._tables[records.LEASES].by("network", "node")

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """This node's, by id."""
        return self._tables[records.ENDPOINTS].by("id")

    @property
    def locations(self) -> dict[str, dict[str, Location]]:
        """Network → endpoint's id → location; of followed networks."""
        return self._tables[records.LOCATIONS].by("network", "id")

    @property
    def located(self) -> dict[str, dict[IPAddress, Location]]:
        """Network → address → who has it; of followed networks."""
        return self._tables[records.LOCATIONS].by("network", "addresses")

    @property
    def followed(self) -> set[str]:
        """Networks of which the locations are known."""
        return self._tables[records.LOCATIONS].parts

    @property
    def joined(self) -> set[str]:
        """Networks that reach from host to host by locations, and that containers of this node are in. They are on this host
        by that."""
        here = self._tables[records.ENDPOINTS].by("network", "id")
        return {name for name in here if self.driver(name).known_by is KnownBy.LOCATIONS}

    @property
    def floating(self) -> Mapping[str, records.Floating]:
        """Every floating address, by its text, with the node that may announce it."""
        return self._tables[records.FLOATING].by("address")

    @property
    def cursors(self) -> dict[str, dict[str, IPAddress]]:
        """Network → family → the address given last, on this node."""
        return self._tables[records.CURSORS].by("network")

    @property
    def bgp_peers(self) -> dict[str, BgpPeer]:
        return self._tables[records.BGP_PEERS].by("name")

    @property
    def bgp_secret(self) -> str:
        """Once known it stays in force, whatever becomes of its key: sessions are not to end because of that."""
        found = self._tables[records.BGP_SECRET].get(keys.OneOf())
        return found.value if found else ""

    def driver(self, network: str) -> Driver:
        """What carries a network; of one that is not there or not understood, a driver that does nothing."""
        return registry.of(self.networks.get(network))

    @property
    def bgp(self) -> BgpSettings:
        return self._tables[records.BGP_SETTINGS].get(keys.OneOf()) or BgpSettings()

    def has_bgp_secret(self) -> bool:
        """Whether the store has it, and it can be read."""
        return self.revision(keys.BGP_SECRET) > 0 and keys.BGP_SECRET not in self.broken

    def home(self, network: str) -> str:
        """The network whose subnets, leases and data path a network uses."""
        found = self.networks.get(network)
        return network if found is None else found.home

    def lease(self, network: str, node: str) -> Lease | None:
        return self.leases.get(network, {}).get(node)

    def cookie(self, path: str) -> int:
        """Of the namespace that is meant by a path; 0 where none of our containers is."""
        found = self.endpoints_at_path(path)
        return found[0].namespace.cookie if found else 0

    def endpoints_at_path(self, path: str) -> tuple[Endpoint, ...]:
        """Those whose namespace is meant by a path."""
        there = self._tables[records.ENDPOINTS].by("namespace.path", "id").get(path, {})
        return tuple(there.values())  # the kernel's thread asks: no iteration over a live mapping

    def endpoints_in(self, cookie: int) -> list[Endpoint]:
        """Those of one namespace."""
        return list(self._tables[records.ENDPOINTS].by("namespace.cookie", "id").get(cookie, {}).values())

    def endpoints_of(self, network: str) -> Collection[Endpoint]:
        found: dict[str, Endpoint] = self._tables[records.ENDPOINTS].by("network", "id").get(network, {})
        return found.values()

    def endpoints_at(self, home: str) -> Iterator[Endpoint]:
        """Those of a network and of all that share it."""
        return (endpoint for network in self.sharing(home) for endpoint in self.endpoints_of(network))

    def sharing(self, home: str) -> Collection[str]:
        """The networks that use a network's subnets, leases and data path: itself, and those that share it."""
        found = self._tables[records.NETWORKS].by("home", "network").get(home, {})
        return found.keys() if home in self.networks else {home, *found}
