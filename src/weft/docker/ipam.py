"""IpamDriver: addresses out of this host's subnet of the network that a pool belongs to (moby, libnetwork/docs/ipam.md).

A pool is a network's whole prefix; its id is that prefix. Docker asks for the gateway's address before it creates the
network, and for a container's before it creates the endpoint: until then the agent keeps it (`Client.reserve`).
"""

from __future__ import annotations

from weft.api import types as t
from weft.base.errors import Conflict, Invalid
from weft.base.net import IPInterface, IPNetwork, parse_address, parse_interface, parse_network
from weft.client import Client
from weft.docker import messages as m
from weft.docker.driver import Driver, Reply
from weft.docker.networks import SPACE
from weft.docker.state import PluginState


class Ipam:
    def __init__(self, client: Client, state: PluginState, driver: Driver) -> None:
        self._client, self._state, self._driver = client, state, driver

    def capabilities(self, _: m.Nothing) -> Reply:
        return {"RequiresMACAddress": False, "RequiresRequestReplay": False}

    def spaces(self, _: m.Nothing) -> Reply:
        return {"LocalDefaultAddressSpace": SPACE, "GlobalDefaultAddressSpace": SPACE}

    def request_pool(self, request: m.RequestPool) -> Reply:
        if request.sub_pool:
            raise Invalid("--ip-range is not for Weft's networks: each host gives addresses out of its own subnet")
        if not request.pool:  # Docker would take no answer that its host has a route to, and ask for ever
            raise Invalid("give --subnet, the same on each host, such as --subnet 10.1.0.0/16")
        pool = str(parse_network(request.pool))
        return {"PoolID": pool, "Pool": pool, "Data": {}}

    def release_pool(self, request: m.OfPool) -> Reply:
        parse_network(request.pool)
        return {}

    def request_address(self, request: m.RequestAddress) -> Reply:
        pool = parse_network(request.pool)
        address = self._gateway(pool, request) if request.for_gateway else self._reserve(pool, request)
        return {"Address": str(address), "Data": {}}

    def _reserve(self, pool: IPNetwork, request: m.RequestAddress) -> IPInterface:
        network = self._state.with_pool(pool)
        if network is None:
            raise Invalid(
                f"Docker has no network of Weft's with the subnet {pool} (yet): --aux-address is not for these, "
                "-o weft.reserve=PREFIX,... keeps addresses free"
            )
        wish = t.Reserve(family=pool.version, owner=m.OWNER, address=request.wish)
        return self._driver.with_network(network, lambda: self._client.reserve(network.name, wish)).address

    def _gateway(self, pool: IPNetwork, request: m.RequestAddress) -> IPInterface:
        """This host's own; of a network that is yet to be created, where that cannot be known, the pool's first. It is for
        show: containers are told theirs when they join."""
        node = self._client.status().node
        leases = [
            lease
            for n in self._client.networks(brief=True)
            if pool in n.subnets
            for lease in n.leases
            if lease.node == node
        ]
        subnet = next((s for lease in leases for s in lease.subnets if s.version == pool.version), pool)
        address = subnet.network_address + 1
        if request.wish not in (None, address):
            raise Conflict(f"{request.wish} cannot be the gateway, Weft gives each host its own: leave --gateway out")
        return parse_interface(f"{address}/{subnet.prefixlen}")

    def release_address(self, request: m.ReleaseAddress) -> Reply:
        network, address = self._state.with_pool(parse_network(request.pool)), parse_address(request.address)
        if network is not None:
            self._client.release(network.name, str(address), m.OWNER)
        return {}
