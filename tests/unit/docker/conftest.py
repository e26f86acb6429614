from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from support.agents import FakeHost, agent_on
from weft.agent.agent import Agent
from weft.agent.http import application as agent_application
from weft.agent.resources.service import Service
from weft.client import Client
from weft.docker.driver import Driver
from weft.docker.ipam import Ipam
from weft.docker.operations import operations
from weft.docker.server import application
from weft.docker.state import PluginState


@pytest.fixture(autouse=True)
def _no_ports_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens on the host in memory, whatever this machine's programs do."""
    monkeypatch.setattr("weft.kernel.host.listeners.check_free", lambda _port, _families, _container="": None)


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    """On a host in memory."""
    async with agent_on(FakeHost(), tmp_path / "weft.db") as running:
        yield running


@pytest.fixture
async def client(agent: Agent, tmp_path: Path) -> AsyncIterator[Client]:
    """Of that agent, by a socket. Blocking: not to be used in the test's own thread."""
    runner = web.AppRunner(agent_application(Service(agent), agent.metrics.scrape))
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "weft.sock")).start()
    yield Client(str(tmp_path / "weft.sock"), timeout=10)
    await runner.cleanup()


@pytest.fixture
def state(tmp_path: Path) -> PluginState:
    return PluginState(tmp_path / "docker.json")


@pytest.fixture
def driver(client: Client, state: PluginState) -> Driver:
    return Driver(client, state)


@pytest.fixture
async def plugin(client: Client, state: PluginState, driver: Driver) -> AsyncIterator[TestClient[Any, Any]]:
    app = application(operations(driver, Ipam(client, state, driver)), patience=0)
    async with TestClient(TestServer(app)) as plugin:
        yield plugin
