"""From the view to contributions: which sources a change in the model touches, and what each source wants of this host.

Sources: ("network", N), ("peer", N, NODE) for another node's lease, ("endpoint", N, ID) for a local container. All pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.agent.view import Key, View
from weft.base.errors import WeftError
from weft.datapaths import registry
from weft.datapaths.driver import Host, Site, gather
from weft.hoststate import Contribution
from weft.hoststate.union import Source


def touched(view: View, changed: Iterable[Key]) -> set[Source]:
    """The sources whose contribution may differ after `changed` keys of the model."""
    found: set[Source] = set()
    for key in changed:
        match key:
            case ("networks", network):
                found.update(of_network(view, network))
            case ("leases", network, node) if node == view.me:
                found.update(of_network(view, network))
            case ("leases", network, node):
                found.add(("peer", network, node))
            case ("nodes" | "presence", node) if node != view.me:
                found.update(("peer", network, node) for network, held in view.leases.items() if node in held)
            case ("endpoints", _, network, id):
                found.add(("endpoint", network, id))
    return found


def everything(view: View) -> set[Source]:
    return {source for network in view.networks for source in of_network(view, network)}


def of_network(view: View, network: str) -> Iterator[Source]:
    yield ("network", network)
    yield from (("peer", network, node) for node in view.leases.get(network, {}) if node != view.me)
    yield from (("endpoint", network, e.id) for e in view.endpoints_of(network))


class Compiler:
    """`host` may be None while nothing is known of the uplink: then nothing is wanted of it."""

    def __init__(self, view: View, *, withdraw: bool) -> None:
        self.view = view
        self.host: Host | None = None
        self.withdraw = withdraw

    def contribution(self, source: Source) -> Contribution | None:
        """What the source wants now; None where it no longer exists."""
        site = self.site(source[1])
        if site is None:
            return None
        if isinstance(site, Contribution):
            return site if source[0] == "network" else None
        driver = registry.driver(site.network.driver)
        match source:
            case ("network", _):
                return gather(driver.network(site))
            case ("peer", network, name):
                lease, node = self.view.lease(network, name), self.view.nodes.get(name)
                if lease is None or node is None or not self.reachable(name):
                    return None
                return gather(driver.peer(site, node, lease))
            case ("endpoint", _, id):
                endpoint = self.view.endpoints.get(id)
                return None if endpoint is None else gather(driver.endpoint(site, endpoint))
        return None

    def site(self, name: str) -> Site | Contribution | None:
        """The network on this host; a Contribution of problems only where it cannot be here; None where it is not."""
        network = self.view.networks.get(name)
        if network is None or self.host is None:
            return None
        try:
            options = registry.parse_options(network)
            refusal = registry.driver(network.driver).refusal(self.host, network, options)
        except WeftError as error:
            refusal = f"{error} (made by another version of Weft?)"
        if refusal:
            return Contribution(problems=(refusal,))
        lease = self.view.lease(name, self.view.me)
        return None if lease is None else Site(self.host, network, options, lease)

    def reachable(self, node: str) -> bool:
        """Whether routes to a node are wanted: while its agent's presence lasts, unless they are never withdrawn."""
        return not self.withdraw or node in self.view.present
