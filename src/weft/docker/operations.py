"""Every operation of the two APIs in one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from weft.docker import messages as m
from weft.docker.driver import Driver, Reply
from weft.docker.ipam import Ipam

NETWORK_ERROR, IPAM_ERROR = "Err", "Error"
"""The reply's key for what went wrong: each API has its own."""


class Operation(msgspec.Struct, frozen=True):
    """`waits`: a container needs it to start, so it waits for an agent that cannot answer yet."""

    path: str
    request: type[m.Message]
    method: Callable[[Any], Reply]
    waits: bool = False

    @property
    def error(self) -> str:
        return error_key(self.path)


def error_key(path: str) -> str:
    return IPAM_ERROR if path.startswith("/IpamDriver.") else NETWORK_ERROR


def activate(_: m.Nothing) -> Reply:
    return {"Implements": ["NetworkDriver", "IpamDriver"]}


def operations(driver: Driver, ipam: Ipam) -> tuple[Operation, ...]:
    network = "/NetworkDriver."
    return (
        Operation("/Plugin.Activate", m.Nothing, activate),
        Operation(f"{network}GetCapabilities", m.Nothing, driver.capabilities),
        Operation(f"{network}CreateNetwork", m.CreateNetwork, driver.create_network, waits=True),
        Operation(f"{network}DeleteNetwork", m.OfNetwork, driver.delete_network),
        Operation(f"{network}CreateEndpoint", m.CreateEndpoint, driver.create_endpoint, waits=True),
        Operation(f"{network}DeleteEndpoint", m.OfEndpoint, driver.delete_endpoint),
        Operation(f"{network}EndpointOperInfo", m.OfEndpoint, driver.oper_info),
        Operation(f"{network}Join", m.Join, driver.join, waits=True),
        Operation(f"{network}Leave", m.OfEndpoint, driver.leave),
        Operation(
            f"{network}ProgramExternalConnectivity", m.ProgramExternalConnectivity, driver.program_external, waits=True
        ),
        Operation(f"{network}RevokeExternalConnectivity", m.OfEndpoint, driver.revoke_external),
        Operation(f"{network}DiscoverNew", m.Nothing, driver.nothing),
        Operation(f"{network}DiscoverDelete", m.Nothing, driver.nothing),
        Operation("/IpamDriver.GetCapabilities", m.Nothing, ipam.capabilities),
        Operation("/IpamDriver.GetDefaultAddressSpaces", m.Nothing, ipam.spaces),
        Operation("/IpamDriver.RequestPool", m.RequestPool, ipam.request_pool),
        Operation("/IpamDriver.ReleasePool", m.OfPool, ipam.release_pool),
        Operation("/IpamDriver.RequestAddress", m.RequestAddress, ipam.request_address, waits=True),
        Operation("/IpamDriver.ReleaseAddress", m.ReleaseAddress, ipam.release_address),
    )
