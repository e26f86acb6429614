"""A real etcd that is frozen, or killed: what is asked for is answered at once, out of what the agent knows, and says so."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from support.agents import FakeHost, agent_on, attach, create, make_agent, running, until
from support.etcd import EtcdServer
from support.stores import EtcdBackend
from weft.agent.agent import Agent
from weft.agent.http import application
from weft.agent.resources import infos
from weft.agent.resources.service import Service
from weft.api import services as s
from weft.api.operations import AS_OF
from weft.base.errors import Unavailable
from weft.services.model import ServicePort

LISTS = (
    "/v1/networks",
    "/v1/networks/blue",
    "/v1/networks/prod/pools",
    "/v1/endpoints",
    "/v1/endpoints/c1-over",
    "/v1/nodes",
    "/v1/nodes/node-2",
    "/v1/services",
    "/v1/services/front",
    "/v1/policies",
)
QUICK = 1.0
"""Seconds for an answer."""


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def hosts(etcd: EtcdServer, host: FakeHost, store_file: Path, request: Any) -> AsyncIterator[list[Agent]]:
    """node-1 and node-2, each with a container in `over` (one subnet) and `prod` (blocks); in `blue` (own subnets) has
    node-2 one alone, so node-1 follows nothing there."""
    backend = EtcdBackend(etcd, f"away-{request.node.name}")
    there = FakeHost("192.168.1.254/24")
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(agent_on(host, store_file, "node-1", store=backend.open()))
        two = await stack.enter_async_context(agent_on(there, store_file, "node-2", store=backend.open()))
        await create(one, "blue")
        await create(one, "over", "10.2.0.0/16", driver="overlay")
        await create(one, "prod", "10.9.0.0/24", driver="routed")
        for whose, at, name in ((one, host, "c1"), (two, there, "c2")):
            await until(lambda whose=whose: {"blue", "over", "prod"} <= whose.view.networks.keys())
            at.open(name)
            for network in ("over", "prod") if whose is one else ("over", "prod", "blue"):
                await attach(whose, name, network, name=f"{name}-{network}")
        front = s.CreateService(
            network="over", name="front", ports=(ServicePort(port=80, target=8080),), members=("c1-over",)
        )
        await Service(one).create_service(front)
        await until(lambda: len(one.view.locations.get("over", {})) == 2)
        yield [one, two]


@contextlib.asynccontextmanager
async def api_of(agent: Agent) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(application(Service(agent), agent.metrics.scrape))) as client:
        yield client


async def asked(api: TestClient[Any, Any], path: str) -> tuple[Any, str]:
    """The answer and its mark; it has to come at once."""
    began = time.monotonic()
    answer = await api.get(path)
    took = time.monotonic() - began
    assert answer.status == 200, (path, await answer.text())
    assert took < QUICK, f"{path} took {took:.1f} s"
    return await answer.json(), answer.headers.get(AS_OF, "")


async def test_lists_while_the_store_is_silent_and_dead(hosts: list[Agent], etcd: EtcdServer) -> None:
    one, _ = hosts
    async with api_of(one) as api:
        before = {path: await asked(api, path) for path in LISTS}
        assert [mark for _, mark in before.values() if mark] == [], "nothing is marked while the store answers"
        etcd.freeze()
        try:
            endpoints, mark = await asked(api, "/v1/endpoints")  # at once: nobody has noticed yet
            assert "the store does not answer" in mark
            await _away(api, endpoints, mark)
            await until(lambda: one.cluster.away, 30)
            for path in LISTS:
                found, mark = await asked(api, path)
                assert " the store is away: " in mark and mark[10] == "T", (path, mark)
                assert type(found) is type(before[path][0])
            await _away(api, *await asked(api, "/v1/endpoints"))
            _, mark = await asked(api, "/v1/endpoints?node=node-1")
            assert "not known" not in mark, "of its own containers a host knows all"
            _, mark = await asked(api, "/v1/endpoints?network=over")
            assert "not known" not in mark, "nor of a network whose locations it follows"
        finally:
            etcd.thaw()
        await until(lambda: not one.cluster.away, 30)
        assert await asked(api, "/v1/endpoints") == before["/v1/endpoints"]
        etcd.stop()
        await until(lambda: one.cluster.away, 30)
        try:
            for path in LISTS:
                _, mark = await asked(api, path)
                assert " the store is away: " in mark, path
        finally:
            etcd.start()


async def _away(api: TestClient[Any, Any], endpoints: list[dict[str, Any]], mark: str) -> None:
    """What of node-1 is to be seen."""
    assert {e["name"] for e in endpoints} == {"c1-over", "c1-prod", "c2-over", "c2-prod"}
    [theirs] = [e for e in endpoints if e["name"] == "c2-over"]
    assert theirs["node"] == "node-2" and theirs["addresses"][0].endswith("/16")
    [theirs] = [e for e in endpoints if e["name"] == "c2-prod"]
    assert theirs["addresses"][0].endswith("/32")
    assert "what other nodes have in blue is not known here" in mark
    networks, mark = await asked(api, "/v1/networks")
    assert {n["name"]: n["endpoints"] for n in networks} == {"blue": 0, "over": 2, "prod": 2} and "not known" in mark


@pytest.mark.parametrize("driver", ["vxlan", "mesh", "overlay", "routed"])
async def test_addresses_of_other_hosts_containers_are_as_long_as_their_records_say(
    agent: Agent, host: FakeHost, store_file: Path, driver: str
) -> None:
    second = FakeHost("192.168.1.254/24")
    async with agent_on(second, store_file, "node-2") as other:
        await create(agent, "blue", "10.20.0.0/16", driver=driver)
        await until(lambda: "blue" in other.view.networks)
        host.open("c1")
        await attach(agent, "c1", "blue")
        second.open("c2")
        there = await attach(other, "c2", "blue")
        await until(lambda: any(e.addresses == there.addresses for e in infos.located(agent)))


async def test_an_agent_that_has_never_heard_of_the_store_says_that(host: FakeHost, store_file: Path) -> None:
    agent = make_agent(host, store_file)
    agent.store.lose("etcd: no leader")  # type: ignore[attr-defined] # a Tap
    async with running(agent):
        await until(lambda: agent.store_status.state == "lost")
        for ask in (Service(agent).networks(), Service(agent).endpoints(), Service(agent).nodes()):
            with pytest.raises(
                Unavailable, match="the agent has not heard from the store since its start: etcd: no leader"
            ):
                await ask
