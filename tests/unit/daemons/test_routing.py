"""The view into BIRD: when it runs, what it is told and how often, and what becomes of it when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import msgspec
import pytest

from support.agents import FakeHost, agent_on, make_agent, running, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict, NotFound, Unavailable
from weft.model import BgpPeer, BgpSecret, Lease, Network, decode, encode, keys, to_builtins
from weft.store.protocol import Delete, Put

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
    assert host.bird.done.count("configure") <= 10 and host.bird.done.count("start") == 1
    configured = host.bird.done.count("configure")
    agent.routing.touch()
    await asyncio.sleep(0.2)
    assert host.bird.done.count("configure") == configured, "what is the same is not told again"


async def test_a_bird_that_ended_is_started_again_without_being_asked_for(agent: Agent, host: FakeHost) -> None:
    await network(agent, BLOCK)
    await until(lambda: host.bird.running)
    agent.routing.daemon._started = 0.0  # long ago
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
        await until(lambda: second.routing.daemon._fd)
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
    agent.routing.sessions.down["router:tor"] -= 60  # it has been so for a minute
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


# What was asked for and not confirmed is asked again.


async def test_a_bird_that_is_silent_while_its_configuration_changes_is_asked_again(
    agent: Agent, host: FakeHost, service: Service
) -> None:
    await network(agent, BLOCK)
    await until(lambda: host.bird.running)
    host.bird.silent = True
    await network(agent, BLOCK, "197.19.9.0/26")
    await until(lambda: agent.routing.trouble)
    host.bird.silent = False
    await until(lambda: "route 197.19.9.0/26" in host.bird.text)
    await until(lambda: not agent.routing.trouble)
    assert host.bird.done.count("start") == 1, "it was only slow"


async def test_one_that_goes_silent_between_the_question_and_its_answer_is_asked_again(
    agent: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    await network(agent, BLOCK)
    await until(lambda: host.bird.running)
    monkeypatch.setattr(host.bird, "configure", _silent_once(host.bird.configure))
    await network(agent, BLOCK, "197.19.9.0/26")
    await until(lambda: "route 197.19.9.0/26" in host.bird.text)


def _silent_once(configure: Callable[[str], None]) -> Callable[[str], None]:
    asked: list[str] = []

    def configure_at_the_second_try(text: str) -> None:
        asked.append(text)
        if len(asked) == 1:
            raise Unavailable("BIRD does not answer: timed out")
        configure(text)

    return configure_at_the_second_try


async def test_one_whose_control_socket_was_removed_is_started_anew_and_only_once(
    agent: Agent, host: FakeHost, service: Service
) -> None:
    await network(agent, BLOCK)
    await until(lambda: host.bird.running)
    agent.routing.daemon._started = 0.0  # long ago
    host.bird.deaf = True
    with pytest.raises(Unavailable):
        await service.bgp_sessions()  # this is how it is noticed, at the latest by the agent's own look
    await until(lambda: host.bird.done[-2:] == ["kill", "start"])
    await network(agent, BLOCK, "197.19.9.0/26")
    await until(lambda: "route 197.19.9.0/26" in host.bird.text)
    assert host.bird.done.count("start") == 2 and not agent.routing.trouble


async def test_one_that_is_silent_for_long_is_started_anew(
    agent: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    await network(agent, BLOCK)
    await until(lambda: host.bird.running)
    agent.routing.daemon._started = 0.0
    monkeypatch.setattr("weft.daemons.supervisor.SILENT", 0.5)
    host.bird.silent = True
    agent.routing.touch()
    await until(lambda: host.bird.done[-2:] == ["kill", "start"])


async def test_two_of_them_that_an_older_version_left_become_one(host: FakeHost, store_file: Path) -> None:
    first = make_agent(host, store_file)
    async with running(first):
        await until(lambda: first.loop.started)
        await network(first, BLOCK)
        await until(lambda: host.bird.running)
    host.bird.number = 2
    async with running(make_agent(host, store_file)):
        await until(lambda: host.bird.done[-2:] == ["kill", "start"])
    assert host.bird.pids() == [4711]


@pytest.mark.parametrize("what", ["pidfd", "configure", "check", "start"])
async def test_what_the_system_denies_costs_a_try_and_not_the_agent(
    agent: Agent, host: FakeHost, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Too many open files, no room, no memory for another process."""
    with monkeypatch.context() as denied:
        denied.setattr(host.bird, what, _denied)
        await network(agent, BLOCK)
        if what in ("configure", "start", "pidfd"):
            await until(lambda: "Too many open files" in agent.routing.trouble)
    await until(lambda: host.bird.running and not agent.routing.trouble)


def _denied(*_: object) -> None:
    raise OSError(24, "Too many open files")


async def test_a_status_that_cannot_be_read_is_said_to_be_unknown(
    agent: Agent, host: FakeHost, service: Service
) -> None:
    await service.add_bgp_peer(t.AddBgpPeer(peer=TOR))
    await until(lambda: host.bird.running)
    host.bird.answers["show protocols all"] = DOWN.replace("Active", "Established")
    await service.bgp_sessions()
    assert (await service.status()).bgp == t.BgpStatus(sessions=1, established=1)
    host.bird.silent = True
    with pytest.raises(Unavailable):
        await service.bgp_sessions()
    await until(lambda: agent.routing.trouble)
    found = (await service.status()).bgp
    assert found and (found.established, found.unknown) == (0, 1) and "sessions is unknown" in found.reason
    assert 'weft_bgp_sessions{state="unknown"} 1.0' in str(agent.metrics.exposition())


