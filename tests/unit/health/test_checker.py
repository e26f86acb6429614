"""Checks of an agent on a host in memory: what it writes of them, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from support.agents import FakeHost, Tap, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service as Calls
from weft.api import types as t
from weft.health.checks import Check
from weft.model import decode, encode
from weft.services.model import Condition, Health, Service, ServicePort
from weft.services.record import CONDITION, SERVICE
from weft.store.protocol import Delete, Put

QUICK = Health(kind="tcp", interval=0.1, fall=2)
WEB = Service(name="web", network="blue", select="app=web", ports=(ServicePort(port=80),), health=QUICK)
KEY = SERVICE.key("blue", "web")
REFUSED = "connection refused at {}:80"


@pytest.fixture
async def agent(agent: Agent) -> Agent:
    await create(agent)
    await agent.store.commit([], [Put(KEY, encode(WEB))])
    return agent


async def member(agent: Agent, host: FakeHost, name: str = "c1") -> tuple[str, str]:
    """The id and the address of a new one."""
    found: t.EndpointInfo = await attach(agent, host.open(name), labels={"app": "web"})
    return found.id, str(found.addresses[0].ip)


async def conditions(agent: Agent) -> dict[str, Condition]:
    """What the store has, by the endpoint's id."""
    listing = await agent.known.list(CONDITION.root)
    return {item.key.rpartition("/")[2]: decode(Condition, item.value) for item in listing.items}


async def until_said(agent: Agent, wanted: dict[str, tuple[bool, str]]) -> None:
    """The store has just these conditions: readiness and reason."""
    deadline, found = time.monotonic() + 10, None
    while found != wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
        found = {id: (c.ready, c.reason) for id, c in (await conditions(agent)).items()}
    assert found == wanted


async def test_a_member_is_ready_when_it_answers_and_no_longer_when_it_does_not(agent: Agent, host: FakeHost) -> None:
    id, address = await member(agent, host)
    await until_said(agent, {id: (False, REFUSED.format(address))})
    host.says[address] = ""
    await until_said(agent, {id: (True, "")})
    host.says[address] = "HTTP 503 for /"
    await until_said(agent, {id: (False, "HTTP 503 for /")})
    assert agent.health.failed < agent.health.asked and agent.health.running == 1


async def test_only_changes_are_written(agent: Agent, host: FakeHost) -> None:
    id, address = await member(agent, host)
    host.says[address] = ""
    await until_said(agent, {id: (True, "")})
    assert isinstance(agent.store, Tap)
    asked, commits = agent.health.asked, agent.store.commits
    await until(lambda: agent.health.asked > asked + 3)
    assert agent.store.commits == commits


async def test_nothing_is_left_of_what_is_gone(agent: Agent, host: FakeHost) -> None:
    (one, a1), (two, a2) = await member(agent, host, "c1"), await member(agent, host, "c2")
    host.says |= {a1: "", a2: ""}
    await until_said(agent, {one: (True, ""), two: (True, "")})
    await Calls(agent).detach("c1")
    await until_said(agent, {two: (True, "")})
    unchecked = msgspec.structs.replace(WEB, health=None)
    await agent.store.commit([], [Put(KEY, encode(unchecked))])
    await until_said(agent, {})
    assert agent.health.running == 0
    await agent.store.commit([], [Put(KEY, encode(WEB))])
    await until_said(agent, {two: (True, "")})
    await agent.store.commit([], [Put(KEY, encode(msgspec.structs.replace(WEB, select="app=other")))])
    await until_said(agent, {})
    await agent.store.commit([], [Put(KEY, encode(WEB))])
    await until_said(agent, {two: (True, "")})
    await agent.store.commit([], [Delete(KEY)])
    await until_said(agent, {})


async def test_what_the_store_lost_is_written_again(agent: Agent, host: FakeHost) -> None:
    id, address = await member(agent, host)
    host.says[address] = ""
    await until_said(agent, {id: (True, "")})
    await agent.store.commit([], [Delete(CONDITION.key("blue", "web", id))])
    await until_said(agent, {id: (True, "")})


