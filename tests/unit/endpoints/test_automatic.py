"""Services that containers' labels ask for come with the first such container and go with the last."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources import infos
from weft.agent.resources.service import Service
from weft.api import services as s
from weft.api import types as t
from weft.base.errors import Conflict
from weft.model import PublishedPort
from weft.services.labels import ALIAS, LABEL, PORT, PUBLISH
from weft.services.record import SERVICES, At

WEB = At("blue", "web")
LABELS = {LABEL: "web", PORT: "80:8080, dns=53/udp", PUBLISH: "28000:80", ALIAS: "www"}


def there(agent: Agent, at: At = WEB) -> bool:
    return agent.view.table(SERVICES).get(at) is not None


async def test_one_comes_with_the_first_container_and_goes_with_the_last(
    agent: Agent, host: FakeHost, store_file: Path
) -> None:
    await create(agent, "blue")
    far = FakeHost("192.168.1.254/24")
    async with agent_on(far, store_file, "node-2") as other:
        await until(lambda: "blue" in other.view.networks)
        host.open("c1")
        far.open("c2")
        await asyncio.gather(
            attach(agent, "c1", "blue", labels=LABELS), attach(other, "c2", "blue", labels={LABEL: "web", PORT: "81"})
        )
        await until(lambda: there(agent) and there(other))
        made = agent.view.table(SERVICES).get(WEB)
        assert made is not None and made.automatic and made.select == "weft.service=web" and len(made.addresses) == 1
        with pytest.raises(Conflict, match="service web is made by labels of c1, c2: it goes with the last of them"):
            await until(lambda: len(agent.view.locations["blue"]) == 2)
            await Service(agent).remove_service("web")
        await Service(agent).detach("c1")
        await asyncio.sleep(0.05)
        assert there(agent), "the other host has one"
        await Service(other).detach("c2")
        await until(lambda: not there(agent) and not there(other))


async def test_what_the_labels_say(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue")
    host.open("c1")
    await attach(agent, "c1", "blue", labels=LABELS)
    await until(lambda: there(agent))
    info = await Service(agent).service("web")
    assert [m.name for m in info.members] == ["c1"]
    assert [str(port) for port in info.service.ports] == ["80:8080/tcp", "dns=53/udp"]
    assert info.service.published == (PublishedPort(host_port=28000, container_port=80),)
    assert info.service.aliases == ("www",)
    await Service(agent).label("c1", t.Label(labels={LABEL: "names"}, remove=(PORT, PUBLISH, ALIAS)))
    await until(lambda: there(agent, At("blue", "names")) and not there(agent))
    assert (await Service(agent).service("names")).service.mode == "names"


async def test_what_cannot_be_is_told_and_the_container_is_attached(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue")
    service = Service(agent)
    await service.create_service(
        s.CreateService(name="db", network="blue", members=("x",), publish=("28000",), ports=(s.ServicePort(port=80),))
    )
    host.open("c1")
    await attach(agent, "c1", "blue", labels=LABELS)
    await until(lambda: [*agent.automatic.problems()])
    [told] = [p for p in infos.problems(agent) if p.network == "blue"]
    assert told.text.startswith(
        "service web: containers' labels ask for it, but: port 28000/tcp leads to service blue/db"
    )
    await service.remove_service("db")
    await until(lambda: there(agent))
    assert [*agent.automatic.problems()] == []
    host.open("c2")
    await attach(agent, "c2", "blue", labels={LABEL: "No Name"})
    await until(lambda: [*agent.automatic.problems()])
    assert "'No Name' is not a service name" in next(agent.automatic.problems())[1]
    await service.detach("c2")
    host.open("c3")
    await attach(agent, "c3", "blue", labels={LABEL: ""})
    await until(lambda: [text for at, text in agent.automatic.problems() if not at.name])
    assert "but: weft.service says no name: write it like weft.service=web" in next(agent.automatic.problems())[1]


async def test_an_agent_that_starts_makes_what_is_missing_and_removes_what_is_left(
    host: FakeHost, store_file: Path
) -> None:
    async with agent_on(host, store_file) as first:
        await create(first, "blue")
        for name in ("c1", "c2"):
            host.open(name)
        await attach(first, "c1", "blue", labels={LABEL: "web", PORT: "80"})
        await attach(first, "c2", "blue", labels={LABEL: "db", PORT: "80"})
        await until(lambda: there(first) and there(first, At("blue", "db")))
    host.vanish("/run/netns/c2")
    async with agent_on(host, store_file) as second:
        await until(lambda: not there(second, At("blue", "db")))
        assert there(second)


async def test_a_service_that_a_user_made_stays_a_users(agent: Agent, host: FakeHost) -> None:
    await create(agent, "blue")
    service = Service(agent)
    await service.create_service(
        s.CreateService(name="web", network="blue", members=("x",), ports=(s.ServicePort(port=80),))
    )
    host.open("c1")
    await attach(agent, "c1", "blue", labels=LABELS)
    await until(lambda: [*agent.automatic.problems()])
    assert "but: it was made without labels and has other members than c1: give" in next(agent.automatic.problems())[1]
    await service.set_service("web", s.SetService(members=("c1",)))
    await until(lambda: not [*agent.automatic.problems()])
    await service.detach("c1")
    await asyncio.sleep(0.05)
    assert there(agent) and [*agent.automatic.problems()] == []
