"""Which networks may talk to each other, out of all networks' records: also of those that are not on this host, since what is
meant for them leaves it, too. Networks that share another's subnets are one with it here (`weft.policy.implicit` has the
rest)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from weft.base.net import IPNetwork, host_prefix, parse_network
from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.compile.contributor import Contributor
from weft.compile.known import Known
from weft.datapaths import _isolation, registry
from weft.datapaths.driver import Answer, Site, gather
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import Endpoint, Network, records

NAME, OF_ENDPOINT = "isolation", "isolation-endpoint"
ANEW = _isolation.ANEW
"""Bit of the mark of open connections that are looked up again (`weft.compile.meetings`)."""

Networks = Mapping[str, Network]


class Group:
    """Networks with the same subnets. `network`: the one whose subnets they are."""

    def __init__(self, members: Sequence[Network]) -> None:
        self.members = members
        self.network = next((n for n in members if n.home == n.name), members[0])
        self.open = any(n.reaches is None for n in members)
        self.routed = registry.of(self.network).addresses.routed
        """Hosts route its subnets."""
        self.here = self.routed or registry.of(self.network).linked
        """Packets of its containers can come to hosts as they are, and so can packets for them."""

    @property
    def subnets(self) -> tuple[IPNetwork, ...]:
        return self.network.subnets

    def names(self) -> Iterator[str]:
        """The networks that it is open to by name."""
        return (name for member in self.members for name in sorted(member.reaches or ()))

    def meets(self, other: Group) -> bool:
        return any(one.meets(another) for one in self.members for another in other.members)


def groups(networks: Networks) -> dict[str, Group]:
    """By the name of each network."""
    found: dict[str, list[Network]] = {}
    for _, network in sorted(networks.items()):
        found.setdefault(network.home, []).append(network)
    made = {home: Group(members) for home, members in found.items()}
    return {name: made[network.home] for name, network in sorted(networks.items())}


def answer(networks: Networks, here: Callable[[str], Site | None]) -> Answer:
    """For all of them. `here`: a network on this host, where it is."""
    return iter(dict.fromkeys(_answer(networks, here)))


def _answer(networks: Networks, here: Callable[[str], Site | None]) -> Answer:
    known = groups(networks)
    seen = [group for name, group in known.items() if group.here and group.network.name == name]
    if not seen or all(group.open for group in known.values()):
        return
    yield from _isolation.rules()
    for group in seen:
        yield from _isolation.ours(group.subnets)
        if not group.open:
            yield from _isolation.apart(group.subnets, group.network)
            yield from _isolation.between(group.subnets, group.subnets)
        for other in named(group, known) if group.routed else ():
            yield from _isolation.between(group.subnets, other.subnets)
            yield from _ways(group, other, here)
            yield from _ways(other, group, here)


def named(group: Group, known: Mapping[str, Group]) -> list[Group]:
    """The others that it names, that may talk to it, and whose subnets hosts route."""
    found = {id(known[name]): known[name] for name in group.names() if name in known}
    return [other for other in found.values() if other is not group and other.routed and group.meets(other)]


def _ways(source: Group, target: Group, here: Callable[[str], Site | None]) -> Answer:
    """By which packets come from one to the other."""
    site = here(target.network.name)
    for device in registry.of(target.network).ways(site) if site else ():
        yield from _isolation.inside(device, source.subnets, target.subnets)


def answer_endpoint(endpoint: Endpoint, networks: Networks) -> Answer:
    """For addresses of a container that are in none of the network's subnets: of its second interface."""
    return iter(dict.fromkeys(_answer_endpoint(endpoint, networks)))


def _answer_endpoint(endpoint: Endpoint, networks: Networks) -> Answer:
    gateway, network = endpoint.gateway, networks[endpoint.network]
    if gateway is None or all(n.reaches is None for n in networks.values()):
        return
    yield from _isolation.rules()
    yield from _isolation.ours({address.network for address in gateway.addresses})
    own = [parse_network(host_prefix(address.ip)) for address in gateway.addresses]
    if network.reaches is not None:
        yield from _isolation.apart(own, network)
    for _, other in sorted(networks.items()):
        if registry.of(other).addresses.routed and network.meets(other) and not _both_open(network, other):
            yield from _isolation.between(own, other.subnets)


def _both_open(one: Network, other: Network) -> bool:
    return one.reaches is None and other.reaches is None


# -- contributors ------------------------------------------------------------------------------------------------------


def _of_network(_view: View, _name: str) -> Iterator[Source]:
    yield Source(NAME, "")


def _contribute(known: Known, _source: Source) -> Contribution | None:
    if known.host is None or not known.view.networks:
        return None
    return gather(answer(known.view.networks, known.here))


CONTRIBUTOR = Contributor(name=NAME, contribute=_contribute, of_network=_of_network)


def _endpoints(view: View) -> Iterator[Source]:
    """Those of this host that have a second interface."""
    return (Source(OF_ENDPOINT, e.network, e.id) for e in view.endpoints.values() if e.gateway)


def _touched(_view: View, changed: Changed) -> Iterator[Source]:
    return (Source(OF_ENDPOINT, at.network, at.id) for at in changed.of(records.ENDPOINTS))


def _of_any_network(view: View, _name: str) -> Iterator[Source]:
    return _endpoints(view)


def _contribute_endpoint(known: Known, source: Source) -> Contribution | None:
    endpoint = known.view.endpoints.get(source.name)
    if endpoint is None or endpoint.gateway is None or endpoint.network not in known.view.networks:
        return None
    return gather(answer_endpoint(endpoint, known.view.networks))


ENDPOINTS = Contributor(name=OF_ENDPOINT, contribute=_contribute_endpoint, touched=_touched, of_network=_of_any_network)
