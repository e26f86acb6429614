"""Neutron's routers and what a host's own port permits, as far as Weft asks for them.

Extra routes are added and removed one by one (extension `extraroute-atomic`): the server makes the union, so hosts do not
overwrite each other's. Allowed address pairs have no such call: they are written as a whole, and only if the port is still as
it was read (`If-Match`, the revision).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from weft.openstack.cloud import Cloud
from weft.openstack.neutron import FixedIp, HostRoute

INTERFACES = (
    "network:router_interface",
    "network:ha_router_replicated_interface",
    "network:router_interface_distributed",
)
"""`device_owner` of the ports by which routers join subnets, as simple, highly available and distributed ones have it."""
NEUTRONS = "network:"
"""What `device_owner` begins with of ports that are no host's."""


class Router(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str = ""
    project_id: str = ""
    routes: tuple[HostRoute, ...] = ()


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """`mac_address`: "" for the port's own."""

    ip_address: str
    mac_address: str = ""


class HostPort(msgspec.Struct, frozen=True, kw_only=True):
    """The interface of a host, or of a router: then `device_id` is the router's id."""

    id: str
    network_id: str
    mac_address: str
    device_id: str = ""
    device_owner: str = ""
    fixed_ips: tuple[FixedIp, ...] = ()
    port_security_enabled: bool = True
    security_groups: tuple[str, ...] = ()
    allowed_address_pairs: tuple[Pair, ...] = ()
    revision_number: int = 0

    @property
    def subnets(self) -> set[str]:
        """Their ids."""
        return {ip.subnet_id for ip in self.fixed_ips}

    def own(self, pair: Pair) -> bool:
        """Whether it is for packets with the port's own MAC address."""
        return pair.mac_address.lower() in ("", self.mac_address.lower())


class OfSubnet(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    cidr: str
    gateway_ip: str | None = None


class IngressRule(msgspec.Struct, frozen=True, kw_only=True):
    """Of a security group. `remote_ip_prefix` and `remote_group_id`: None for no such condition."""

    ethertype: str
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    remote_address_group_id: str | None = None


T = TypeVar("T")


class Routers:
    """Everything raises what `Cloud.ask` does."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def host_ports(self, addresses: Collection[str]) -> list[HostPort]:
        """Those with any of these addresses, of all networks that these credentials see."""
        found = await self._list("ports", HostPort, {"fixed_ips": [f"ip_address={a}" for a in addresses]})
        return [port for port in found if not port.device_owner.startswith(NEUTRONS)]

    async def port(self, id: str) -> HostPort:
        found = await self._get(f"/ports/{id}", f"port {id} in Neutron", {})
        return msgspec.convert(found["port"], HostPort)

    async def joining(self, network: str) -> list[HostPort]:
        """The ports of routers on a network."""
        return await self._list("ports", HostPort, {"network_id": network, "device_owner": INTERFACES})

    async def joins(self, routers: Collection[str]) -> list[HostPort]:
        """All ports of these routers."""
        return await self._list("ports", HostPort, {"device_id": sorted(routers)}) if routers else []

    async def subnets(self, ids: Collection[str]) -> list[OfSubnet]:
        return await self._list("subnets", OfSubnet, {"id": sorted(ids)}) if ids else []

    async def visible(self, routers: Collection[str]) -> set[str]:
        """Those of these routers that the credentials see."""
        return {r.id for r in await self._list("routers", Router, {"id": sorted(routers)})} if routers else set()

    async def router(self, id: str) -> Router:
        found = await self._get(f"/routers/{id}", f"router {id} in Neutron", {})
        return msgspec.convert(found["router"], Router)

    async def ingress(self, groups: Collection[str]) -> list[IngressRule]:
        """What security groups let in."""
        query = {"security_group_id": sorted(groups), "direction": "ingress"}
        return await self._list("security-group-rules", IngressRule, query) if groups else []

    async def add_route(self, router: str, route: HostRoute) -> None:
        await self._route(router, "add_extraroutes", route)

    async def remove_route(self, router: str, route: HostRoute) -> None:
        await self._route(router, "remove_extraroutes", route)

    async def set_pairs(self, port: HostPort, pairs: Sequence[Pair]) -> HostPort:
        """As it is then. Raises Conflict where it is no longer as it was read."""
        body = {"port": {"allowed_address_pairs": [_written(pair) for pair in pairs]}}
        headers = {"If-Match": f"revision_number={port.revision_number}"}
        what = f"allowed address pairs of port {port.id}"
        found = await self._cloud.ask("PUT", f"/ports/{port.id}", what, body=body, headers=headers)
        return msgspec.convert(json.loads(found)["port"], HostPort)

    async def _route(self, router: str, call: str, route: HostRoute) -> None:
        routes = [{"destination": route.destination, "nexthop": route.nexthop}]
        what = f"route to {route.destination} on router {router}"
        await self._cloud.ask("PUT", f"/routers/{router}/{call}", what, body={"router": {"routes": routes}})

    async def _list(self, kind: str, cls: type[T], query: Mapping[str, str | Sequence[str]]) -> list[T]:
        found = await self._get(f"/{kind}", f"{kind.replace('-', ' ')} in Neutron", query)
        return msgspec.convert(found[kind.replace("-", "_")], list[cls])  # type: ignore[valid-type]

    async def _get(self, path: str, what: str, query: Mapping[str, str | Sequence[str]]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self._cloud.ask("GET", path, what, query=query))
        return found


def _written(pair: Pair) -> dict[str, str]:
    return {"ip_address": pair.ip_address} | ({"mac_address": pair.mac_address} if pair.mac_address else {})
