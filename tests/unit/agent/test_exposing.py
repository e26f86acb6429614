"""`weft expose`: a host in a network itself, and what of it is left when it is hidden, or its agent ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, attach, create, settled, until
from weft.agent.agent import Agent
from weft.agent.resources import infos
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Invalid, NotFound
from weft.hoststate import HOST, Address, FdbEntry, Link, Neighbour
from weft.model import keys
from weft.model.endpoint import HOST_ITSELF

BRIDGE = "weft-office"
SUBNETS = ("172.111.222.0/24", "fd00:222::/64")


def at_home(host: FakeHost) -> FakeHost:
    host.cookies[HOST] = host.cookies[HOST_ITSELF] = 1
    return host


@pytest.fixture
def host() -> FakeHost:
    return at_home(FakeHost())


@pytest.fixture
async def other(agent: Agent, store_file: Path) -> AsyncIterator[tuple[Agent, FakeHost]]:
    """node-2, of the same store."""
    place = at_home(FakeHost("192.168.1.254/24"))
    async with agent_on(place, store_file, "node-2") as running:
        await until(lambda: "node-2" in agent.view.present and "node-1" in running.view.present)
        yield running, place


def held(host: FakeHost) -> set[str]:
    """The host's addresses on the bridge."""
    found = (o for o in tuple(host.objects.values()) if isinstance(o, Address) and o.dev == BRIDGE)
    return {o.address.partition("/")[0] for o in found if not o.address.startswith("fe80:")}


async def test_the_host_is_in_the_network_until_it_is_hidden(
    agent: Agent, host: FakeHost, other: tuple[Agent, FakeHost]
) -> None:
    far, far_host = other
    await create(agent, "office", *SUBNETS, driver="mesh")
    await until(lambda: "office" in far.view.networks)
    far_host.open("c2")
    await attach(far, "c2", "office")
    before = {key for key in host.objects if key[0] == "link"}
    made = await Service(agent).expose("office", t.Expose(addresses=(ip_address("172.111.222.20"),)))
    own = {str(a.ip) for a in made.addresses}
    assert "172.111.222.20" in own and held(host) == own
    (bridge,) = [o for o in host.objects.values() if isinstance(o, Link) and o.name == BRIDGE]
    assert (made.name, made.interface, made.mac) == ("node-1", BRIDGE, bridge.mac)
    assert await Service(agent).expose("office", t.Expose()) == made, "again"
    with pytest.raises(Conflict, match=r"is in network office with 172\.111\.222\.20, .*: `weft hide office` first"):
        await Service(agent).expose("office", t.Expose(addresses=(ip_address("172.111.222.21"),)))

    def entries() -> tuple[set[str], set[str]]:
        objects = tuple(far_host.objects.values())
        known = {o.address for o in objects if isinstance(o, Neighbour) and o.lladdr == bridge.mac}
        return known, {o.dst for o in objects if isinstance(o, FdbEntry) and o.lladdr == bridge.mac and o.dst}

    await until(lambda: entries() == (own, {"192.168.1.68"}))
    assert [p.text for p in infos.problems(agent)] == []
    await Service(agent).hide("office")
    assert held(host) == set() and {key for key in host.objects if key[0] == "link"} == before
    await until(lambda: entries() == (set(), set()))
    with pytest.raises(NotFound, match="node-1 has no address in network office: `weft expose office` gives it one"):
        await Service(agent).hide("office")
    left = (await agent.store.list(keys.endpoints("node-1"))).items
    assert left == ()


async def test_an_agent_that_is_started_again_leaves_it_as_it_is(host: FakeHost, store_file: Path) -> None:
    """Also after a boot, when what was in other namespaces is gone."""
    async with agent_on(host, store_file) as agent:
        await create(agent, "office", *SUBNETS, driver="mesh")
        made = await Service(agent).expose("office", t.Expose())
        await attach(agent, host.open("c1"), "office")
    before = len(host.log)
    async with agent_on(host, store_file) as agent:
        await until(lambda: agent.loop.started)
        await settled(agent)
        assert host.log[before:] == []
    host.vanish("/run/netns/c1")
    host.cookies[HOST] = host.cookies[HOST_ITSELF] = 2
    async with agent_on(host, store_file) as agent:
        await until(lambda: [e.name for e in agent.view.endpoints.values()] == ["node-1"])
        assert held(host) == {str(a.ip) for a in made.addresses}


async def test_only_where_a_host_can_be_among_containers(agent: Agent) -> None:
    await create(agent, "blue", "10.1.0.0/16", driver="vxlan")
    with pytest.raises(
        Invalid, match="network blue has driver vxlan, with which no host is among the containers: only with mesh"
    ):
        await Service(agent).expose("blue", t.Expose())
