"""In a network no two endpoints have one name, whichever agents attach them, and however at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Conflict
from weft.cluster.footprint import key_of
from weft.endpoints.claimed import ClaimedNames
from weft.model import Location, decode, encode, keys
from weft.store.protocol import Delete, Put


@pytest.fixture
def elsewhere() -> FakeHost:
    return FakeHost("192.168.1.254/24")


@pytest.fixture(params=["vxlan", "overlay"])
async def other(
    agent: Agent, host: FakeHost, elsewhere: FakeHost, store_file: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Agent]:
    """node-2. Here and there are containers c1, c2 and c3, and networks `blue` and `red`."""
    await create(agent, driver=request.param)
    await create(agent, "red", "10.2.0.0/16", driver=request.param)
    for name in ("c1", "c2", "c3"):
        host.open(name)
        elsewhere.open(name)
    async with agent_on(elsewhere, store_file, "node-2") as running:
        await until(lambda: "node-1" in running.view.present and "red" in running.view.networks)
        yield running


async def claimed(agent: Agent) -> dict[str, str]:
    items = (await agent.store.list(keys.NAME_CLAIMS)).items
    return {item.key.removeprefix(keys.NAME_CLAIMS): item.value.decode() for item in items}


async def faults(agent: Agent, *, fix: bool = False) -> list[tuple[str, str, bool]]:
    found = await Service(agent).check_ipam(t.CheckIpam(fix=fix))
    return [(f.kind, f.subject, f.fixed) for f in found.faults]


async def test_a_name_that_is_asked_for_is_had_once(agent: Agent, other: Agent) -> None:
    await attach(agent, "c1", name="web")
    for whose, target in ((agent, "c2"), (other, "c1")):
        with pytest.raises(Conflict) as caught:
            await attach(whose, target, name="web")
        assert str(caught.value) == ("name web is taken in network blue by web on node-1: choose another with --name")
    assert (await attach(other, "c1", "red", name="web")).name == "web", "another network, other names"
    assert await claimed(agent) == {"blue/web": "web on node-1", "red/web": "web on node-2"}
    await Service(agent).detach("c1")
    assert (await attach(other, "c1", name="web")).name == "web"
    assert await faults(agent) == []


async def test_at_the_same_time_too(agent: Agent, other: Agent) -> None:
    tried = [attach(whose, target, name="web") for whose in (agent, other) for target in ("c1", "c2", "c3")]
    done = await asyncio.gather(*tried, return_exceptions=True)
    assert [type(each) for each in done].count(Conflict) == 5, done
    assert len([each for each in done if isinstance(each, t.EndpointInfo)]) == 1
    assert await faults(agent) == []


async def test_a_name_that_nobody_asked_for_is_made_distinct(agent: Agent, other: Agent) -> None:
    assert (await attach(agent, "c1")).name == "c1"
    made = await attach(other, "c1")
    assert (made.name, made.aliases) == ("c1-node-2", ("c1",)), "by its alias it is found as before"
    again = await attach(other, "c1")
    assert again == made
    of_engine = await attach(other, "c2", name="c1", owner="cni/net/id/eth0")
    assert (of_engine.name, of_engine.aliases) == (f"c1-{of_engine.id[:8]}", ("c1",))
    assert (await attach(other, "c2", name="c1", owner="cni/net/id/eth0")) == of_engine
    item = await other.store.get(keys.location("blue", made.id))
    assert item is not None and decode(Location, item.value).name == "c1-node-2"
    assert await faults(agent) == []


async def test_the_longest_name_is_made_distinct_too(agent: Agent, other: Agent) -> None:
    name = "a" * 63
    await attach(agent, "c1", name=name)
    made = await attach(other, "c1", name=name, owner="cni/net/id/eth0")
    assert made.name == "a" * 56 + "-node-2" and made.aliases == (name,)


async def test_a_claim_that_an_agent_of_before_left_behind_holds_nobody_up(agent: Agent, other: Agent) -> None:
    web = await attach(agent, "c1", name="web")
    record = keys.endpoint("node-1", "blue", web.id)
    await agent.store.commit([], [Delete(record), Delete(keys.location("blue", web.id))])
    await until(lambda: not agent.view.endpoints)
    assert ("name-claim-without-endpoint", "web", False) in await faults(agent)
    assert (await attach(other, "c2", name="web")).name == "web"
    assert (await claimed(agent))["blue/web"] == "web on node-2"


async def test_endpoints_of_before_get_their_claims(agent: Agent, other: Agent) -> None:
    await attach(agent, "c1", name="web")
    await attach(agent, "c2", name="db")
    first, second = sorted(agent.view.endpoints.values(), key=lambda e: e.container)
    old = [msgspec.structs.replace(e, name_claimed=False) for e in (first, second)]
    theirs = keys.name_claim("blue", "db")
    await agent.store.commit(
        [],
        [
            *(Put(key_of(e), encode(e), agent.cluster.tenure_lease) for e in old),
            Delete(keys.name_claim("blue", "web")),
            Put(theirs, b"db on node-2"),
        ],
    )
    await until(lambda: not any(e.name_claimed for e in agent.view.endpoints.values()))
    await ClaimedNames(agent.cluster).complete()
    assert await claimed(agent) == {"blue/web": "web on node-1", "blue/db": "db on node-2"}
    await Service(agent).detach("c2")
    assert (await claimed(agent))["blue/db"] == "db on node-2", "who has no claim takes none away"
    await Service(agent).detach("c1")
    assert await claimed(agent) == {"blue/db": "db on node-2"}


async def test_the_audit_finds_what_does_not_agree(agent: Agent, other: Agent) -> None:
    await attach(agent, "c1", name="web")
    await attach(other, "c1", name="db")
    await agent.store.commit([], [Delete(keys.name_claim("blue", "web"))])
    assert ("endpoint-without-name-claim", "web", False) in await faults(agent)
    assert ("endpoint-without-name-claim", "web", True) in await faults(agent, fix=True)
    assert await faults(agent) == []
    [there] = other.view.endpoints.values()
    twin = msgspec.structs.replace(there, name="web", name_claimed=False)
    await other.store.commit([], [Put(key_of(twin), encode(twin), other.cluster.tenure_lease)])
    assert ("name-duplicate", "web", False) in await faults(agent, fix=True)


async def test_what_moves_keeps_its_claim(agent: Agent, elsewhere: FakeHost, store_file: Path, host: FakeHost) -> None:
    await create(agent, "blue", "10.9.0.0/24", driver="routed", cooldown=0)
    host.open("c1")
    elsewhere.open("c2")
    async with agent_on(elsewhere, store_file, "node-2") as other:
        await until(lambda: "node-1" in other.view.present and "blue" in other.view.networks)
        await attach(agent, "c1", name="web")
        moved = await Service(other).move("web", t.Move(target="c2"))
        assert moved.node == "node-2"
        assert await claimed(agent) == {"blue/web": "web on node-2"}
        host.open("c3")
        with pytest.raises(Conflict, match="name web is taken in network blue by web on node-2"):
            await attach(agent, "c3", name="web")
        assert await faults(agent) == []


async def test_a_network_goes_with_its_names(agent: Agent, other: Agent) -> None:
    await attach(agent, "c1", name="web")
    await Service(agent).remove_network("blue", force="true")
    assert await claimed(agent) == {}