async def test_routes_that_someone_removes_are_written_again(agent: Agent, host: FakeHost) -> None:
    await network(agent, BLOCK)
    await until(lambda: host.bird.running)
    host.bird.removals.remove(4)
    await until(lambda: "reload out kernel4" in host.bird.done)
    assert "reload out kernel6" not in host.bird.done


async def test_a_router_that_bird_refuses_costs_itself_and_nobody_else(
    agent: Agent, host: FakeHost, service: Service
) -> None:
    await network(agent, BLOCK)
    host.bird.refuse_if = "router:bad"
    await service.add_bgp_peer(t.AddBgpPeer(peer=msgspec.structs.replace(TOR, name="bad")))
    await service.add_bgp_peer(t.AddBgpPeer(peer=msgspec.structs.replace(TOR, address=ip_address("192.168.1.2"))))
    await until(lambda: "router:tor" in host.bird.text)
    assert "router:bad" not in host.bird.text and f"route {BLOCK} blackhole;" in host.bird.text
    (problem,) = [p.text for p in (await service.status()).problems]
    assert problem.startswith("bgp peer bad: BIRD refuses its configuration") and "--replace" in problem
    host.bird.refuse_if = ""
    await service.add_bgp_peer(t.AddBgpPeer(peer=msgspec.structs.replace(TOR, name="bad", asn=65003), replace=True))
    await until(lambda: "router:bad" in host.bird.text)
    assert not (await service.status()).problems


@pytest.mark.parametrize(
    "broken",
    [{"communities": ["١٢:٣"]}, {"accept": ["10.0.0.0/٨"]}, {"name": "other"}, {"asn": "x"}],
    ids=["unicode-community", "unicode-prefix", "another-name", "no-number"],
)
async def test_a_bad_record_of_a_router_costs_that_router(
    agent: Agent, host: FakeHost, service: Service, broken: dict[str, object]
) -> None:
    """An older version's, or one that was edited by hand."""
    await network(agent, BLOCK)
    await service.add_bgp_peer(t.AddBgpPeer(peer=TOR))
    await until(lambda: "router:tor" in host.bird.text)
    record = {**to_builtins(TOR), "name": "bad", "address": "192.168.1.2", **broken}
    await agent.store.commit([], [Put(keys.bgp_peer("bad"), encode(record))])
    await until(lambda: agent.view.broken)
    await network(agent, BLOCK, "197.19.9.0/26")
    await until(lambda: "route 197.19.9.0/26" in host.bird.text)
    assert "router:tor" in host.bird.text and "router:bad" not in host.bird.text and not agent.routing.trouble
    assert any("bgp/peers/bad in the store cannot be read" in p.text for p in (await service.status()).problems)


# The cluster's secret.


async def secret(agent: Agent) -> str:
    item = await agent.store.get(keys.BGP_SECRET)
    return decode(BgpSecret, item.value).value if item else ""


async def shared(one: Agent, other: Agent) -> None:
    """A network that both nodes are in."""
    await network(one, BLOCK)
    await until(lambda: one.view.lease("prod", "node-2") and other.view.lease("prod", "node-1"))


def password(host: FakeHost) -> str:
    return next((line for line in host.bird.text.splitlines() if "password" in line), "")


async def test_nodes_sign_their_sessions_with_what_one_of_them_made(
    agent: Agent, host: FakeHost, service: Service, store_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    far = FakeHost("192.168.1.2/24")
    async with agent_on(far, store_file, "node-2") as other:
        await shared(agent, other)
        await until(lambda: password(host) and password(host) == password(far))
        made = await secret(agent)
        shown = [
            await service.status(),
            await service.bgp_sessions(),
            await service.bgp_settings(),
            await service.doctor(),
        ]
        said = f"{shown} {agent.metrics.exposition()} {caplog.text}"
        for hidden in (made, password(host).split('"')[1]):
            assert hidden and hidden not in said


async def test_a_secret_that_the_store_has_lost_is_put_back_and_no_session_ends(
    agent: Agent, host: FakeHost, store_file: Path
) -> None:
    far = FakeHost("192.168.1.2/24")
    async with agent_on(far, store_file, "node-2") as other:
        await shared(agent, other)
        await until(lambda: password(host) and password(far))
        before, made = password(host), await secret(agent)
        for damage in (Delete(keys.BGP_SECRET), Put(keys.BGP_SECRET, b"nonsense")):
            revision = await agent.store.commit([], [damage])
            assert revision
            await until(lambda past=revision: agent.view.revision(keys.BGP_SECRET) > past)
            assert await secret(agent) == made and password(host) == before


async def test_a_node_without_md5_says_so_and_speaks_without(
    agent: Agent, host: FakeHost, service: Service, store_file: Path
) -> None:
    far = FakeHost("192.168.1.2/24")
    far.change(features=far.found.features - {"tcp-md5"})
    async with agent_on(far, store_file, "node-2") as other:
        await shared(agent, other)
        await until(lambda: "node4:node-2" in host.bird.text and "node4:node-1" in far.bird.text)
        assert not password(host) and not password(far)
        assert any("BGP sessions have no password with node-2" in p.text for p in (await service.status()).problems)
        (finding,) = [f for f in await Service(other).doctor() if f.check == "kernel: tcp-md5"]
        assert finding.result == "warning" and "CONFIG_TCP_MD5SIG" in finding.advice
