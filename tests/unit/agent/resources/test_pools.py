"""Pools: added, closed, for some nodes only, removed."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, Exhausted, Invalid, NotFound
from weft.hoststate import NftElement
from weft.hoststate.union import Source
from weft.model import keys

MORE = ip_network("10.8.0.0/24")


async def prod(agent: Agent, *subnets: str, **options: object) -> None:
    await create(agent, "prod", *subnets or ("10.9.0.0/24",), driver="routed", **{"cooldown": 0, **options})
    await until(lambda: agent.view.lease("prod", agent.view.me))


async def connect(agent: Agent, host: FakeHost, name: str) -> str:
    host.open(name)
    return str((await attach(agent, name, "prod")).addresses[0].ip)


async def test_a_pool_that_is_added_is_used_and_one_that_is_closed_is_not(agent: Agent, host: FakeHost) -> None:
    service = Service(agent)
    await prod(agent, "10.9.0.0/30", block_size=30)
    await asyncio.gather(*(connect(agent, host, f"c{n}") for n in range(4)))
    with pytest.raises(Exhausted):
        await connect(agent, host, "c4")
    first, second = await service.add_pool("prod", t.AddPool(subnet=MORE))
    assert (first.blocks, first.total, first.addresses, second.total) == (1, 1, 4, 64)
    assert (await connect(agent, host, "c4")).startswith("10.8.0.")
    await service.set_pool("prod", t.SetPool(subnet=MORE, disabled=True))
    await service.detach("c0")
    assert (await connect(agent, host, "c5")).startswith("10.9.0.")
    with pytest.raises(Exhausted, match=r"of 1 blocks of /30 in 10\.9\.0\.0/30 it has 1"):
        await connect(agent, host, "c6")
    with pytest.raises(Conflict, match=r"pool 10\.8\.0\.0/24 of network prod has 1 addresses in use"):
        await service.remove_pool("prod", str(MORE))
    await service.detach("c4")
    with pytest.raises(Conflict, match=r"has 1 blocks that nodes hold \(10\.8\.0\.\d+/30: node-1\)"):
        await service.remove_pool("prod", str(MORE))
    await agent.attachments.blocks.give_back("prod", agent.attachments.blocks.idle("prod"))
    assert [p.subnet for p in await service.remove_pool("prod", str(MORE))] == [ip_network("10.9.0.0/30")]
    assert agent.view.networks["prod"].pools == ()


async def test_a_pool_goes_outside_in_its_own_way(agent: Agent, host: FakeHost) -> None:
    service = Service(agent)
    await prod(agent, "10.9.0.0/24")

    def masqueraded() -> set[str]:
        elements = (o for o in agent.loop.contribution(Source("network", "prod")).objects if isinstance(o, NftElement))
        return {e.value for e in elements if e.set == "masquerade4"}

    await service.add_pool("prod", t.AddPool(subnet=MORE, masquerade=False))
    await until(lambda: masqueraded() == {"10.9.0.0/24"})
    (*_, added) = await service.set_pool("prod", t.SetPool(subnet=MORE, nodes="rack=a"))
    assert (added.masquerade, added.nodes) == (False, "rack=a"), "what is not asked for stays"
    await service.set_pool("prod", t.SetPool(subnet=MORE, masquerade=True))
    await until(lambda: masqueraded() == {"10.9.0.0/24", str(MORE)})


async def test_a_pool_for_some_nodes(agent: Agent, host: FakeHost, store_file: Path) -> None:
    service = Service(agent)
    await prod(agent)
    await service.add_pool("prod", t.AddPool(subnet=MORE, nodes="rack=b"))
    await service.set_pool("prod", t.SetPool(subnet=ip_network("10.9.0.0/24"), nodes="!rack"))
    there = FakeHost("192.168.1.254/24")
    async with agent_on(there, store_file, "node-2", labels={"rack": "b"}) as other:
        await until(lambda: other.view.lease("prod", "node-2") and len(other.view.networks["prod"].subnets) == 2)
        assert (await connect(agent, host, "c1")).startswith("10.9.0.")
        assert (await connect(other, there, "c2")).startswith("10.8.0.")
        await service.set_pool("prod", t.SetPool(subnet=MORE, nodes="rack=c"))
        await until(lambda: other.view.networks["prod"].pool(MORE).nodes == "rack=c")
        assert (await connect(other, there, "c3")).startswith("10.8.0."), "out of the block that it has"
        await service.set_pool("prod", t.SetPool(subnet=MORE, disabled=True))
        await until(lambda: other.view.networks["prod"].pool(MORE).disabled)
        with pytest.raises(Exhausted, match=r"no IPv4 pool is for node-2 \(its labels: rack=b\): `weft pool ls prod`"):
            await connect(other, there, "c4")


@pytest.mark.parametrize(
    ("subnet", "nodes", "error", "text"),
    [
        ("10.9.0.128/25", "", Invalid, "subnets 10.9.0.0/24 and 10.9.0.128/25 overlap"),
        ("10.9.0.0/24", "", Conflict, "has a pool 10.9.0.0/24 already"),
        ("10.1.0.0/16", "", Conflict, "10.1.0.0/16 overlaps 10.1.0.0/16 of network blue"),
        ("192.168.0.0/16", "", Conflict, "overlaps node-1's own network 192.168.1.0/24"),
        ("10.8.0.0/27", "", Invalid, "a block of /26 is larger than 10.8.0.0/27"),
        ("224.0.0.0/8", "", Invalid, "is multicast"),
        ("10.8.0.0/24", "rack==b", Invalid, "in selector 'rack==b' is none of"),
    ],
)
async def test_pools_that_are_refused(agent: Agent, subnet: str, nodes: str, error: type[Exception], text: str) -> None:
    await prod(agent)
    await create(agent, "blue")
    before = await agent.store.get(keys.network("prod"))
    with pytest.raises(error, match=text):
        await Service(agent).add_pool("prod", t.AddPool(subnet=ip_network(subnet), nodes=nodes))
    assert await agent.store.get(keys.network("prod")) == before


async def test_what_has_no_pools(agent: Agent) -> None:
    service = Service(agent)
    await prod(agent)
    await create(agent, "blue")
    await create(agent, "dev", "10.9.0.0/24", driver="routed", share="prod")
    for name, subnet, error, text in (
        ("blue", "10.1.0.0/16", Invalid, "driver vxlan has no pools"),
        ("dev", "10.9.0.0/24", Invalid, "shares the pools of prod: name that"),
        ("prod", "10.7.0.0/24", NotFound, r"has no pool 10\.7\.0\.0/24: it has 10\.9\.0\.0/24"),
        ("prod", "10.9.0.0/24", Invalid, "is the only pool"),
        ("none", "10.9.0.0/24", NotFound, "no network none"),
    ):
        with pytest.raises(error, match=text):
            await service.remove_pool(name, subnet)


async def test_those_that_share_follow(agent: Agent) -> None:
    service = Service(agent)
    await prod(agent)
    await create(agent, "dev", "10.9.0.0/24", driver="routed", share="prod")
    await service.add_pool("prod", t.AddPool(subnet=MORE))
    assert agent.view.networks["dev"].subnets == agent.view.networks["prod"].subnets
    await service.remove_pool("prod", str(MORE))
    assert agent.view.networks["dev"].subnets == (ip_network("10.9.0.0/24"),)
