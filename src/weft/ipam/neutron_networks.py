"""Networks of Neutron's behind Weft's: made with them and removed with them, or used as they are and left as they are.

What Weft made says so in its description, what it only uses carries a tag of ours; both name the cluster and the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from weft.base.errors import Conflict, Invalid
from weft.base.names import digest
from weft.base.net import IPNetwork, parse_network
from weft.datapaths.neutron_options import NeutronOptions, listed
from weft.model import Network
from weft.openstack.neutron import ITS_OWN, OWNER, Neutron, Port, Subnet

NET, MADE = "net", "made"
"""Keys of a network's data: its id in Neutron, and whether Weft made it."""
LONGEST_TAG = 60
"""Characters that every version of Neutron takes."""


class Marks:
    """How a thing of Neutron's says that it is this cluster's. `identity`: of the cluster."""

    def __init__(self, identity: Callable[[], str], node: str) -> None:
        self._identity, self._node = identity, node

    @property
    def cluster(self) -> str:
        """How all begin."""
        return f"weft:{self._identity()}/"

    @property
    def port(self) -> str:
        """Of this node's ports."""
        return f"{self.cluster}{self._node}"

    def network(self, name: str) -> str:
        return f"{self.cluster}{name}"

    def tag(self, name: str) -> str:
        whole = f"weft:{self._identity()}:{name}"
        return whole if len(whole) <= LONGEST_TAG else f"weft:{digest('tag', whole).hex()[:32]}"

    def is_port(self, port: Port) -> bool:
        return port.device_owner == OWNER and port.description.startswith(self.cluster)


class NeutronNetworks:
    def __init__(self, neutron: Neutron, marks: Marks) -> None:
        self._neutron, self._marks = neutron, marks

    async def make(self, network: Network, options: NeutronOptions) -> Network:
        """With its subnets and its id in Neutron. Raises what Neutron's client raises: then nothing was made."""
        if options.net:
            return await self._use(network, options)
        return await self._create(network, options)

    async def unmake(self, network: Network) -> None:
        """What is gone already is no failure."""
        id = network.data.get(NET, "")
        if not id:
            return
        if not network.data.get(MADE):
            if await self._neutron.networks(id=id):  # of one that is gone, Neutron fails to remove a tag
                await self._neutron.untag(id, self._marks.tag(network.name))
            return
        await self.remove(id)

    async def remove(self, id: str) -> None:
        """One of our own, with our ports on it."""
        for port in await self._neutron.ports(network_id=id, device_owner=OWNER):
            if self._marks.is_port(port):
                await self._neutron.delete_port(port.id)
        await self._neutron.delete_network(id)

    async def check_unused(self, network: Network) -> None:
        """Raises Conflict where ports of others are on what would be removed."""
        id = network.data.get(NET, "")
        if not id or not network.data.get(MADE):
            return
        there = await self._neutron.ports(network_id=id)
        others = [p for p in there if p.device_owner not in ITS_OWN and not self._marks.is_port(p)]
        if others:
            names = ", ".join(p.name or p.id for p in others[:3])
            raise Conflict(
                f"network {network.name}: {len(others)} ports of others are on it in Neutron ({names}): remove those first"
            )

    # One that is there.

    async def _use(self, network: Network, options: NeutronOptions) -> Network:
        net = await self._neutron.network(options.net)
        if network.mtu and net.mtu and network.mtu > net.mtu:
            raise Invalid(f"network {network.name}: MTU {network.mtu} is more than Neutron's network has: {net.mtu}")
        subnets = _chosen(network, options, await self._neutron.subnets(net.id))
        used = _with(network, net.id, subnets, made=False)
        await self._neutron.tag(net.id, self._marks.tag(network.name))
        return used

    # One of our own.

    async def _create(self, network: Network, options: NeutronOptions) -> Network:
        pool = await self._neutron.subnet_pool(options.pool) if options.pool else None
        values: dict[str, object] = {"name": f"weft-{network.name}", "description": self._marks.network(network.name)}
        if network.mtu:
            values["mtu"] = network.mtu
        net = await self._neutron.create_network(**values)
        try:
            wanted: Iterable[IPNetwork | None] = network.subnets or (None,)
            subnets = [await self._create_subnet(network, net.id, subnet, pool) for subnet in wanted]
            return _with(network, net.id, subnets, made=True)
        except BaseException:
            await asyncio.shield(self._neutron.delete_network(net.id))
            raise

    async def _create_subnet(
        self, network: Network, id: str, subnet: IPNetwork | None, pool: tuple[str, int] | None
    ) -> Subnet:
        values: dict[str, object] = {"name": f"weft-{network.name}", "network_id": id}
        if subnet is not None:
            values |= {"cidr": str(subnet), "ip_version": subnet.version}
        if pool is not None and (subnet is None or subnet.version == pool[1]):
            values |= {"subnetpool_id": pool[0], "ip_version": pool[1]}
        if network.internal:
            values["gateway_ip"] = None
        return await self._neutron.create_subnet(**values)


def _with(network: Network, id: str, subnets: Iterable[Subnet], *, made: bool) -> Network:
    found = sorted(subnets, key=lambda s: s.ip_version)
    data = {NET: id, MADE: "yes" if made else ""}
    data |= {subnet_key(s.ip_version): s.id for s in found}
    return msgspec.structs.replace(network, subnets=tuple(parse_network(s.cidr) for s in found), data=data)


def subnet_key(family: int) -> str:
    """In a network's data, of the subnet's id."""
    return f"subnet{family}"


def _chosen(network: Network, options: NeutronOptions, there: list[Subnet]) -> list[Subnet]:
    """Raises Invalid."""
    known = ", ".join(f"{s.name or s.id} {s.cidr}" for s in there) or "none"
    has = f"{options.net} has in Neutron {known}"
    found = there
    if options.subnet:
        wanted = listed(options.subnet)
        found = [s for s in there if s.id in wanted or s.name in wanted]
        if missing := [w for w in wanted if not any(w in (s.id, s.name) for s in there)]:
            raise Invalid(f"network {network.name}: no subnet {missing[0]}: {has}")
    if network.subnets:
        found = [s for s in found if parse_network(s.cidr) in network.subnets]
        if lost := [n for n in network.subnets if n not in [parse_network(s.cidr) for s in found]]:
            raise Invalid(
                f"network {network.name}: no subnet {lost[0]}: {has}: choose among these, or leave --subnet out"
            )
    if not found:
        raise Invalid(f"network {network.name}: {has}: make a subnet there first")
    if len({s.ip_version for s in found}) < len(found):
        raise Invalid(f"network {network.name}: {has}: choose one of each family with -O neutron.subnet=NAME,…")
    return found
