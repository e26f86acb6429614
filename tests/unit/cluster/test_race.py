"""Nodes as processes of their own, on a real store, racing for the subnets of one network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.etcd import EtcdServer
from weft.base.net import parse_network
from weft.model import Network, encode, keys
from weft.store.protocol import Put
from weft.store.url import StoreOptions, open_store

ROOT = Path(__file__).resolve().parents[3]
RACERS = 6
NETWORK = Network(
    name="blue",
    driver="host-gw",
    subnets=(parse_network("10.1.0.0/24"), parse_network("fd00:1::/60")),
    options={"node-prefix": 27, "subnet-min": "10.1.0.128/27"},
)
"""Four subnets in v4, so that two of the six must go without."""


@pytest.fixture(params=["sqlite", "etcd"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/weft.db"
        return
    server = EtcdServer(tmp_path)
    server.start()
    yield f"etcd://{server.endpoint}/race"
    server.stop()


async def test_racing_processes_get_distinct_subnets(url: str) -> None:
    store = open_store(url, StoreOptions())
    await store.commit([], [Put(keys.network("blue"), encode(NETWORK))])
    answers = _race(url)
    won = [answer.split() for answer in answers if answer.startswith("10.1.0.")]
    assert len(won) == 4
    assert sorted(v4 for v4, _ in won) == [f"10.1.0.{n}/27" for n in (128, 160, 192, 224)]
    assert len({v6 for _, v6 in won}) == 4
    assert all("is left" in answer for answer in answers if not answer.startswith("10.1.0.")), answers
    claims = await store.list(keys.subnet_claims("blue"))
    assert len(claims.items) == 8  # nobody who went without keeps half of a pair
    await store.close()


def _race(url: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
    words = [sys.executable, "-m", "support.racer", url]
    with ExitStack() as processes:
        racers = [processes.enter_context(_start([*words, f"node-{n}", "blue"], environment)) for n in range(RACERS)]
        for racer in racers:
            assert racer.stdout
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin
            racer.stdin.write("\n")
            racer.stdin.flush()
        return [racer.communicate(timeout=60)[0].strip() for racer in racers]


@contextmanager
def _start(words: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=environment, stdin=pipe, stdout=pipe, text=True) as racer:
        try:
            yield racer
        finally:
            racer.kill()
