"""NetworkDriver: Docker's networks and endpoints are Weft's (moby, libnetwork/docs/remote.md)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from weft.api import types as t
from weft.base.errors import Conflict, NotFound
from weft.client import Client
from weft.docker import identity, networks
from weft.docker import messages as m
from weft.docker.state import PluginState
from weft.model import Network

log = logging.getLogger(__name__)

Reply = dict[str, Any]
T = TypeVar("T")


class Driver:
    """Blocking. Raises what the agent raises, and Invalid, NotFound."""

    def __init__(self, client: Client, state: PluginState) -> None:
        self._client, self._state = client, state

    def capabilities(self, _: m.Nothing) -> Reply:
        return {"Scope": "local"}  # "global" is for swarm; on each host the same options say the same network

    def create_network(self, request: m.CreateNetwork) -> Reply:
        m.owner(request.network)
        pools = [*(request.v4 or []), *(request.v6 or [])]
        network = networks.ensure(self._client, networks.wanted(request.options, pools))
        self._state.put(request.network, network)
        log.info("network %s of Docker's is %s", request.network[:12], network.name)
        return {}

    def delete_network(self, request: m.OfNetwork) -> Reply:
        self.forget(request.network)
        return {}

    def forget(self, id: str) -> None:
        """What Docker made it removes, unless somebody else uses it."""
        for e in self._client.endpoints(owner=m.owner(id)):
            self._client.detach(owner=e.owner)
        network = self._state.network(id)
        if network is None:
            return
        shared = any(n.name == network.name for other, n in self._state.networks().items() if other != id)
        if network.labels.items() >= networks.MADE.items() and not shared:
            try:
                self._client.remove_network(network.name)
            except NotFound:
                pass
            except Conflict as still_used:
                log.info("%s", still_used)
        self._state.drop(id)

    def create_endpoint(self, request: m.CreateEndpoint) -> Reply:
        network, interface = self._known(request.network), request.interface or m.Interface()
        said = identity.said(request.options)
        attach = t.Attach(
            target="",
            network=network.name,
            name=f"docker-{request.endpoint[:12].lower()}",
            addresses=tuple(a.ip for a in interface.addresses),
            mac=interface.mac,
            owner=request.owner,
            handover=True,
            labels=said.labels,
            policy_namespace=said.namespace,
            named_ports=said.ports,
            exposed=request.exposed,
        )
        made = self.with_network(network, lambda: self._client.attach(attach))
        # Only what Docker left open may be answered.
        return {"Interface": {} if interface.mac or not made.mac else {"MacAddress": made.mac}}

    def join(self, request: m.Join) -> Reply:
        network = self._known(request.network)
        place = t.Attach(target=request.sandbox, network=network.name, owner=request.owner, handover=True)
        try:
            endpoint = self._client.attach(place)
        except NotFound:
            unknown = f"endpoint {request.endpoint[:12]} is not known to Weft: start its container again"
            raise NotFound(unknown) from None
        self._check_alone(endpoint)
        out = [r for r in endpoint.routes if not r.destination.prefixlen]
        gateways = {r.destination.version: str(r.gateway) for r in out if r.gateway}
        return {
            "InterfaceName": {"SrcName": endpoint.handover, "DstPrefix": _prefix(network)},
            "Gateway": gateways.get(4, ""),
            "GatewayIPv6": gateways.get(6, ""),
            "StaticRoutes": [_route(r) for r in _static(network, endpoint)],
            # Where Weft gives no way out and the network is meant to have one, Docker adds its own.
            "DisableGatewayService": bool(out) or network.internal,
        }

    def _check_alone(self, endpoint: t.EndpointInfo) -> None:
        """Docker sets no metric: what is on the link of one interface cannot be on another's too. Raises Conflict."""
        linked = {r.destination for r in endpoint.routes if r.gateway is None}
        if not linked:
            return
        for other in self._client.endpoints(node=endpoint.node):
            both = linked & {r.destination for r in other.routes if r.gateway is None}
            if both and other.namespace == endpoint.namespace and other.id != endpoint.id:
                raise Conflict(
                    f"networks {other.network} and {endpoint.network} have the same next hop {min(map(str, both))}, and Docker "
                    "gives a container only one such: disconnect it from the other first"
                )

    def leave(self, request: m.OfEndpoint) -> Reply:
        """Docker takes the interface out by itself; the endpoint stays until it is deleted."""
        m.owner(request.network, request.endpoint)
        return {}

    def delete_endpoint(self, request: m.OfEndpoint) -> Reply:
        self._client.detach(owner=request.owner)
        return {}

    def oper_info(self, request: m.OfEndpoint) -> Reply:
        """Twice for each container that starts: no question to the agent."""
        m.owner(request.network, request.endpoint)
        return {"Value": {}}

    def program_external(self, request: m.ProgramExternalConnectivity) -> Reply:
        owner, ports = request.owner, request.ports
        if ports:
            self._client.publish(t.Publish(owner=owner, ports=ports))
        return {}

    def revoke_external(self, request: m.OfEndpoint) -> Reply:
        """Also told of endpoints that publish nothing, and of some that are gone."""
        held = next((e for e in self._client.endpoints(owner=request.owner) if e.owner == request.owner), None)
        if held is not None and held.ports:
            self._client.publish(t.Publish(owner=held.owner))
        return {}

    def nothing(self, _: m.Message) -> Reply:
        return {}

    def _known(self, id: str) -> Network:
        network = self._state.network(id)
        if network is None:
            m.owner(id)
            raise NotFound(f"network {id[:12]} of Docker's is not known to Weft: remove it and create it again")
        return network

    def with_network(self, network: Network, call: Callable[[], T]) -> T:
        """`call`, once more with the network made again if it was removed elsewhere."""
        try:
            return call()
        except NotFound:
            networks.again(self._client, network)
            return call()


def _prefix(network: Network) -> str:
    """How the interface's name begins in the container: Docker counts."""
    return str(network.options.get("interface", "")).rstrip("0123456789") or "eth"


def _static(network: Network, endpoint: t.EndpointInfo) -> Iterator[t.RouteInfo]:
    """All but the default routes, of which Docker takes one of a container's networks: so the way to the network's other
    hosts is told besides."""
    yield from (r for r in endpoint.routes if r.destination.prefixlen or r.gateway is None)
    told = {r.destination for r in endpoint.routes} | {a.network for a in endpoint.addresses}
    for r in endpoint.routes:
        if not r.destination.prefixlen and r.gateway is not None:
            wide = (s for s in network.subnets if s.version == r.destination.version and s not in told)
            yield from (t.RouteInfo(destination=s, gateway=r.gateway) for s in wide)


def _route(route: t.RouteInfo) -> Reply:
    """`RouteType`: 0 by a next hop, 1 on the link."""
    if route.gateway is None:
        return {"Destination": str(route.destination), "RouteType": 1}
    return {"Destination": str(route.destination), "RouteType": 0, "NextHop": str(route.gateway)}
