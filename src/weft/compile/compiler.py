"""From the view to contributions: which sources a change in the model touches, and what each source wants of this host.

Sources: ("network", N), ("peer", N, NODE) for another node's lease, ("endpoint", N, ID) for a local container; of
networks with one subnet for all hosts ("segment", N), and ("location", N, ID) for another node's container. What concerns
no network alone: ("node", "", NODE) for another node as such, ("tunnel", N) for the port of a network's tunnel, also where
the network is not here. All pure.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

import msgspec

from weft.base.errors import WeftError
from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.compile import handover
from weft.datapaths import guard, registry
from weft.datapaths.driver import Answer, Host, Site, gather, without_lease
from weft.datapaths.options import CommonOptions
from weft.datapaths.traits import KnownBy
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import Endpoint, Network, records


def touched(view: View, changed: Changed) -> set[Source]:
    """The sources whose contribution may differ after these changes of the model."""
    found: set[Source] = set()
    nodes = {at.node for at in changed.of(records.NODES)} - {view.me}
    if nodes:
        found.update(of_nodes(view, nodes))
        found.update(("node", "", node) for node in nodes)
    for at in changed.of(records.NETWORKS):
        found.update(of_network(view, at.network))
    for lease in changed.of(records.LEASES):
        if lease.node == view.me:
            found.update(of_network(view, lease.network))
        else:
            found.add(("peer", lease.network, lease.node))
    found.update(("segment", network) for network in changed.parts(records.LOCATIONS))
    found.update(("location", at.network, at.id) for at in changed.of(records.LOCATIONS))
    found.update(("endpoint", at.network, at.id) for at in changed.of(records.ENDPOINTS))
    return found


def everything(view: View) -> set[Source]:
    return {source for network in view.networks for source in of_network(view, network)}


def of_network(view: View, network: str) -> Iterator[Source]:
    yield from (("node", "", node) for node in view.nodes if node != view.me)
    yield ("tunnel", network)
    yield ("network", network)
    yield ("segment", network)
    yield from (("location", network, id) for id in view.locations.get(network, ()))
    yield from (("peer", network, node) for node in view.leases.get(network, {}) if node != view.me)
    for name in {network, *view.sharing(network)}:
        yield from (("endpoint", name, e.id) for e in view.endpoints_of(name))


def of_nodes(view: View, nodes: set[str]) -> Iterator[Source]:
    """What other nodes contribute. In one pass, however many nodes come or go at once."""
    leases = view.table(records.LEASES).by("node", "network")
    located = view.table(records.LOCATIONS).by("node", "network", "id")
    for node in nodes:
        yield from (("peer", network, node) for network in leases.get(node, ()))
        for network, found in located.get(node, {}).items():
            yield from (("location", network, id) for id in found)


class Compiler:
    """`host` may be None while nothing is known of the uplink: then nothing is wanted of it. `dead`: nodes to which no routes
    are wanted."""

    def __init__(self, view: View, dead: Container[str] = ()) -> None:
        self.view, self.dead = view, dead
        self.host: Host | None = None
        self._options: dict[str, tuple[Network, CommonOptions]] = {}
        """What was parsed last, of the networks as they were then: each of a thousand peers asks."""

    def contribution(self, source: Source) -> Contribution | None:
        """What the source wants now; None where it no longer exists."""
        if source[0] in ("node", "tunnel"):
            return self._everywhere(source)
        home = self.view.home(source[1])
        if home != source[1] and source[0] != "endpoint":
            return None  # all that is not a container's is there for the network that is shared
        site = self.site(home)
        if site is None:
            return None
        if isinstance(site, Contribution):
            return site if source[0] == "network" else None
        driver = registry.driver(site.network.driver)
        match source:
            case ("network", _):
                return self._gather(driver.network(site))
            case ("peer", network, name):
                lease, node = self.view.lease(network, name), self.view.nodes.get(name)
                if lease is None or node is None or name in self.dead:
                    return None
                return self._gather(driver.peer(site, node, lease))
            case ("segment", network):
                return self._gather(driver.segment(site)) if network in self.view.followed else None
            case ("location", network, id):
                location = self.view.locations.get(network, {}).get(id)
                node = self.view.nodes.get(location.node) if location else None
                if location is None or node is None or node.name == self.view.me or node.name in self.dead:
                    return None
                return self._gather(driver.location(site, node, location))
            case ("endpoint", _, id):
                endpoint = self.view.endpoints.get(id)
                return None if endpoint is None else handover.host_part(endpoint, self._whole(site, endpoint))
        return None

    def _everywhere(self, source: Source) -> Contribution | None:
        """What is there as soon as there is any network."""
        node, network = self.view.nodes.get(source[-1]), self.view.networks.get(source[1])
        if self.host is None:
            return None
        if source[0] == "node":
            return gather(guard.known_node(self.host.node, node)) if node and self.view.networks else None
        try:
            return gather(guard.cluster_tunnel(self._options_of(network).udp_port)) if network else None
        except WeftError:  # told where the network itself is asked for
            return None

    def whole(self, endpoint: Endpoint) -> Contribution:
        """What an endpoint wants, with what its engine will do itself if it is handed over."""
        site = self.site(self.view.home(endpoint.network))
        return self._whole(site, endpoint) if isinstance(site, Site) else Contribution()

    def _whole(self, site: Site, endpoint: Endpoint) -> Contribution:
        found = self._gather(registry.driver(site.network.driver).endpoint(site, handover.with_inside(endpoint)))
        return msgspec.structs.replace(found, rank=endpoint.rank) if endpoint.rank else found

    def _gather(self, answer: Answer) -> Contribution:
        return gather(answer, ipv6=self.host is None or self.host.ipv6)

    def site(self, name: str) -> Site | Contribution | None:
        """The network on this host; a Contribution of problems only where it cannot be here; None where it is not. One
        that is here already stays, also while the uplink lacks what it needs: what traffic there is goes on."""
        network = self.view.networks.get(name)
        if network is None or self.host is None:
            return None
        driver, me = registry.of(network), self.view.me
        lease = self.view.lease(name, me) if driver.addresses.leased else without_lease(network, me)
        here = name in self.view.followed if driver.known_by is KnownBy.LOCATIONS else lease is not None
        try:
            options = self._options_of(network)
            refusal = "" if here else driver.refusal(self.host, network, options)
        except WeftError as error:
            refusal = f"{error} (made by another version of Weft?)"
        if refusal:
            return Contribution(problems=(refusal,))
        return None if lease is None else Site(self.host, network, options, lease)

    def _options_of(self, network: Network) -> CommonOptions:
        known = self._options.get(network.name)
        if known is None or known[0] is not network:
            known = self._options[network.name] = network, registry.parse_options(network)
        return known[1]
