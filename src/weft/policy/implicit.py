"""Policies that nobody wrote: networks with the same subnets are told apart by who has an address, which only policy knows.

All other networks are told apart by their subnets (`weft.datapaths._isolation`), for a group of networks with the same
subnets as if it were one network that is open to whatever one of them is open to. What is too much of that is denied here,
for each network of the group: the group's subnets but for containers of those that it meets, and the subnets of networks
outside of the group that it does not meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from weft.base.net import IPNetwork
from weft.model.network import Network
from weft.policy.model import Peer, Policy, Rule, Who

TIER = "isolation"


def implicit(networks: Mapping[str, Network]) -> list[Policy]:
    groups: dict[str, list[Network]] = {}
    for _, network in sorted(networks.items()):
        groups.setdefault(network.home, []).append(network)
    return [policy for group in groups.values() if len(group) > 1 for policy in _of_group(group, networks)]


def _of_group(group: list[Network], networks: Mapping[str, Network]) -> Iterator[Policy]:
    for network in group:
        met = tuple(other.name for other in group if network.meets(other))
        beyond = sorted({s for other in networks.values() for s in _lent(network, other, group)}, key=str)
        rules = [_deny(group[0].subnets, met)] if len(met) < len(group) else []
        rules += [_deny(beyond)] if beyond else []
        if rules:
            yield Policy(
                id=f"isolation//{network.name}",
                kind="Isolation",
                name=network.name,
                tier=TIER,
                subject=Who(networks=(network.name,)),
                ingress=tuple(rules),
                egress=tuple(rules),
            )


def _lent(network: Network, other: Network, group: list[Network]) -> Iterable[IPNetwork]:
    """The subnets of a network outside of the group that another one of the group has to do with, and it has not."""
    outside = other.home != network.home and not network.meets(other)
    return other.subnets if outside and any(one.meets(other) for one in group) else ()


def _deny(subnets: Iterable[IPNetwork], but: tuple[str, ...] = ()) -> Rule:
    excluded = (Peer(who=Who(networks=but)),) if but else ()
    return Rule(action="deny", peers=(Peer(cidrs=tuple(subnets)),), no_peers=excluded)
