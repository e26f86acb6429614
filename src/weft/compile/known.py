"""What contributors are told of this host: the model, what the agent has learnt of the host, and each network on it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NamedTuple

from weft.base.errors import WeftError
from weft.cluster.view import View
from weft.datapaths import registry
from weft.datapaths.driver import Answer, Host, Site, gather, without_lease
from weft.datapaths.options import CommonOptions
from weft.datapaths.traits import KnownBy
from weft.hoststate import Contribution
from weft.model import Network


class Resolver(NamedTuple):
    """`port`: at which it listens in the container's namespace; 0: it does not, and why is `trouble`."""

    port: int
    trouble: str = ""


class Known:
    """`host` may be None while nothing is known of the uplink: then nothing is wanted of it. `dead`: nodes to which no routes
    are wanted."""

    def __init__(self, view: View, dead: Container[str] = ()) -> None:
        self.view, self.dead = view, dead
        self.host: Host | None = None
        self.resolvers: Mapping[str, Resolver] = {}
        """By the path of a container's namespace, where this host's agent answers its questions for names. Live."""
        self._options: dict[str, tuple[Network, CommonOptions]] = {}
        """What was parsed last, of the networks as they were then: each of a thousand peers asks."""

    def gather(self, answer: Answer) -> Contribution:
        """What a data path answered, with what goes for every data path."""
        return gather(answer, ipv6=self.host is None or self.host.ipv6)

    def here(self, network: str) -> Site | None:
        """The network on this host, where it can be here and uses no other network's leases and data path."""
        site = self.site(network) if self.view.home(network) == network else None
        return site if isinstance(site, Site) else None

    def site(self, name: str) -> Site | Contribution | None:
        """The network on this host; a Contribution of problems only where it cannot be here; None where it is not. One
        that is here already stays, also while the uplink lacks what it needs: what traffic there is goes on."""
        network = self.view.networks.get(name)
        if network is None or self.host is None:
            return None
        driver, me = registry.of(network), self.view.me
        lease = self.view.lease(name, me) if driver.addresses.routed else without_lease(network, me)
        here = bool(self.view.endpoints_of(name)) if driver.known_by is KnownBy.LOCATIONS else lease is not None
        try:
            options = self.options(network)
            refusal = "" if here else driver.refusal(self.host, network, options)
        except WeftError as error:
            refusal = f"{error} (made by another version of Weft?)"
        if refusal:
            return Contribution(problems=(refusal,))
        return None if lease is None else Site(self.host, network, options, lease)

    def options(self, network: Network) -> CommonOptions:
        """Raises Invalid."""
        known = self._options.get(network.name)
        if known is None or known[0] is not network:
            known = self._options[network.name] = network, registry.parse_options(network)
        return known[1]
