"""Eight processes, a thousand allocations each, on a real store; afterwards nothing is wrong in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.etcd import EtcdServer
from weft.agent.resources import ipam
from weft.base.net import parse_network
from weft.ipam.audit import Audit
from weft.model import Network, encode, keys
from weft.store.protocol import Put
from weft.store.url import StoreOptions, open_store

ROOT = Path(__file__).resolve().parents[3]
PROCESSES, EACH = 8, 1000
SUBNETS = ("10.9.0.0/20", "10.8.0.0/22", "10.7.0.0/24")
"""84 blocks of 64 for eight nodes with 666 containers each at the end: nodes that come late have to borrow."""
NETWORK = Network(name="prod", driver="routed", subnets=tuple(map(parse_network, SUBNETS)), options={"cooldown": 0})


@pytest.fixture(params=["sqlite", "etcd"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/weft.db"
        return
    server = EtcdServer(tmp_path)
    server.start()
    yield f"etcd://{server.endpoint}/race"
    server.stop()


@pytest.mark.slow
@pytest.mark.serial
async def test_eight_processes_a_thousand_each(url: str) -> None:
    store = open_store(url, StoreOptions())
    await store.commit([], [Put(keys.network("prod"), encode(NETWORK))])
    answers = [list(map(int, answer.split())) for answer in _race(url)]
    living = sum(count for count, _, _ in answers)
    assert living + sum(refused for _, refused, _ in answers) >= PROCESSES * (EACH - (EACH + 2) // 3)
    claims = (await store.list(keys.address_claims("prod"))).items
    assert len(claims) == living == len((await store.list(keys.ENDPOINTS)).items)
    assert sum(borrowed for _, _, borrowed in answers) > 0
    assert living > 0.8 * PROCESSES * EACH * 2 / 3
    audit = Audit(await ipam.snapshot(store))
    assert list(audit.faults()) == [] and len(audit.addresses) == living
    await store.close()


def _race(url: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
    words, pipe = [sys.executable, "-m", "support.allocator", url], subprocess.PIPE
    with ExitStack() as processes:
        racers = []
        for n in range(PROCESSES):
            command = [*words, f"node-{n}", "prod", str(EACH)]
            racer = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
            processes.enter_context(racer)
            processes.callback(racer.kill)
            racers.append(racer)
        for racer in racers:
            assert racer.stdout
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin
            racer.stdin.write("\n")
            racer.stdin.flush()
        return [racer.communicate(timeout=100)[0].strip() for racer in racers]
