"""What Docker no longer has goes from Weft, but not before the second look."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from support.agents import create
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Unavailable
from weft.client import Client
from weft.docker.driver import Driver
from weft.docker.networks import MADE
from weft.docker.state import PluginState
from weft.docker.sweep import Sweep
from weft.model import Network


class FakeEngine:
    """Docker, which has these endpoints in these networks."""

    def __init__(self) -> None:
        self.has: dict[str, set[str]] = {}
        self.listed: list[dict[str, Any]] = []
        self.down = False

    def endpoints(self, network: str) -> set[str] | None:
        if self.down:
            raise Unavailable("no agent answers")
        return self.has.get(network)

    def networks(self, driver: str) -> list[dict[str, Any]]:
        assert driver == "weft"
        return self.listed


@pytest.fixture
def docker() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def sweep(client: Client, state: PluginState, driver: Driver, docker: FakeEngine) -> Sweep:
    return Sweep(client, state, driver, docker, "weft")  # type: ignore[arg-type]  # it is one where it matters


@pytest.fixture
async def held(agent: Agent, state: PluginState) -> None:
    """Endpoint e1 of Docker's network n1, and one that is not Docker's."""
    made = await Service(agent).create_network(
        t.CreateNetwork(network=Network(name="blue", driver="vxlan", subnets=(ip_network("10.1.0.0/16"),), labels=MADE))
    )
    subnet = made.leases[0].subnets[0]
    for number, owner in ((2, "docker/n1/e1"), (3, "cni/x")):
        wish = t.Attach(
            target="", network="blue", addresses=(ip_address(str(subnet[number])),), owner=owner, handover=True
        )
        await Service(agent).attach(wish)
    state.put("n1", Network(name="blue", driver="vxlan", subnets=made.subnets, labels=MADE))


async def owners(agent: Agent) -> set[str]:
    return {e.owner for e in await Service(agent).endpoints()}


async def look(sweep: Sweep) -> list[str]:
    return await asyncio.to_thread(sweep.look)


@pytest.mark.usefixtures("held")
async def test_what_docker_has_stays(sweep: Sweep, docker: FakeEngine, agent: Agent) -> None:
    docker.has = {"n1": {"e1"}}
    for _ in range(3):
        assert await look(sweep) == []
    assert await owners(agent) == {"docker/n1/e1", "cni/x"}


@pytest.mark.usefixtures("held")
async def test_an_endpoint_missed_twice_in_a_row_goes(sweep: Sweep, docker: FakeEngine, agent: Agent) -> None:
    docker.has = {"n1": set()}
    assert await look(sweep) == []
    docker.has = {"n1": {"e1"}}
    assert await look(sweep) == []
    docker.has = {"n1": set()}
    assert await look(sweep) == []
    assert await owners(agent) == {"docker/n1/e1", "cni/x"}
    assert await look(sweep) == ["docker/n1/e1"]
    assert await owners(agent) == {"cni/x"}


@pytest.mark.usefixtures("held")
async def test_a_network_goes_with_its_endpoints_but_not_with_others(
    sweep: Sweep, agent: Agent, state: PluginState
) -> None:
    await look(sweep)
    assert set(await look(sweep)) == {"docker/n1/e1", "docker/n1/"}
    assert state.networks() == {} and await owners(agent) == {"cni/x"}
    assert set(agent.view.networks) == {"blue"}


@pytest.mark.usefixtures("held")
async def test_nothing_goes_while_docker_is_away(sweep: Sweep, docker: FakeEngine, agent: Agent) -> None:
    docker.down = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            await look(sweep)
    assert await owners(agent) == {"docker/n1/e1", "cni/x"}


async def test_what_the_state_has_lost_is_asked_of_docker(
    sweep: Sweep, docker: FakeEngine, agent: Agent, state: PluginState
) -> None:
    await create(agent, "blue", "10.1.0.0/16", vni=7)
    docker.has = {"n1": set()}
    docker.listed = [
        {
            "Id": "n1",
            "Name": "anything",
            "Driver": "weft",
            "Internal": False,
            "IPAM": {"Driver": "weft", "Config": [{"Subnet": "10.1.0.0/16"}]},
            "Options": {"weft.network": "blue", "weft.vni": "7"},
        },
        {"Id": "n2", "Name": "broken", "IPAM": None, "Options": None},
    ]
    await look(sweep)
    assert {id: n.name for id, n in state.networks().items()} == {"n1": "blue"}
