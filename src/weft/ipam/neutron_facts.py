"""What Neutron said of a network, its subnets and security groups' names, which is believed for a while; and what follows of it
for a port.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import NamedTuple

from weft.base.errors import NotFound
from weft.base.net import IPInterface, parse_interface
from weft.datapaths import registry
from weft.datapaths.neutron_options import GATEWAYS, NeutronOptions
from weft.ipam.neutron_networks import NET
from weft.model import Network
from weft.openstack.neutron import FixedIp, Net, Neutron, Port, Subnet

FRESH = 60.0
"""Seconds for which it is believed."""
BRIDGE = "br-int"
"""Where Neutron does not say which bridge ports are plugged into."""


class Facts(NamedTuple):
    """What Neutron said of a network, and until when that is believed."""

    net: Net
    subnets: dict[str, Subnet]
    until: float


class NeutronFacts:
    def __init__(self, neutron: Neutron) -> None:
        self._neutron = neutron
        self._facts: dict[str, Facts] = {}
        self._groups: dict[str, tuple[str, float]] = {}
        """Security group as users call it → its id, and until when that is believed."""

    def forget(self) -> None:
        """Something of it turned out to be otherwise."""
        self._facts.clear()
        self._groups.clear()

    async def of(self, network: Network) -> Facts:
        facts = self._facts.get(network.name)
        id = network.data[NET]
        if facts is None or facts.net.id != id or facts.until < time.monotonic():
            nets, subnets = await asyncio.gather(self._neutron.networks(id=id), self._neutron.subnets(id))
            if not nets:
                raise NotFound(
                    f"network {network.name}: Neutron has its network {id} no more, or not for these credentials: remove it "
                    f"with `weft network rm {network.name}`"
                )
            (net,) = nets
            facts = Facts(net, {s.id: s for s in subnets}, time.monotonic() + FRESH)
            self._facts[network.name] = facts
        return facts

    async def with_port(self, network: Network, port: Port) -> Facts:
        """With the port's subnets: of one that has come since, Neutron may have given an address too."""
        facts = await self.of(network)
        if all(ip.subnet_id in facts.subnets for ip in port.fixed_ips):
            return facts
        self._facts.pop(network.name, None)
        return await self.of(network)

    async def groups(self, options: NeutronOptions) -> list[str]:
        """Raises NotFound, Invalid."""
        found = []
        for ref in options.groups:
            id, until = self._groups.get(ref, ("", 0.0))
            if until < time.monotonic():
                id = await self._neutron.group(ref)
                self._groups[ref] = id, time.monotonic() + FRESH
            found.append(id)
        return list(dict.fromkeys(found))  # Neutron takes each once


def options_of(network: Network) -> NeutronOptions:
    options = registry.parse_options(network)
    assert isinstance(options, NeutronOptions), f"{network.driver} has no ports in Neutron"
    return options


def interface(ip: FixedIp, facts: Facts) -> IPInterface:
    """With its subnet's prefix length."""
    length = facts.subnets[ip.subnet_id].cidr.rpartition("/")[2]
    return parse_interface(f"{ip.ip_address}/{length}")


def data_of(network: Network, port: Port, facts: Facts) -> dict[str, str]:
    """What the data path has to know of the port."""
    subnets = [facts.subnets[ip.subnet_id] for ip in port.fixed_ips]
    own = {ip.ip_address for ip in port.fixed_ips}  # a container that is to be the gateway itself has none
    hops = {s.ip_version: s.gateway_ip for s in subnets if s.gateway_ip and s.gateway_ip not in own}
    mtu = min((m for m in (network.mtu or 0, facts.net.mtu) if m), default=0)
    return {
        "port": port.id,
        "plug": "hybrid" if port.vif_details.get("ovs_hybrid_plug") else "ovs",
        "bridge": str(port.vif_details.get("bridge_name") or BRIDGE),
        "mtu": str(mtu or ""),
        **{key: hops.get(fam, "") for key, fam in zip(GATEWAYS, (4, 6), strict=True)},
        "routes": ", ".join(_routes(subnets)),
    }


def _routes(subnets: Iterable[Subnet]) -> list[str]:
    return [f"{r.destination} via {r.nexthop}" for s in subnets for r in s.host_routes]
