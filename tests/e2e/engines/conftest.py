from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import docker, images
from support.docker import Engine
from support.places import Place
from support.waiting import until
from weft.client import Client
from weft.lab import Lab, flat

HOSTS = ("node-1", "node-2")
CREATE = ("network", "create", "-d", "weft", "--ipam-driver", "weft")


@pytest.fixture(scope="session")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system."""
    return images.layer(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def archive(tar: Path) -> Path:
    """An image with it."""
    return images.archive(tar, Place.IMAGE)


@pytest.fixture(scope="module")
def needed() -> None:
    """Skips where an engine is missing. For modules about another one than Docker to override, as `nothing_stays`."""
    docker.needed()


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, lab_base: str, needed: None) -> Iterator[Lab]:
    """Two hosts with an agent each."""
    with Lab.up(flat(len(HOSTS)), name=request.module.__name__.rpartition(".")[2][:24].strip("-_")) as lab:
        for host in HOSTS:
            client = Client(str(lab.host(host).socket))
            until(lambda client=client: client.status().state == "converged", 20, f"the agent of {host}")
        yield lab


@pytest.fixture(scope="module")
def engines(lab: Lab, lab_base: str, tar: Path) -> Iterator[dict[str, Engine]]:
    """Docker and the plugin on both, with network `blue` (vxlan)."""
    made = {host: Engine(lab.host(host), Path(lab_base) / "docker" / host) for host in HOSTS}
    try:
        for engine in made.values():
            engine.start()
            engine.start_plugin()
            engine.docker("import", str(tar), docker.IMAGE)
            options = ("-o", "weft.network=blue", "-o", "weft.driver=vxlan")
            engine.docker(*CREATE, "--subnet", "10.20.0.0/16", *options, "blue")
        yield made
    finally:
        lab.down()
        for engine in made.values():
            engine.clean()


@pytest.fixture
def one(engines: dict[str, Engine]) -> Engine:
    return engines["node-1"]


@pytest.fixture
def two(engines: dict[str, Engine]) -> Engine:
    return engines["node-2"]


@pytest.fixture(autouse=True)
def nothing_stays(engines: dict[str, Engine]) -> Iterator[None]:
    """After a test Docker removes all containers, and then Weft has no endpoint and the host no device of theirs."""
    yield
    for engine in engines.values():
        engine.mend()
        if names := engine.docker("ps", "-aq").split():
            engine.docker("rm", "-f", *names)
    for engine in engines.values():
        until(lambda engine=engine: not engine.held(), 20, lambda engine=engine: f"left: {engine.held()}")
        assert engine.devices() == []
