"""Labels, namespace and names of ports: given when attached, changed while it runs, by any agent, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.base.errors import Failed, Invalid, NotFound
from weft.model import Location, NamedPort, decode, keys
from weft.store.protocol import Guard, Op, Put

HTTP, DNS = NamedPort("http", "tcp", 8080), NamedPort("dns", "udp", 53)


@pytest.fixture
async def other(agent: Agent, host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    """node-2. On node-1 there are containers `web` and `db` to attach."""
    await create(agent)
    host.open("web")
    host.open("db")
    async with agent_on(FakeHost("192.168.1.254/24"), store_file, "node-2") as running:
        await until(lambda: "node-1" in running.view.present and "blue" in running.view.networks)
        yield running


async def known(agent: Agent, endpoint: t.EndpointInfo) -> Location:
    """What other hosts know of it."""
    item = await agent.store.get(keys.location(endpoint.network, endpoint.id))
    assert item is not None
    return decode(Location, item.value)


async def test_given_when_attached_and_known_everywhere(agent: Agent, other: Agent) -> None:
    web = await attach(agent, "web", labels={"tier": "front"}, policy_namespace="shop", named_ports=(HTTP,))
    assert (web.labels, web.policy_namespace, web.named_ports) == ({"tier": "front"}, "shop", (HTTP,))
    found = await known(other, web)
    assert (found.name, found.labels, found.namespace, found.ports) == ("web", {"tier": "front"}, "shop", (HTTP,))
    assert (await attach(agent, "web")).id == web.id
    assert (await attach(agent, "web", labels={"tier": "front"}, policy_namespace="shop", named_ports=(HTTP,))) == web


async def test_attaching_again_adds_and_takes_nothing_away(agent: Agent, other: Agent) -> None:
    first = await attach(agent, "web", labels={"tier": "front", "a": "b"}, named_ports=(HTTP,), aliases=("www",))
    asked = {"labels": {"tier": "back"}, "policy_namespace": "shop", "named_ports": (DNS,), "aliases": ("shop",)}
    again = await attach(agent, "web", **asked)
    assert again == msgspec.structs.replace(
        first,
        labels={"tier": "back", "a": "b"},
        policy_namespace="shop",
        named_ports=(HTTP, DNS),
        aliases=("www", "shop"),
    )
    found = await known(other, first)
    assert (found.labels, found.namespace, found.aliases) == ({"tier": "back", "a": "b"}, "shop", ("www", "shop"))
    before = (await agent.store.list("")).items
    assert await attach(agent, "web", **asked) == again
    assert (await agent.store.list("")).items == before, "what is there already is not written again"


async def test_changed_by_any_agent(agent: Agent, other: Agent) -> None:
    web = await attach(agent, "web", labels={"tier": "front", "old": ""}, named_ports=(HTTP,))
    asked = t.Label(labels={"tier": "back", "new": "1"}, remove=("old",), policy_namespace="shop")
    changed = await Service(agent).label("web", asked)
    assert (changed.labels, changed.policy_namespace, changed.named_ports) == (
        {"tier": "back", "new": "1"},
        "shop",
        (HTTP,),
    )
    assert (await known(agent, web)).labels == {"tier": "back", "new": "1"}
    ports = (NamedPort("http", "tcp", 80), NamedPort("http", "udp", 443), DNS)
    await Service(other).label("web", t.Label(named_ports=ports))
    await until(lambda: agent.view.endpoints[web.id].named_ports == ports)
    assert (await known(agent, web)).ports == ports
    await Service(other).label("web", t.Label(remove_ports=("http",), remove=("new", "tier")))
    await until(lambda: not agent.view.endpoints[web.id].labels)
    found = await known(agent, web)
    assert (found.labels, found.ports, found.namespace) == ({}, (DNS,), "shop")
    assert (await Service(agent).check_ipam(t.CheckIpam())).faults == ()
    await Service(agent).detach("web")
    assert (await agent.store.list(keys.LOCATIONS)).items == ()


async def test_what_cannot_be_changes_nothing(agent: Agent, other: Agent) -> None:
    await attach(agent, "web", labels={"tier": "front"}, named_ports=(HTTP,))
    before = (await agent.store.list("")).items
    for request, error, why in (
        (t.Label(remove=("old",)), NotFound, "has no label old: it has tier"),
        (t.Label(remove_ports=("dns",)), NotFound, "has no port called dns: it has http"),
        (t.Label(labels={str(n): "" for n in range(300)}), Invalid, "301 labels are too many"),
        (t.Label(labels={"tier": "front"}, named_ports=(HTTP,)), None, ""),
    ):
        if error is None:
            await Service(agent).label("web", request)
        else:
            with pytest.raises(error, match=why):
                await Service(agent).label("web", request)
    assert [(i.key, i.revision) for i in (await agent.store.list("")).items] == [(i.key, i.revision) for i in before]


async def test_changes_at_the_same_time_are_both_there_in_the_end(agent: Agent, other: Agent) -> None:
    web = await attach(agent, "web")
    services = (Service(agent), Service(other))
    await asyncio.gather(*(services[n % 2].label(web.id, t.Label(labels={f"l{n}": ""})) for n in range(10)))
    await until(lambda: len(agent.view.endpoints[web.id].labels) == 10)
    assert (await known(agent, web)).labels == agent.view.endpoints[web.id].labels


async def test_one_transaction(agent: Agent, other: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    web = await attach(agent, "web")
    commits: list[Sequence[Op]] = []
    commit = agent.store.commit

    async def noted(guards: Sequence[Guard], ops: Sequence[Op]) -> int | None:
        commits.append(ops)
        return await commit(guards, ops)

    monkeypatch.setattr(agent.store, "commit", noted)
    await Service(agent).label("web", t.Label(labels={"a": "b"}))
    assert [[op.key for op in ops if isinstance(op, Put)] for ops in commits] == [
        [keys.endpoint("node-1", "blue", web.id), keys.location("blue", web.id)]
    ]


async def test_taken_back_where_it_does_not_stand(agent: Agent, other: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    web = await attach(agent, "web", labels={"a": "b"})
    before = msgspec.structs.replace(agent.view.endpoints[web.id])

    async def fails(_: object) -> None:
        raise Failed("the kernel does not take it")

    monkeypatch.setattr(agent.attachments, "standing", fails)
    with pytest.raises(Failed):
        await Service(agent).label("web", t.Label(labels={"a": "c"}, policy_namespace="shop"))
    assert agent.view.endpoints[web.id] == before and (await known(agent, web)).labels == {"a": "b"}


async def test_found_by_labels_and_namespace(agent: Agent, other: Agent) -> None:
    await attach(agent, "web", labels={"tier": "front"}, policy_namespace="shop")
    await attach(agent, "db", labels={"tier": "back", "files": "/a,/b"})

    async def names(**which: str) -> list[str]:
        mine, theirs = [[e.name for e in await Service(a).endpoints(**which)] for a in (agent, other)]
        assert mine == theirs
        return mine

    assert await names(selector="tier == 'front'") == ["web"]
    assert await names(selector="has(tier)") == ["db", "web"]
    assert await names(selector="has(files)") == []
    assert await names(policy_namespace="default") == ["db"]
    assert await names(policy_namespace="shop", selector="tier == 'back'") == []
    with pytest.raises(Invalid, match="selector"):
        await names(selector="tier = 'front'")
