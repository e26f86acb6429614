"""Whatever is asked over HTTP, the answer is a reply or the API's own error; never a defect, never a half-made endpoint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.agents import FakeHost, create
from weft.agent.agent import Agent
from weft.agent.http import application
from weft.agent.resources.service import Service
from weft.api import types as t
from weft.api.dump import HostDump
from weft.api.operations import OPERATIONS, Operation
from weft.base.errors import ERRORS
from weft.model import AddressRange, Network, PublishedPort, keys

Client = TestClient[Any, Any]
KEYS = sorted(
    {
        name
        for cls in (t.CreateNetwork, t.Attach, t.Publish, t.Reserve, Network, PublishedPort, AddressRange)
        for name in cls.__struct_fields__
    }
)
WORDS = (
    "", "blue", "vxlan", "host-gw", "bridge", "overlay", "c1", "c2", "node-1", "eth0", "eth%d", "10.1.0.0/16", "10.2.0.0/30",
    "10.1.1.2", "10.1.1.2-10.1.1.9", "fd00::/48", "fd00::2", "::1", "02:42:00:00:00:01", "tcp", "cni/net/c1/eth0", "cni/",
    "yes", "0", "-1", "1e9", "x" * 300, "a/b", "..", "\0", "é", "\n", "%2f",
    "fd00:7::%x/48", "fd00::2%eth0", "fd00:8::/48", "10.1.1.٢", "٨٠", "\x1b[2J\x9b", "\u202e", "240.0.0.0/8", "all", "1" * 30,
)  # fmt: skip
words = st.sampled_from(WORDS) | st.text(max_size=12)
numbers = st.sampled_from([0, 1, 80, 4789, 65535, 65536, -1, 2**63, 1.5]) | st.integers()
values = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | words, inner, max_size=5),
    max_leaves=12,
)
number = st.integers(1, 70_000)
ports = st.fixed_dictionaries(
    {"host_port": number | numbers, "container_port": number | numbers},
    optional={"protocol": st.just("udp") | words, "host_ip": st.just("0.0.0.0") | words, "count": st.just(2) | numbers},
)
within = st.sampled_from(["10.1.0.9", "10.1.200.3", "fd00::2"])
ranges = st.fixed_dictionaries(
    {"subnet": st.just("10.1.0.0/16") | words},
    optional={"first": within | words, "last": within | words, "gateway": within | words},
)
networks = st.fixed_dictionaries(
    {"name": words, "driver": words, "subnets": st.lists(words, max_size=2)},
    optional={"options": st.dictionaries(words, values, max_size=2), "mtu": numbers, "internal": st.booleans()},
)
likely = {
    "create_network": st.fixed_dictionaries({"network": networks}),
    "attach": st.fixed_dictionaries(
        {"target": st.sampled_from(["c1", "c2"]) | words, "network": st.just("blue") | words},
        optional={
            "interface": words,
            "addresses": st.lists(st.sampled_from(["10.1.1.2", "10.1.99.9"]) | words, max_size=1),
            "ranges": st.lists(ranges, max_size=2),
            "ports": st.lists(ports, max_size=2),
            "owner": words,
            "mac": st.just("02:42:00:00:00:01") | words,
            "labels": st.dictionaries(words, words, max_size=2),
            "handover": st.booleans(),
            "exclusive": st.booleans(),
            "definition": st.none() | networks,
        },
    ),
    "publish": st.fixed_dictionaries({"owner": words, "ports": st.lists(ports, max_size=2)}),
    "reserve": st.fixed_dictionaries({"family": numbers, "owner": words}, optional={"address": words}),
}
DEEP = b'{"network":' * 20_000
CALLED = [op for op in OPERATIONS if op.name not in ("doctor", "remove_node")]
"""Not what looks at the machine, nor what takes the agent its place in the cluster."""


@st.composite
def calls(draw: st.DrawFn) -> tuple[Operation, str, bytes]:
    """An operation, the path with its query, and a body."""
    op = draw(st.sampled_from(CALLED) | st.sampled_from([o for o in CALLED if o.request]))
    path = "/".join(quote(draw(words), safe="") if part.startswith("{") else part for part in op.path.split("/"))
    query = draw(st.dictionaries(st.sampled_from(op.query) if op.query else words, words, max_size=2))
    asked = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in query.items())
    body = draw(likely.get(op.name, values) | values)
    whole = json.dumps(body).encode()
    return op, f"{path}?{asked}", draw(st.sampled_from([whole] * 8 + [whole[:-1], b"", b"\xff", DEEP]))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The host is in memory, whatever this machine has."""
    monkeypatch.setattr("weft.kernel.host.listeners.check_free", lambda _port, _families, _container="": None)
    monkeypatch.setattr("weft.agent.resources.this_node.dump", lambda node, *more: HostDump(node=node, namespaces=()))
    monkeypatch.setattr("weft.agent.resources.endpoints.SETTLING", 0.05)
    yield


@pytest.fixture
async def api(agent: Agent, host: FakeHost) -> AsyncIterator[Client]:
    await create(agent)
    for name in ("c1", "c2"):
        host.open(name)
    async with TestClient(TestServer(application(Service(agent), agent.metrics.scrape))) as client:
        yield client


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(asked=st.lists(calls(), min_size=1, max_size=8))
async def test_fuzz(api: Client, agent: Agent, asked: list[tuple[Operation, str, bytes]]) -> None:
    for op, target, body in asked:
        answer = await api.request(op.method, target, data=body)
        whole = await answer.read()
        told = json.loads(whole)
        if answer.status == 200:
            continue
        assert set(told) == {"error", "message"} and told["error"] in ERRORS, (op.name, target, body, told)
        assert told["message"] and "unexpected error" not in told["message"], (op.name, target, body, told)
        assert told["message"].isprintable(), (op.name, target, body, told)
    assert not agent.loop.troubles() and not agent.view.broken
    held = {item.key for item in (await agent.store.list(keys.ENDPOINTS)).items}
    assert len(held) == len(agent.view.endpoints), "none that only the store or only the agent knows"
