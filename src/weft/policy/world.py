"""All that policies say in a cluster, and whom each of them selects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from weft.model.network import Network
from weft.model.node import Node
from weft.policy import selector
from weft.policy.model import TIERS, Direction, Identity, Namespace, NetworkSet, Policy, Tier, Who

NO_NETWORK = ""
"""In which a host is: policies that have `hosts` are about it."""

Stack = list[tuple[Tier, list[Policy]]]


class World:
    """`policies`: by id. `networks`: by name, for what they reach (`reach`). None of it changes."""

    def __init__(
        self,
        policies: Iterable[Policy] = (),
        tiers: Iterable[Tier] = (),
        namespaces: Mapping[str, Namespace] = {},
        network_sets: Iterable[NetworkSet] = (),
        nodes: Mapping[str, Node] = {},
        networks: Mapping[str, Network] = {},
    ) -> None:
        self.tiers = {tier.name: tier for tier in (*TIERS, *tiers)}
        self.policies = {p.id: p for p in sorted(policies, key=self._place)}
        """In the order in which they are asked."""
        self.namespaces, self.nodes, self.networks = dict(namespaces), dict(nodes), dict(networks)
        self.network_sets = tuple(network_sets)

    def _place(self, policy: Policy) -> tuple[float, str, float, str]:
        tier = self.tiers.get(policy.tier)
        order = math.inf if policy.order is None else policy.order
        return (math.inf if tier is None else tier.order, policy.tier, order, policy.id)

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """A namespace's."""
        return (self.namespaces.get(namespace) or Namespace(name=namespace)).all_labels

    def selects(self, who: Who, identity: Identity) -> bool:
        if who.networks and identity.network not in who.networks:
            return False
        if who.namespaces is not None and not selector.matches(who.namespaces, self.labels_of(identity.namespace)):
            return False
        return selector.matches(who.selector, identity.labels)

    def selecting(self, identity: Identity) -> Iterator[Policy]:
        """The policies that have a say in an endpoint's traffic, in either direction, in their order."""
        return (p for p in self.policies.values() if self.concerns(p, identity))

    def concerns(self, policy: Policy, identity: Identity) -> bool:
        """Whether a policy selects an endpoint, or a host."""
        if identity.network == NO_NETWORK:
            return policy.hosts is not None and selector.matches(policy.hosts, identity.labels)
        return policy.subject is not None and self.selects(policy.subject, identity)

    def stack(self, identity: Identity, direction: Direction) -> Stack:
        """The tiers that concern an endpoint's traffic in one direction, each with its policies, in the order in which they
        are asked."""
        return self.stacked(self.selecting(identity), direction)

    def stacked(self, policies: Iterable[Policy], direction: Direction) -> Stack:
        """`policies`: in their order. Those of a tier that is not known are left out."""
        found: Stack = []
        for policy in policies:
            tier = self.tiers.get(policy.tier)
            if policy.rules(direction) is None or tier is None:
                continue
            if not found or found[-1][0] != tier:
                found.append((tier, []))
            found[-1][1].append(policy)
        return found

    def addresses_of_nodes(self, wanted: str) -> Iterator[str]:
        """`wanted`: a selector on nodes' labels."""
        for node in self.nodes.values():
            if selector.matches(wanted, node.labels):
                yield from (str(address.ip) for address in node.addresses)

    def cidrs_of_sets(self, wanted: str) -> Iterator[str]:
        """`wanted`: a selector on network sets' labels."""
        for found in self.network_sets:
            if selector.matches(wanted, found.labels):
                yield from map(str, found.cidrs)
