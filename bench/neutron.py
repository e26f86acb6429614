"""What a container costs in a network of Neutron's, beside what Neutron itself takes: attaching, with the commit to the store
and the wait until the port is active, against one request for a bound port; detaching against one to delete it.

Neutron is a real server on SQLite without agents, where a port becomes active when it is bound (`./dev setup test` makes its
environment). The kernel is left out: the agent's own view, client and attachments are in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench.figures import Figure, Goal, Named, paired
from bench.simulated import SimulatedAgent, name_of, node
from weft.base.errors import Failed, Unsupported
from weft.base.net import parse_network
from weft.datapaths.neutron_options import NeutronOptions
from weft.ipam.neutron_networks import NET, Marks, NeutronNetworks
from weft.ipam.neutron_ports import Place
from weft.model import Network, encode, keys
from weft.openstack.cloud import Cloud
from weft.openstack.neutron import OWNER, Neutron
from weft.store.protocol import Put
from weft.store.url import StoreOptions, open_store

ROOT = Path(__file__).resolve().parents[1]
PYTHON, SERVE = ROOT / ".venv-neutron/bin/python", ROOT / "tests/support/neutron_serve.py"
CLUSTER = "bench"
START = 60.0
"""Seconds for the server."""
Progress = Callable[[str], None]


class Effort(msgspec.Struct, frozen=True):
    """How many containers come and go."""

    containers: int = 30


QUICK = Effort(containers=15)


class Times(msgspec.Struct, kw_only=True):
    """Milliseconds. `make`, `delete`: of one request."""

    attach: list[float] = []
    detach: list[float] = []
    make: list[float] = []
    delete: list[float] = []


def run(effort: Effort, progress: Progress) -> list[Figure]:
    progress("neutron: a server of Neutron's own code")
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as port:
        clouds = Path(folder) / "clouds.yaml"
        cloud = {"auth_type": "none", "network_endpoint_override": f"http://127.0.0.1:{port}"}
        clouds.write_text(json.dumps({"clouds": {CLUSTER: cloud}}))
        os.environ["OS_CLIENT_CONFIG_FILE"] = str(clouds)
        progress("neutron: attach and detach")
        times = asyncio.run(_measure(f"sqlite://{folder}/weft.db", port, effort))
    group, goal = "a port in Neutron, without the kernel's part", Goal("ratio", most=2.0)
    return [
        paired(Named(group, "attach p50", "ms", "POST /ports"), times.attach, times.make, goal),
        paired(Named(group, "detach p50", "ms", "DELETE /ports/ID"), times.detach, times.delete, goal),
    ]


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[int]:
    """Its port. Raises Unsupported, Failed."""
    if not PYTHON.exists():
        raise Unsupported("there is no .venv-neutron: `./dev setup test` makes it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [str(PYTHON), str(SERVE), str(folder), str(port), name_of(0)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
    try:
        deadline = time.monotonic() + START
        while not _serves(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"neutron-server does not serve: {(folder / 'log').read_text(errors='replace')[-300:]}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        yield port
    finally:
        process.kill()
        process.wait()


def _serves(port: int) -> bool:
    try:
        _ask(port, "GET", "/v2.0/networks")
    except OSError:
        return False
    return True


def _ask(port: int, method: str, path: str, body: object = None) -> Any:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    if answer.status >= 400:
        raise Failed(f"Neutron answers {answer.status}: {text[:200]!r}")
    return json.loads(text) if text else None


async def _measure(url: str, port: int, effort: Effort) -> Times:
    """In turns, since the server becomes slower with each port that it ever had."""
    times = Times()
    async with _agent(url) as (agent, network):
        for number in range(effort.containers):
            made = await _timed(times.attach, agent.attach(number))
            await _timed(times.detach, agent.attachments.remove([made]))
            body = {
                "network_id": network.data[NET],
                "binding:host_id": name_of(0),
                "device_owner": OWNER,
                "device_id": str(number),
            }
            bare = await _timed(times.make, asyncio.to_thread(_ask, port, "POST", "/v2.0/ports", {"port": body}))
            path = f"/v2.0/ports/{bare['port']['id']}"
            await _timed(times.delete, asyncio.to_thread(_ask, port, "DELETE", path))
    return times


async def _timed(took: list[float], work: Any) -> Any:
    began = time.monotonic()
    answer = await work
    took.append(1000 * (time.monotonic() - began))
    return answer


@contextlib.asynccontextmanager
async def _agent(url: str) -> AsyncIterator[tuple[SimulatedAgent, Network]]:
    neutron = Neutron(Cloud(CLUSTER))
    wish = Network(name="blue", driver="neutron", subnets=(parse_network("10.30.0.0/22"),))
    network = await NeutronNetworks(neutron, Marks(lambda: CLUSTER, name_of(0))).make(wish, NeutronOptions())
    store = open_store(url, StoreOptions())
    me = node(0)
    await store.commit([], [Put(keys.network("blue"), encode(network)), Put(keys.node(me.name), encode(me))])
    await store.close()
    agent = SimulatedAgent(url, 0, lambda _: None, Place(neutron, name_of(0), lambda: CLUSTER))
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(_follow(agent))
        await agent.synced.wait()
        await agent.cluster.begin_tenure()
        try:
            yield agent, network
        finally:
            following.cancel()
    await agent.store.close()


async def _follow(agent: SimulatedAgent) -> None:
    async with asyncio.TaskGroup() as tasks:
        await agent.start(tasks)
