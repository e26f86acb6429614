"""A host's part of a check: probes are made, answer, and are gone whatever becomes of who asked for them."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on, attach, create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import checks as c
from weft.api import types as t
from weft.base.errors import Conflict, Exhausted, Invalid, NotFound
from weft.model import Network

RUN, OTHER = "0badcafe", "0badf00d"


@pytest.fixture
async def networks(agent: Agent, host: FakeHost) -> t.EndpointInfo:
    """A network over all hosts, one that each host has alone, one without addresses, and a user's container."""
    await create(agent, "blue", driver="vxlan")
    await create(agent, "alone", "10.2.0.0/16", driver="bridge")
    await Service(agent).create_network(t.CreateNetwork(network=Network(name="bare", driver="none", subnets=())))
    host.open("web")
    return await attach(agent, "web")


async def place(service: Service, run: str = RUN, seconds: float = 60, networks: tuple[str, ...] = ()) -> c.Placed:
    found: c.Placed = await service.place_probes(c.PlaceProbes(run=run, seconds=seconds, networks=networks))
    return found


def names(agent: Agent) -> set[str]:
    return {e.name for e in agent.view.endpoints.values()}


async def test_one_probe_in_each_network_and_two_where_hosts_are_apart(
    agent: Agent, host: FakeHost, service: Service, networks: t.EndpointInfo
) -> None:
    placed = await place(service)
    assert sorted(probe.network for probe in placed.probes) == ["alone", "alone", "blue"]
    assert (placed.node, placed.local, placed.unplaced) == ("node-1", ("alone",), ())
    blue = next(probe for probe in placed.probes if probe.network == "blue")
    assert (blue.tcp, blue.udp, blue.mtu) == (40_001, 40_002, 1450)
    assert blue.name == f"check-{RUN}-node-1" and blue.reached == blue.addresses
    assert {e.owner for e in agent.view.endpoints.values()} == {"", f"check/{RUN}"}
    await service.remove_probes(RUN)
    assert names(agent) == {"web"} and host.probing.there == set()
    assert all(answers.closed for answers in host.probing.answers.values())
    assert (await service.remove_probes(RUN)).what == ()


async def test_where_there_are_no_addresses_is_one_line(
    agent: Agent, host: FakeHost, service: Service, networks: t.EndpointInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = await place(service, networks=("bare", "nosuch"))
    assert placed.probes == () and [each.reason for each in placed.unplaced] == [
        "driver none gives containers no addresses",
        "there is no such network",
    ]
    await service.remove_probes(RUN)

    async def full(*_: object) -> None:
        raise Exhausted("network blue: no free address on node-1")

    monkeypatch.setattr(agent.attachments, "attach", full)
    placed = await place(service, networks=("blue",))
    assert [each.reason for each in placed.unplaced] == ["network blue: no free address on node-1"]
    await service.remove_probes(RUN)
    assert host.probing.there == set()


async def test_tests_begin_in_the_probe_or_the_host(host: FakeHost, service: Service, networks: t.EndpointInfo) -> None:
    (probe,) = (await place(service, networks=("blue",))).probes
    test = c.Test(kind="udp", target=ip_address("10.1.0.9"), port=7)
    host.probing.fails = "no answer"
    ran = await service.run_tests(RUN, c.RunTests(probe=probe.id, tests=(test, test)))
    assert ran == c.Ran(node="node-1", results=(c.Tested(ms=1.0, error="no answer"),) * 2)
    await service.run_tests(RUN, c.RunTests(probe="", tests=(test,)))
    assert [where for where, _ in host.probing.asked] == [host.probing.path(f"{RUN}-0")] * 2 + [""]
    with pytest.raises(NotFound, match="has no probe elsewhere here"):
        await service.run_tests(RUN, c.RunTests(probe="elsewhere", tests=()))
    with pytest.raises(NotFound, match="removed after a while"):
        await service.run_tests(OTHER, c.RunTests(probe="", tests=()))
    with pytest.raises(Invalid):
        await service.run_tests("x", c.RunTests(probe="", tests=()))


async def test_probes_end_by_themselves_when_nobody_asks(
    agent: Agent, host: FakeHost, service: Service, networks: t.EndpointInfo
) -> None:
    agent.checks._runs.clear()
    await place(service, seconds=1, networks=("blue",))
    assert len(names(agent)) == 2
    await until(lambda: names(agent) == {"web"} and host.probing.there == set())


async def test_two_checks_at_once_know_their_own(
    agent: Agent, host: FakeHost, service: Service, networks: t.EndpointInfo
) -> None:
    await asyncio.gather(place(service, RUN, networks=("blue",)), place(service, OTHER, networks=("blue",)))
    with pytest.raises(Conflict, match="take another id"):
        await place(service, RUN)
    await service.remove_probes(RUN)
    assert names(agent) == {"web", f"check-{OTHER}-node-1"}
    await service.remove_probes(OTHER)
    assert names(agent) == {"web"} and host.probing.there == set()


async def test_too_many_checks_are_refused(service: Service, networks: t.EndpointInfo) -> None:
    for number in range(8):
        await place(service, f"0000000{number}", networks=("bare",))
    with pytest.raises(Conflict, match="8 checks run on this host already"):
        await place(service, RUN)


async def test_an_asker_that_goes_away_leaves_nothing(
    agent: Agent, host: FakeHost, service: Service, networks: t.EndpointInfo
) -> None:
    asking = asyncio.create_task(place(service))
    await until(lambda: host.probing.there)
    asking.cancel()
    await until(lambda: names(agent) == {"web"} and not agent.checks._runs)
    await place(service, OTHER, networks=("bare",))  # sweeps what was still being made
    await until(lambda: host.probing.there == set())


async def test_an_agent_that_starts_removes_what_the_one_before_left(host: FakeHost, store_file: Path) -> None:
    async with agent_on(host, store_file) as agent:
        await create(agent, "blue")
        host.open("web")
        await attach(agent, "web")
        await place(Service(agent))
        agent.checks._runs.clear()
    assert host.probing.there
    async with agent_on(host, store_file) as agent:
        await until(lambda: names(agent) == {"web"} and host.probing.there == set())
