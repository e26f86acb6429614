from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from support.cni import HOST, SUBNETS, Engine
from support.reach import client
from support.waiting import until
from weft.cni import launcher
from weft.lab import Lab
from weft.lab.topology import flat
from weft.model import Network


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, lab_base: str) -> Iterator[Lab]:
    """One host with an agent, and network `blue`."""
    with Lab.up(flat(1), name=request.module.__name__.rpartition(".")[2][:24].strip("-_")) as lab:
        until(lambda: client(lab, HOST).status().state == "converged", 20, "the agent")
        subnets = tuple(map(ip_network, SUBNETS))
        client(lab, HOST).create_network(Network(name="blue", driver="bridge", subnets=subnets))
        yield lab


@pytest.fixture(scope="module")
def engine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """With the plugin as `weft cni install` puts it."""
    return Engine(lab, launcher.install(tmp_path_factory.mktemp("bin")))


@pytest.fixture(autouse=True)
def nothing_stays(engine: Engine) -> Iterator[None]:
    """After a test its containers end, and whatever it left attached is a failure of the test."""
    yield
    left = [e.owner or e.name for e in engine.endpoints()]
    for name in engine.lab.host(HOST).containers():
        engine.remove(name)
    assert not left


@pytest.fixture
def c1(engine: Engine) -> Path:
    """A container; its namespace."""
    return Path(engine.container("c1"))
