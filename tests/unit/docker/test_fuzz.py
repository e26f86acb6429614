"""Whatever is asked, the answer is a reply or the API's own error; never a defect, never a half-made endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weft.agent.agent import Agent
from weft.docker.operations import error_key, operations

PATHS = tuple(op.path for op in operations(*(type("Any", (), {"__getattr__": lambda *_: None})() for _ in range(2))))
KEYS = (
    "NetworkID", "EndpointID", "Interface", "Address", "AddressIPv6", "MacAddress", "SandboxKey", "Options", "IPv4Data",
    "IPv6Data", "AddressSpace", "Pool", "PoolID", "SubPool", "AuxAddresses", "Gateway", "RequestAddressType",
    "com.docker.network.generic", "com.docker.network.internal", "com.docker.network.portmap",
    "weft.network", "weft.driver", "weft.mtu", "weft.vni",
)  # fmt: skip
WORDS = (
    "", "blue", "vxlan", "host-gw", "bridge", "weft", "10.1.0.0/16", "10.1.0.0/31", "10.1.1.2/24", "10.1.1.2", "fd00::/48",
    "::1", "02:42:00:00:00:01", "ab" * 32, "cd", "/run/docker/netns/x", "0", "-1", "1e9", "x" * 300, "\0", "é/../%2f",
)  # fmt: skip
words = st.sampled_from(WORDS) | st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | words, inner, max_size=6),
    max_leaves=20,
)
likely = st.fixed_dictionaries(
    {},
    optional={
        "NetworkID": words,
        "EndpointID": words,
        "Interface": st.none() | st.dictionaries(st.sampled_from(KEYS[3:6]), words, max_size=3),
        "SandboxKey": words,
        "Options": st.none() | st.dictionaries(st.sampled_from(KEYS), values, max_size=4),
        "IPv4Data": st.none() | st.lists(st.dictionaries(st.sampled_from(KEYS), words, max_size=4), max_size=2),
        "PoolID": words,
        "Pool": words,
        "Address": words,
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(st.tuples(st.sampled_from(PATHS), values | likely), min_size=1, max_size=8))
async def test_fuzz(
    plugin: TestClient[Any, Any], agent: Agent, bodies: list[tuple[str, object]], tmp_path: Path
) -> None:
    for path, body in bodies:
        answer = await plugin.post(path, data=json.dumps(body).encode())
        told = await answer.json()
        assert answer.status == 200 and isinstance(told, dict), (path, body, told)
        error = told.get(error_key(path), "")
        assert "unexpected error" not in error and "\n" not in error.strip(), (path, body, error)
        assert list(told) == [error_key(path)] if error else not {"Err", "Error"} & told.keys()
    assert not agent.loop.troubles()
