"""Who watches members tells whether they take connections, and only of services that are told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service as Operations
from weft.api import services as s
from weft.base.errors import Invalid, NotFound
from weft.cluster.services import services
from weft.model import decode
from weft.model.records import LOCATIONS
from weft.services.model import Condition, Health, parse_port
from weft.services.record import CONDITION, CONDITIONS, SERVICE, At


async def service_of(agent: Agent, kind: str = "api") -> Operations:
    await create(agent)
    made = s.CreateService(
        name="web",
        network="blue",
        select="app=web",
        ports=(parse_port("80"),),
        health=Health(kind=kind),  # type: ignore[arg-type]
    )
    await Operations(agent).create_service(made)
    return Operations(agent)


def told(member: str = "c1", *, ready: bool = True, reason: str = "") -> s.ReportHealth:
    return s.ReportHealth(member=member, ready=ready, reason=reason)


async def test_any_node_can_be_told_and_all_know(agent: Agent, host: FakeHost, store_file: Path) -> None:
    service = await service_of(agent)
    one = await attach(agent, host.open("c1"), labels={"app": "web"})
    told_of = [(m.state, m.reason) for m in (await service.service("web")).members]
    assert told_of == [("unready", "nobody has reported it yet")]
    async with agent_on(FakeHost("192.168.1.69/24"), store_file, "node-2") as other:
        await until(lambda: other.view.revision(SERVICE.key("blue", "web")))
        info = await Operations(other).report_health("web", told())
        assert [(m.state, m.reason) for m in info.members] == [("ready", "")]
        async with agent.follower.held(LOCATIONS, "blue"), agent.follower.held(CONDITIONS, "blue"):
            await until(lambda: [m.takes for m in services(agent.view).members(At("blue", "web"))] == [True])
        info = await Operations(other).report_health("blue/web", told(one.id, ready=False, reason="busy"))
        assert [(m.state, m.reason) for m in info.members] == [("unready", "busy")]
    item = await agent.known.get(CONDITION.key("blue", "web", one.id))
    assert item is not None and decode(Condition, item.value).node == "node-1", "where the member is"
    await service.detach("c1")
    await until(lambda: agent.health.running == 0)


async def test_what_cannot_be_told_is_refused(agent: Agent, host: FakeHost) -> None:
    service = await service_of(agent, "tcp")
    await attach(agent, host.open("c1"), labels={"app": "web"})
    with pytest.raises(
        Invalid, match="its health check is tcp; to change that, `weft service set blue/web --health api`"
    ):
        await service.report_health("web", told())
    await service.set_service("web", s.SetService(health=Health(kind="api")))
    with pytest.raises(NotFound, match="service web has no member c2: c1"):
        await service.report_health("web", told("c2"))
    with pytest.raises(NotFound, match="no service db"):
        await service.report_health("db", told())
    for reason in ("two\nlines", "x" * 201):
        with pytest.raises(Invalid, match="the reason is one line"):
            told(ready=False, reason=reason)
    with pytest.raises(Invalid, match="a reason says why it is not ready"):
        told(reason="well")
