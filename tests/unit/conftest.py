from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.agents import FakeHost, agent_on
from weft.agent.agent import Agent
from weft.agent.resources.service import Service


@pytest.fixture
def store_file(tmp_path: Path) -> Path:
    return tmp_path / "weft.db"


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
async def agent(host: FakeHost, store_file: Path) -> AsyncIterator[Agent]:
    """Running on `host`."""
    async with agent_on(host, store_file) as running:
        yield running


@pytest.fixture
def service(agent: Agent) -> Service:
    return Service(agent)
