"""What Docker's containers are called, by what Docker says of them: a server that speaks its API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from support.agents import create, until
from weft.agent.agent import Agent
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.client import Client
from weft.docker import names
from weft.docker.engine import Engine
from weft.docker.names import Names, called
from weft.docker.state import PluginState
from weft.model import Network

ID = "0123456789ab" + "c" * 52


def container(name: str = "/Web", *aliases: str, endpoint: str = "e1") -> dict[str, Any]:
    there = {"NetworkID": "n1", "EndpointID": endpoint, "Aliases": list(aliases) or None}
    return {"Id": ID, "Name": name, "NetworkSettings": {"Networks": {"blue": there}}}


class Docker:
    """`says`: of the one container that it has."""

    def __init__(self) -> None:
        self.says = container()
        self.asked: list[str] = []
        self.listeners: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = unquote((await reader.readline()).split()[1].decode())
        while (await reader.readline()).strip():
            pass
        self.asked.append(target)
        if target.startswith("/events"):
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
            self.listeners.append(writer)
            return
        found: object = self.says if target.startswith("/containers/") else {"Containers": {ID: {}}}
        body = json.dumps(found).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    def tell(self, event: dict[str, Any]) -> None:
        for writer in self.listeners:
            writer.write(json.dumps(event).encode() + b"\n")

    def end(self) -> None:
        for writer in self.listeners:
            writer.close()
        self.listeners.clear()


@pytest.fixture
async def docker(tmp_path: Path) -> AsyncIterator[Docker]:
    found = Docker()
    server = await asyncio.start_unix_server(found.serve, tmp_path / "docker.sock")
    yield found
    found.end()
    server.close()


@pytest.fixture
async def held(agent: Agent, state: PluginState) -> str:
    """Endpoint e1 of Docker's network n1; its id."""
    made = await create(agent, "blue", "10.1.0.0/16")
    state.put("n1", Network(name="blue", driver="vxlan", subnets=(ip_network("10.1.0.0/16"),)))
    address = made.leases[0].subnets[0][9]
    wish = t.Attach(target="", network="blue", name="x", addresses=(address,), owner="docker/n1/e1", handover=True)
    return (await Service(agent).attach(wish)).id


@pytest.fixture
async def running(docker: Docker, held: str, client: Client, state: PluginState, tmp_path: Path) -> AsyncIterator[None]:
    task = asyncio.create_task(Names(client, state, Engine(str(tmp_path / "docker.sock"))).run())
    yield
    task.cancel()
    await asyncio.wait({task})


def aliases(agent: Agent, held: str) -> tuple[str, ...]:
    return agent.view.endpoints[held].aliases


def test_all_names_of_a_container() -> None:
    there = {"Aliases": ["front", "0123456789ab", "no name"], "DNSNames": ["web", "front", "host-1"]}
    assert called(container("/Web"), there) == ("web", "0123456789ab", "front", "host-1")
    assert called({}, {"Aliases": None}) == ()


@pytest.mark.usefixtures("running")
async def test_what_was_there_before(agent: Agent, held: str) -> None:
    await until(lambda: aliases(agent, held) == ("web", "0123456789ab"))


@pytest.mark.usefixtures("running")
async def test_what_comes_and_is_renamed(
    agent: Agent, held: str, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until(lambda: aliases(agent, held))
    docker.says = container("/web", "front")
    docker.tell({"Type": "network", "Action": "connect", "Actor": {"ID": "n1", "Attributes": {"container": ID}}})
    await until(lambda: set(aliases(agent, held)) == {"web", "0123456789ab", "front"})
    docker.says = container("/shop")
    docker.tell({"Type": "container", "Action": "rename", "Actor": {"ID": ID, "Attributes": {}}})
    await until(lambda: set(aliases(agent, held)) == {"shop", "0123456789ab"})
    monkeypatch.setattr(names, "PAUSE", 0.01)
    docker.says = container("/later")
    docker.end()
    await until(lambda: set(aliases(agent, held)) == {"later", "0123456789ab"})


@pytest.mark.usefixtures("running")
async def test_another_network_s_container_is_left_alone(agent: Agent, held: str, docker: Docker) -> None:
    await until(lambda: aliases(agent, held))
    before = aliases(agent, held)
    docker.says = container("/other", endpoint="e2")
    docker.tell({"Type": "network", "Action": "connect", "Actor": {"ID": "n1", "Attributes": {"container": ID}}})
    await until(lambda: docker.asked[-1].startswith("/containers/"))
    docker.says = container("/web", "last")
    docker.tell({"Type": "network", "Action": "connect", "Actor": {"ID": "n1", "Attributes": {"container": ID}}})
    await until(lambda: "last" in aliases(agent, held))
    assert "other" not in before and "other" not in aliases(agent, held)
