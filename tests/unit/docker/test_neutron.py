"""What dockerd asks for a container in a network of Neutron's, from its network's beginning to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from support.agents import FakeHost, agent_on
from support.neutron_server import NeutronServer
from weft.agent.agent import Agent

NETWORK, ENDPOINT = "n" * 64, "e" * 64
BOTH = {"NetworkID": NETWORK, "EndpointID": ENDPOINT}


@pytest.fixture
async def agent(neutron_server: NeutronServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    """The plugin's fixtures take this one."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(neutron_server.clouds(tmp_path)))
    async with agent_on(FakeHost(), tmp_path / "weft.db", openstack_cloud="devstack") as running:
        yield running


async def test_the_whole_of_dockers_questions(plugin: TestClient[Any, Any], neutron_server: NeutronServer) -> None:
    net = neutron_server.make("network", name="prod")
    neutron_server.make("subnet", network_id=net["id"], cidr="10.50.0.0/24", ip_version=4)

    async def ask(what: str, **body: object) -> dict[str, Any]:
        answer = await plugin.post(f"/{what}", json=body)
        found = dict(await answer.json())
        assert answer.status == 200 and not {"Err", "Error"} & found.keys(), found
        return found

    def ports() -> list[dict[str, Any]]:
        return neutron_server.list("ports", network_id=net["id"])

    before = ports()
    pool = await ask("IpamDriver.RequestPool", AddressSpace="weft", Pool="10.50.0.0/24")
    gateway = {"RequestAddressType": "com.docker.network.gateway"}
    asked = await ask("IpamDriver.RequestAddress", PoolID=pool["PoolID"], Options=gateway)
    assert asked["Address"] == "10.50.0.1/24"
    options = {"com.docker.network.generic": {"weft.driver": "neutron", "weft.neutron.net": "prod"}}
    data = [{"AddressSpace": "weft", "Pool": "10.50.0.0/24", "Gateway": "10.50.0.1/24"}]
    await ask("NetworkDriver.CreateNetwork", NetworkID=NETWORK, Options=options, IPv4Data=data)
    assert ports() == before

    address = (await ask("IpamDriver.RequestAddress", PoolID=pool["PoolID"]))["Address"]
    assert [(p["binding:host_id"], p["device_id"]) for p in ports()] == [("", "")]
    said = {"com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}, {"Proto": 6, "Port": 81}]}
    made = await ask("NetworkDriver.CreateEndpoint", **BOTH, Interface={"Address": address}, Options=said)
    (port,) = ports()
    assert made == {"Interface": {"MacAddress": port["mac_address"]}} and port["status"] == "ACTIVE"
    assert f"{port['fixed_ips'][0]['ip_address']}/24" == address and len(port["security_groups"]) == 2

    joined = await ask("NetworkDriver.Join", **BOTH, SandboxKey="/var/run/docker/netns/1")
    assert (joined["Gateway"], joined["DisableGatewayService"]) == ("10.50.0.1", True)
    assert joined["InterfaceName"]["SrcName"].startswith("wft")
    mapped = {"com.docker.network.portmap": [{"Proto": 6, "Port": 80, "HostPort": 8080}]}
    await ask("NetworkDriver.ProgramExternalConnectivity", **BOTH, Options=mapped)
    for step in ("RevokeExternalConnectivity", "Leave", "DeleteEndpoint"):
        await ask(f"NetworkDriver.{step}", **BOTH)
    await ask("IpamDriver.ReleaseAddress", PoolID=pool["PoolID"], Address=address.split("/")[0])
    assert ports() == before
    await ask("NetworkDriver.DeleteNetwork", NetworkID=NETWORK)
    await ask("IpamDriver.ReleasePool", PoolID=pool["PoolID"])
    assert [n["tags"] for n in neutron_server.list("networks", id=net["id"])] == [[]]
    neutron_server.delete("network", net["id"])
