"""The view into BIRD: when it runs, what it is told and how often, and what becomes of it when it ends."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from support.agents import FakeHost, make_agent, running, until
from weft.agent.agent import Agent
from weft.agent.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, NotFound, Unavailable
from weft.model import BgpPeer, Lease, Network, encode, keys
from weft.store.protocol import Put

TOR = BgpPeer(name="tor", address=ip_address("192.168.1.1"), asn=65001, password="secret")
BLOCK = "197.19.38.128/26"
DOWN = (
    "1002-router:tor BGP        ---        start  1795212615    Active        BGP Error: Bad peer AS\n"
    "1006-  BGP state:          Active\n     Last error:       BGP Error: Bad peer AS\n0000 \n"
)


async def network(agent: Agent, *blocks: str) -> None:
    """And this node's lease in it."""
    lease = Lease(network="prod", node="node-1", subnets=tuple(map(ip_network, blocks)))
    await agent.store.commit([], [Put(keys.lease("prod", "node-1"), encode(lease))])
    prod = Network(name="prod", driver="routed", subnets=(ip_network("197.19.0.0/16"),))
    await until(lambda: agent.view.lease("prod", "node-1") == lease)
    if "prod" not in agent.view.networks:
        await agent.store.commit([], [Put(keys.network("prod"), encode(prod))])


async def test_without_a_routed_network_there_is_no_bird(agent: Agent, host: FakeHost, service: Service) -> None:
    assert host.bird.done == [] and await service.bgp_sessions() == ()
    with pytest.raises(NotFound, match="BGP is not spoken here"):
        await service.bgp_routes()
    assert (await service.status()).bgp is None


async def test_it_begins_with_the_network_and_ends_with_it(agent: Agent, host: FakeHost, service: Service) -> None:
    await network(agent, BLOCK)
    await until(lambda: f"route {BLOCK} blackhole;" in host.bird.text)
    assert host.bird.done == ["install", "start"]
    await service.remove_network("prod")
    await until(lambda: host.bird.done[-1] == "end")


async def test_changes_come_to_it_together_and_only_where_they_matter(agent: Agent, host: FakeHost) -> None:
    await network(agent, BLOCK)
    await until(lambda: host.bird.running)
    for number in range(10):
        await network(agent, BLOCK, f"197.19.{number}.0/26")
    await until(lambda: "route 197.19.9.0/26" in host.bird.text)
    assert host.bird.done.count("reload") <= 10 and host.bird.done.count("start") == 1
    reloads = host.bird.done.count("reload")
    agent.routing.touch()
    await asyncio.sleep(0.2)
    assert host.bird.done.count("reload") == reloads, "what is the same is not told again"


async def test_a_bird_that_ended_is_started_again_without_being_asked_for(agent: Agent, host: FakeHost) -> None:
    await network(agent, BLOCK)
    await until(lambda: host.bird.running)
    agent.routing._started = 0.0  # long ago
    host.bird.crash()
    await until(lambda: host.bird.done.count("start") == 2)
    assert agent.routing.restarts == 1 and agent.routing.trouble == ""


async def test_one_that_ends_again_at_once_is_told_and_tried_after_a_pause(
    agent: Agent, host: FakeHost, service: Service
) -> None:
    await network(agent, BLOCK)
    await until(lambda: host.bird.running)
    host.bird.crash()
    await until(lambda: agent.routing.trouble)
    assert "BIRD ended soon after its start" in (await service.status()).bgp.reason
    assert any("ended soon" in p.text for p in (await service.status()).problems)
    await until(lambda: host.bird.running and not agent.routing.trouble)


async def test_one_that_was_ended_because_nothing_was_left_starts_at_once_when_there_is(
    agent: Agent, host: FakeHost, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    for starts in (1, 2):
        await service.add_bgp_peer(t.AddBgpPeer(peer=TOR))
        await until(lambda: host.bird.running)
        await service.remove_bgp_peer("tor")
        await until(lambda: not host.bird.running)
        assert host.bird.done.count("start") == starts
    assert "ended soon" not in caplog.text


async def test_a_configuration_that_it_refuses_leaves_the_old_one(
    agent: Agent, host: FakeHost, service: Service
) -> None:
    await network(agent, BLOCK)
    await until(lambda: host.bird.running)
    before, host.bird.refuse = host.bird.text, "4:1 syntax error"
    await service.add_bgp_peer(t.AddBgpPeer(peer=TOR))
    await until(lambda: agent.routing.trouble)
    assert agent.routing.trouble == "BIRD refuses its configuration: 4:1 syntax error"
    assert host.bird.text == before and host.bird.running
    host.bird.refuse = ""
    await until(lambda: "router:tor" in host.bird.text)


async def test_an_agent_that_comes_back_finds_it_and_tells_it_nothing(host: FakeHost, store_file: Path) -> None:
    first = make_agent(host, store_file)
    async with running(first):
        await until(lambda: first.loop.started)
        await network(first, BLOCK)
        await until(lambda: host.bird.running)
    assert host.bird.running, "it outlives the agent"
    second = make_agent(host, store_file)
    async with running(second):
        await until(lambda: second.routing._fd)
    assert host.bird.done == ["install", "start"]


async def test_a_router_alone_is_enough_and_its_session_is_explained(
    agent: Agent, host: FakeHost, service: Service
) -> None:
    info = await service.add_bgp_peer(t.AddBgpPeer(peer=TOR))
    assert info.password is True and "secret" not in str(info)
    await until(lambda: host.bird.running)
    host.bird.answers["show protocols all"] = DOWN
    (session,) = await service.bgp_sessions()
    assert (session.name, session.state) == ("tor", "Active")
    assert session.reason.startswith("AS mismatch") and session.advice
    assert (await service.status()).bgp == t.BgpStatus(sessions=1, established=0)
    agent.routing._down["router:tor"] -= 60  # it has been so for a minute
    await service.bgp_sessions()
    (problem,) = (await service.status()).problems
    assert problem.peer == "tor" and "AS mismatch" in problem.text
    await service.remove_bgp_peer("tor")
    await until(lambda: not host.bird.running)


async def test_peers_are_refused_before_anything_changes(agent: Agent, service: Service, host: FakeHost) -> None:
    own = BgpPeer(name="own", address=ip_address("192.168.1.68"), asn=65001)
    with pytest.raises(Conflict, match=r"192\.168\.1\.68 is node-1's own address"):
        await service.add_bgp_peer(t.AddBgpPeer(peer=own))
    await service.add_bgp_peer(t.AddBgpPeer(peer=TOR))
    with pytest.raises(Conflict, match="bgp peer tor exists: choose another name, or use --replace"):
        await service.add_bgp_peer(t.AddBgpPeer(peer=TOR))
    with pytest.raises(NotFound, match="no bgp peer rot"):
        await service.remove_bgp_peer("rot")
    assert [p.name for p in await service.bgp_peers()] == ["tor"]


async def test_settings_change_one_by_one(agent: Agent, service: Service) -> None:
    await service.set_bgp(t.SetBgp(hold_time=9))
    await service.set_bgp(t.SetBgp(mesh=False))
    found = await service.bgp_settings()
    assert (found.asn, found.hold_time, found.mesh) == (64512, 9, False)


async def test_a_dead_bird_is_told_to_who_asks(agent: Agent, host: FakeHost, service: Service) -> None:
    await network(agent, BLOCK)
    await until(lambda: host.bird.running)
    host.bird.crash()
    with pytest.raises(Unavailable):
        await service.bgp_sessions()
