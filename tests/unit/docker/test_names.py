"""What Docker says of a container that Weft has to know: its names, and the services that its labels ask for."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any

from support.agents import until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.client import Client
from weft.docker.names import Names
from weft.docker.state import PluginState
from weft.model import Network
from weft.services.record import SERVICES, At

BLUE = Network(name="blue", driver="vxlan", subnets=(ip_network("10.1.0.0/16"),))
ID = "0123456789abcdef"


class FakeEngine:
    """Docker: endpoint e1 of its network n1 is of this container."""

    def __init__(self, labels: dict[str, str]) -> None:
        self.labels = labels

    def containers(self, network: str) -> set[str]:
        return {ID} if network == "n1" else set()

    def container(self, id: str) -> dict[str, Any]:
        there = {"NetworkID": "n1", "EndpointID": "e1", "Aliases": ["front"]}
        return {
            "Id": ID,
            "Name": "/shop",
            "Config": {"Labels": self.labels},
            "NetworkSettings": {"Networks": {"blue": there}},
        }


async def looked(agent: Agent, client: Client, state: PluginState, labels: dict[str, str]) -> t.EndpointInfo:
    """The endpoint, after two looks; an option of it said an alias of the service."""
    service = Service(agent)
    made = await service.create_network(t.CreateNetwork(network=BLUE))
    wish = t.Attach(
        target="",
        network="blue",
        addresses=(ip_address(str(made.leases[0].subnets[0][2])),),
        owner="docker/n1/e1",
        handover=True,
        labels={"weft.service.alias": "option"},
    )
    await service.attach(wish)
    state.put("n1", BLUE)
    names = Names(client, state, FakeEngine(labels))  # type: ignore[arg-type]  # it is one where it matters
    for _ in range(2):
        await asyncio.to_thread(names.look)
    [endpoint] = await service.endpoints()
    return endpoint


async def test_labels_that_ask_for_a_service_are_taken_over(agent: Agent, client: Client, state: PluginState) -> None:
    labels = {
        "weft.service": "web",
        "weft.service.port": "80:8080,443",
        "weft.service.alias": "label",
        "com.docker.compose.project": "of no concern",
    }
    endpoint = await looked(agent, client, state, labels)
    assert endpoint.labels == {
        "weft.service": "web",
        "weft.service.port": "80:8080,443",
        "weft.service.alias": "option",
    }
    assert set(endpoint.aliases) == {"shop", ID[:12], "front"}
    await until(lambda: agent.view.table(SERVICES).get(At("blue", "web")))


async def test_a_label_that_names_no_service_is_left_out(agent: Agent, client: Client, state: PluginState) -> None:
    endpoint = await looked(agent, client, state, {"weft.service": "not a name", "weft.service.port": "80"})
    assert endpoint.labels == {"weft.service.alias": "option"}
    assert set(endpoint.aliases) == {"shop", ID[:12], "front"}
