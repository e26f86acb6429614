"""The records of policy, all of which every node follows: they are few beside the endpoints that they speak of."""

from __future__ import annotations

from typing import NamedTuple

from weft.model import Location, keys
from weft.model.record import Pattern, Record, reads
from weft.policy.model import Identity, Namespace, NetworkSet, Policy, Tier


class Scoped(NamedTuple):
    """`namespace`: "-" for what is in none."""

    namespace: str
    name: str


class OfKind(NamedTuple):
    kind: str
    namespace: str
    name: str


POLICY = Pattern("policies/{kind}/{namespace}/{name}", OfKind)
TIER = Pattern("tiers/{name}", keys.Named)
NAMESPACE = Pattern("namespaces/{name}", keys.Named)
NETWORK_SET = Pattern("network-sets/{namespace}/{name}", Scoped)

POLICIES = Record("policies", POLICY, reads(Policy), by=(("kind", "namespace", "name"), ("id",)))
TIERS = Record("tiers", TIER, reads(Tier, "name"), by=(("name",),))
NAMESPACES = Record("namespaces", NAMESPACE, reads(Namespace, "name"), by=(("name",),))
NETWORK_SETS = Record("network-sets", NETWORK_SET, reads(NetworkSet, "name"), by=(("namespace", "name"),))


def policy_key(policy: Policy) -> str:
    kind, _, _name = policy.id.partition("/")
    return POLICY.key(kind, policy.namespace or "-", policy.name)


def network_set_key(found: NetworkSet) -> str:
    return NETWORK_SET.key(found.namespace or "-", found.name)


def identity(at: keys.Located, found: Location) -> Identity:
    """What policy has to know of an endpoint, as all hosts know it."""
    return Identity(
        id=at.id,
        name=found.name,
        network=at.network,
        node=found.node,
        addresses=found.addresses,
        namespace=found.namespace,
        labels=found.labels,
        ports=found.ports,
    )
