"""Whatever an engine passes: a result, or an error of the specification; never a traceback, never a half-made interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.cni import Engine, config
from weft.cni import plugin

CODES = {1, 2, 3, 4, 5, 6, 7, 11, 50, 51, 100, 101, 102, 103}
"""All but 199, which means that the plugin itself is wrong."""
COMMANDS = ("ADD", "ADD", "ADD", "ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION")

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from([*plugin.FIELDS, plugin.ATTACHMENTS]) | texts
addresses = st.sampled_from(["10.50.0.9", "10.50.255.9", "fd50::9"]) | texts
ports = st.fixed_dictionaries(
    {"hostPort": st.integers(1, 70_000), "containerPort": st.integers(1, 70_000)},
    optional={"protocol": st.sampled_from(["tcp", "UDP", "sctp"]) | texts, "hostIP": addresses, "more": values},
)
ranges = st.fixed_dictionaries(
    {"subnet": st.sampled_from(["10.50.0.0/16", "fd50::/48"]) | texts},
    optional={"rangeStart": addresses, "rangeEnd": addresses, "gateway": addresses},
)
capabilities = st.fixed_dictionaries(
    {},
    optional={
        "portMappings": st.lists(ports, max_size=2),
        "ipRanges": st.lists(st.lists(ranges, max_size=2), max_size=2),
        "aliases": st.lists(texts, max_size=2) | st.dictionaries(st.just("net") | texts, st.lists(texts, max_size=2)),
    },
) | st.dictionaries(st.sampled_from([*plugin.CAPABILITIES]) | texts, values, max_size=2)
results = st.fixed_dictionaries(
    {},
    optional={
        key: st.lists(st.dictionaries(texts, values, max_size=2) | values, max_size=2) for key in plugin.SINCE_1_1
    },
)
likely = st.fixed_dictionaries(
    {},
    optional={
        "runtimeConfig": capabilities,
        "prevResult": results,
        "mtu": st.integers(),
        "options": st.dictionaries(texts, values, max_size=2),
        "subnet": st.sampled_from(["10.50.0.0/24", "fd99::/48", "0.0.0.0/0", "10.80.0.0/30"]) | texts,
        "driver": st.sampled_from(["bridge", "vxlan", "host-gw"]) | texts,
        "cniVersion": st.sampled_from(list(plugin.VERSIONS)),
        "labels": st.dictionaries(texts, texts, max_size=2),
    },
)
strange = st.dictionaries(keys, values, max_size=2)
configs = st.builds(lambda a, b: config(**{**a, **b}), likely, st.just({}) | st.just({}) | strange)
stdins = st.sampled_from([configs] * 6 + [values]).flatmap(lambda chosen: chosen.map(json.dumps)) | texts
tampered = st.fixed_dictionaries(
    {},
    optional={
        "CNI_CONTAINERID": texts,
        "CNI_IFNAME": st.sampled_from(["lo", "eth0", "eth%d", "é"]) | texts,
        "CNI_NETNS": st.sampled_from(["/run/netns/c1", "/proc/self/ns/net", "/", "/proc/1/ns/net"]) | texts,
        "CNI_ARGS": st.sampled_from(["IP=10.50.0.9", "IgnoreUnknown=1;X=Y", "IP=;MAC=;", "MAC=zz"]) | texts,
    },
)
environments = st.sampled_from([st.just({})] * 3 + [tampered]).flatmap(lambda chosen: chosen)


@settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(command=st.sampled_from(COMMANDS), stdin=stdins, environment=environments)
def test_any_input(engine: Engine, c1: Path, command: str, stdin: str, environment: dict[str, Any]) -> None:
    ran = engine(command, stdin, **environment)
    if ran.status:
        assert ran.code in CODES, ran
        assert "unexpected error" not in ran.msg, "of the agent"
        assert engine.veths() == set()
        return
    assert ran.err == ""
    assert ran.text == "" or set(ran.out) >= {"cniVersion"}
    if command == "ADD":
        assert len(engine.veths()) == 1
        for endpoint in engine.endpoints():
            _, name, container, ifname = endpoint.owner.split("/")
            engine("DEL", config(name=name), CNI_CONTAINERID=container, CNI_IFNAME=ifname).well()
    assert engine.veths() == set()
