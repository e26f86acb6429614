"""What the page is told: everything, then changes of the cluster as they come."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest

from support.agents import FakeHost, until
from weft.agent.agent import Agent
from weft.agent.resources import topology as module
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.api.topology import LinkCounters, Topology
from weft.base.errors import Invalid
from weft.model import Network, records


@pytest.fixture
def service(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(module, "traffic", lambda uplink: {uplink: LinkCounters(mtu=1500, uplink=True)})
    monkeypatch.setattr(module, "PACE", 0.01)
    return Service(agent)


async def make_network(service: Service, name: str = "blue") -> None:
    await service.create_network(
        t.CreateNetwork(network=Network(name=name, driver="vxlan", subnets=(ip_network("10.1.0.0/16"),)))
    )


async def test_all_of_it_and_then_what_changes(service: Service, host: FakeHost) -> None:
    first: Topology = await service.topology()
    assert first.whole and set(first.nodes) == {"node-1"} and set(first.status) == {"node-1"}
    assert set(first.links) == {"eth0"} and not first.networks
    again: Topology = await service.topology(after=first.at)
    assert not again.whole and not again.nodes and not again.networks

    waiting = asyncio.create_task(service.topology(after=again.at, wait="20"))
    await make_network(service)
    told: Topology = await waiting
    while not told.networks:
        told = await service.topology(after=told.at, wait="20")
    assert not told.whole and set(told.networks) == {"blue"} and not told.endpoints

    host.open("c1")
    made = await service.attach(t.Attach(target="c1", network="blue", labels={"app": "web"}))
    while not told.endpoints:
        told = await service.topology(after=told.at, wait="20")
    line = told.endpoints[made.id]
    assert line and (line.name, line.network, line.node, line.labels) == ("c1", "blue", "node-1", {"app": "web"})
    assert line.addresses == (made.addresses[0].ip,) and line.device == made.host_interface

    await service.detach(target="c1", network="blue")
    while not told.endpoints or told.endpoints.get(made.id, line) is not None:
        told = await service.topology(after=told.at, wait="20")
    whole: Topology = await service.topology(after="of another agent.7")
    assert whole.whole and not whole.endpoints and set(whole.networks) == {"blue"}


async def test_nothing_is_followed_unless_somebody_looks(service: Service, agent: Agent, monkeypatch) -> None:
    monkeypatch.setattr(module, "IDLE", 0.05)
    monkeypatch.setattr(module, "LONGEST", 0.05)
    await make_network(service)
    assert not agent.view.follows(records.LOCATIONS, "blue")
    await service.topology()
    assert agent.view.follows(records.LOCATIONS, "blue")
    await until(lambda: not agent.view.follows(records.LOCATIONS, "blue"))


async def test_what_came_while_nobody_looked_is_told(
    service: Service, agent: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE", 0.05)
    monkeypatch.setattr(module, "LONGEST", 0.05)
    await make_network(service)
    told = await service.topology()
    host.open("c1")
    await until(lambda: not agent.view.follows(records.LOCATIONS, "blue"))
    made = await service.attach(t.Attach(target="c1", network="blue"))
    found = dict[str, object]()
    while made.id not in found:
        told = await service.topology(after=told.at)
        found.update(told.endpoints)


async def test_how_long_one_can_wait(service: Service) -> None:
    with pytest.raises(Invalid, match="wait"):
        await service.topology(wait="3600")
