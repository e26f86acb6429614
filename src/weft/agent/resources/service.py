"""The API's operations, each by its name (`weft.api.operations`): a method of the resource that it is about. No HTTP here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from weft.agent.asking import Asking
from weft.agent.parts import Parts
from weft.agent.resources.bgp import Bgp
from weft.agent.resources.checks import Probes
from weft.agent.resources.declared.resource import Declared
from weft.agent.resources.endpoints import Endpoints
from weft.agent.resources.enforcing import Enforcing
from weft.agent.resources.examination import Examination
from weft.agent.resources.exposure import Exposure
from weft.agent.resources.flows import Flows
from weft.agent.resources.health import Health
from weft.agent.resources.ipam import Ipam
from weft.agent.resources.live import Live
from weft.agent.resources.mesh import Mesh
from weft.agent.resources.network_changes import NetworkChanges
from weft.agent.resources.networks import Networks
from weft.agent.resources.nodes import Nodes
from weft.agent.resources.observed import Observed
from weft.agent.resources.paths import Paths
from weft.agent.resources.policies import Policies
from weft.agent.resources.pools import Pools
from weft.agent.resources.services import Services
from weft.agent.resources.this_node import ThisNode
from weft.agent.resources.topology import TopologyOf
from weft.api.operations import OPERATIONS


class Service:
    def __init__(self, parts: Parts) -> None:
        networks, nodes = Networks(parts), Nodes(parts)
        here, endpoints = ThisNode(parts, networks), Endpoints(parts, networks, nodes)
        services, pools, changes = Services(parts, networks), Pools(parts, networks), NetworkChanges(parts, networks)
        self.asking = Asking(parts.view.me, parts.post, self)
        enforcing = Enforcing(parts, self.asking.ask)
        bgp, policies = Bgp(parts), Policies(parts, enforcing)
        resources = (
            here,
            Examination(parts, here, endpoints, networks, nodes, services),
            nodes,
            networks,
            changes,
            pools,
            Ipam(parts, networks),
            endpoints,
            Probes(parts, endpoints),
            Exposure(parts, networks),
            bgp,
            policies,
            enforcing,
            services,
            Declared(parts, networks, changes, pools, bgp, policies, enforcing),
            TopologyOf(parts, services),
            Health(parts, services),
            Observed(parts),
            Live(parts),
            Flows(parts),
            Mesh(parts),
            Paths(parts),
        )
        self.as_of = parts.as_of
        self._calls: dict[str, Callable[..., Awaitable[Any]]] = {
            op.name: next(getattr(found, op.name) for found in resources if hasattr(found, op.name))
            for op in OPERATIONS
        }

    def __getattr__(self, operation: str) -> Callable[..., Awaitable[Any]]:
        try:
            return self._calls[operation]
        except KeyError:
            raise AttributeError(operation) from None
