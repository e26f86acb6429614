"""Neutron's networks, subnets, ports and security groups, as far as Weft needs them.

What Weft makes carries a mark in its description, which is there from the first moment: it is part of the call that makes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import field

from weft.base.errors import Failed, Invalid, NotFound
from weft.openstack.cloud import Cloud

OWNER = "compute:weft"
"""`device_owner` of Weft's ports: Neutron's drivers bind what begins with "compute:" as they do virtual machines."""
ITS_OWN = ("network:dhcp", "network:distributed")
"""`device_owner` of Neutron's own ports, which go with their network."""


class Net(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str = ""
    mtu: int = 0
    description: str = ""
    tags: tuple[str, ...] = ()
    created_at: str = ""


class HostRoute(msgspec.Struct, frozen=True):
    destination: str
    nexthop: str


class Subnet(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    network_id: str
    cidr: str
    ip_version: int
    name: str = ""
    gateway_ip: str | None = None
    host_routes: tuple[HostRoute, ...] = ()


class FixedIp(msgspec.Struct, frozen=True):
    subnet_id: str
    ip_address: str


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """`vif_type`: "binding_failed" where no agent on its host takes it; "" where these credentials do not see that."""

    id: str
    network_id: str
    mac_address: str
    name: str = ""
    status: str = ""
    device_id: str = ""
    device_owner: str = ""
    description: str = ""
    fixed_ips: tuple[FixedIp, ...] = ()
    security_groups: tuple[str, ...] = ()
    host: str = field(default="", name="binding:host_id")
    vif_type: str = field(default="", name="binding:vif_type")
    vif_details: dict[str, Any] = field(default={}, name="binding:vif_details")
    created_at: str = ""


class Named(msgspec.Struct, frozen=True):
    id: str
    name: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A security group."""

    id: str
    name: str = ""
    description: str = ""
    created_at: str = ""


class SubnetPool(msgspec.Struct, frozen=True):
    id: str
    ip_version: int


class AgentOf(msgspec.Struct, frozen=True):
    host: str
    agent_type: str = ""
    alive: bool = False


T = TypeVar("T")


class Neutron:
    """Everything raises what `Cloud.ask` does."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    # Networks and subnets.

    async def network(self, ref: str) -> Net:
        """By name or id. Raises NotFound, Invalid where several are called so."""
        return await self._one("network", Net, ref)

    async def networks(self, **query: str) -> list[Net]:
        return await self._list("networks", Net, query)

    async def subnets(self, network: str) -> list[Subnet]:
        return await self._list("subnets", Subnet, {"network_id": network})

    async def create_network(self, **values: object) -> Net:
        return await self._create("network", Net, values, f"network {values['name']} in Neutron")

    async def create_subnet(self, **values: object) -> Subnet:
        return await self._create("subnet", Subnet, values, f"subnet {values['name']} in Neutron")

    async def subnet_pool(self, ref: str) -> tuple[str, int]:
        """Its id and family. Raises NotFound, Invalid."""
        found = await self._one("subnetpool", SubnetPool, ref)
        return found.id, found.ip_version

    async def delete_network(self, id: str) -> None:
        """With its subnets. Raises Conflict while others' ports are on it."""
        await self._delete("networks", id, f"network {id} in Neutron")

    async def tag(self, id: str, tag: str) -> None:
        await self._cloud.ask("PUT", f"/networks/{id}/tags/{tag}", f"a tag of network {id}")

    async def untag(self, id: str, tag: str) -> None:
        await self._delete(f"networks/{id}/tags", tag, f"a tag of network {id}")

    # Ports.

    async def ports(self, **query: str) -> list[Port]:
        return await self._list("ports", Port, query)

    async def port(self, id: str) -> Port:
        what = f"port {id} in Neutron"
        return _read(await self._cloud.ask("GET", f"/ports/{id}", what), "port", Port, what)

    async def create_port(self, what: str, **values: object) -> Port:
        return await self._create("port", Port, _with_binding(values), what)

    async def update_port(self, what: str, id: str, **values: object) -> Port:
        found = await self._cloud.ask("PUT", f"/ports/{id}", what, body={"port": _with_binding(values)})
        return _read(found, "port", Port, what)

    async def delete_port(self, id: str) -> None:
        await self._delete("ports", id, f"port {id} in Neutron")

    async def agents(self, host: str) -> list[AgentOf]:
        """On a host; only administrators are told."""
        return await self._list("agents", AgentOf, {"host": host})

    # Security groups.

    async def group(self, ref: str) -> str:
        """Its id, by name or id. Raises NotFound, Invalid."""
        return (await self._one("security-group", Named, ref)).id

    async def create_group(self, name: str, description: str) -> str:
        values: dict[str, object] = {"name": name, "description": description}
        return (await self._create("security-group", Named, values, f"security group {name}")).id

    async def create_rules(self, group: str, rules: Iterable[dict[str, object]]) -> None:
        """In one call."""
        listed = [{"security_group_id": group, **rule} for rule in rules]
        body = {"security_group_rules": listed}
        await self._cloud.ask("POST", "/security-group-rules", f"rules of security group {group}", body=body)

    async def groups(self, **query: str) -> list[Group]:
        return await self._list("security-groups", Group, query)

    async def delete_group(self, id: str) -> None:
        await self._delete("security-groups", id, f"security group {id}")

    # What they have in common.

    async def _one(self, kind: str, cls: type[T], ref: str) -> T:
        words = f"{kind.replace('-', ' ')} {ref}"
        found = await self._list(f"{kind}s", cls, {"id": ref}) or await self._list(f"{kind}s", cls, {"name": ref})
        if not found:
            raise NotFound(
                f"Neutron has no {words}, or not for these credentials: `openstack {_shell(kind)} list` shows them"
            )
        if len(found) > 1:
            raise Invalid(f"Neutron has {len(found)} of the name {words}: give the id of the one that is meant")
        return found[0]

    async def _list(self, kind: str, cls: type[T], query: dict[str, str]) -> list[T]:
        what = f"{kind.replace('-', ' ')} in Neutron"
        found = await self._cloud.ask("GET", f"/{kind}", what, query=query)
        return _read(found, kind.replace("-", "_"), list[cls], what)  # type: ignore[valid-type]

    async def _create(self, kind: str, cls: type[T], values: dict[str, object], what: str) -> T:
        key = kind.replace("-", "_")
        found = await self._cloud.ask("POST", f"/{kind}s", what, body={key: values})
        return _read(found, key, cls, what)

    async def _delete(self, kind: str, id: str, what: str) -> None:
        """What is gone is gone."""
        try:
            await self._cloud.ask("DELETE", f"/{kind}/{id}", what)
        except NotFound:
            return


def _read(answer: bytes, key: str, cls: type[T], what: str) -> T:
    """Raises Failed where it is no answer of Neutron's."""
    try:
        return msgspec.convert(json.loads(answer)[key], cls)
    except (ValueError, KeyError, TypeError, msgspec.ValidationError):
        raise Failed(
            f"{what}: what answers there is not Neutron, or one that Weft does not know: see its address in clouds.yaml"
        ) from None


def _with_binding(values: dict[str, object]) -> dict[str, object]:
    """`host`, as Neutron calls it."""
    return {"binding:host_id" if key == "host" else key: value for key, value in values.items()}


def _shell(kind: str) -> str:
    """What the command `openstack` calls it."""
    return {"subnetpool": "subnet pool"}.get(kind, kind.replace("-", " "))