async def test_with_the_store_away_checks_go_on_and_are_written_later(agent: Agent, host: FakeHost) -> None:
    id, address = await member(agent, host)
    await until_said(agent, {id: (False, REFUSED.format(address))})
    assert isinstance(agent.store, Tap)
    agent.store.lose()
    host.says[address] = ""
    asked = agent.health.asked
    await until(lambda: agent.health.asked > asked + 3)
    assert not (await conditions(agent))[id].ready
    agent.store.restore()
    await until_said(agent, {id: (True, "")})


async def test_a_service_that_is_changed_keeps_what_is_known(agent: Agent, host: FakeHost) -> None:
    id, address = await member(agent, host)
    host.says[address] = ""
    await until_said(agent, {id: (True, "")})
    host.says[address] = "HTTP 503 for /"
    patient = msgspec.structs.replace(WEB, health=Health(kind="http", interval=0.1, fall=100))
    await agent.store.commit([], [Put(KEY, encode(patient))])
    asked = agent.health.asked
    await until(lambda: agent.health.asked > asked + 3)
    assert (await conditions(agent))[id].ready


async def test_after_a_restart_what_was_known_holds(host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file) as agent:
        await create(agent)
        await agent.store.commit(
            [], [Put(KEY, encode(msgspec.structs.replace(WEB, health=Health(kind="tcp", interval=0.1, fall=100))))]
        )
        (one, a1), (two, _) = await member(agent, host, "c1"), await member(agent, host, "c2")
        host.says[a1] = ""
        await until(lambda: agent.health.asked > 2)
        await until_said(agent, {one: (True, "")})
        before = await conditions(agent)
    host.says.clear()
    async with agent_on(host, store_file) as agent:
        # Of what is gone meanwhile, nothing says anything any more.
        stale = Put(CONDITION.key("red", "old", "abc"), encode(before[one]))
        others = Put(CONDITION.key("red", "old", "def"), encode(msgspec.structs.replace(before[one], node="node-2")))
        await agent.store.commit([], [stale, others])
    async with agent_on(host, store_file) as agent:
        await until(lambda: agent.health.asked > 2)
        await until_said(agent, {one: (True, ""), "def": (True, "")})
        assert (await conditions(agent))[one] == before[one]
        assert two not in await conditions(agent)


async def test_a_check_that_fails_by_a_defect_costs_only_itself(agent: Agent, host: FakeHost) -> None:
    ask, first = agent.health._ask, list[Check]()

    async def broken(check: Check) -> str:
        first.append(check)
        if check.of == first[0].of:
            raise ZeroDivisionError("by a mistake")
        return await ask(check)

    agent.health._ask = broken
    await member(agent, host, "c1")
    await until(lambda: bool(first))
    two, a2 = await member(agent, host, "c2")
    host.says[a2] = ""
    await until_said(agent, {two: (True, "")})

    def told() -> bool:
        return any("health check of" in text and "by a mistake" in text for text in agent.supervisor.problems())

    await until(told)


async def test_what_is_reported_is_left_alone_and_goes_with_the_member(agent: Agent, host: FakeHost) -> None:
    id, _ = await member(agent, host)
    reported = msgspec.structs.replace(WEB, health=Health(kind="api"))
    await agent.store.commit([], [Put(KEY, encode(reported))])
    await until_said(agent, {})
    told = Condition(node="node-1", ready=True, since=1.0)
    await agent.store.commit([], [Put(CONDITION.key("blue", "web", id), encode(told))])
    agent.health.look_again()
    await until_said(agent, {id: (True, "")})
    await Calls(agent).detach("c1")
    await until_said(agent, {})


async def test_of_a_node_that_is_removed_nothing_is_said(agent: Agent, host: FakeHost, store_file: Path) -> None:
    id, address = await member(agent, host)
    host.says[address] = ""
    away = FakeHost("192.168.1.69/24")
    async with agent_on(away, store_file, "node-2") as other:
        theirs, address = await member(other, away, "c2")
        away.says[address] = ""
        await until_said(agent, {id: (True, ""), theirs: (True, "")})
    await Calls(agent).remove_node("node-2", force="yes")
    await until_said(agent, {id: (True, "")})
