"""Docker on one host, Podman on the other, their containers in one network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import docker, podman
from support.docker import Engine
from support.places import remove_cgroup, serving
from support.podman import Podman
from support.waiting import until
from weft.lab import Lab

pytestmark = pytest.mark.timeout(180)
CREATE = ("network", "create", "-d", "weft", "--ipam-driver", "weft")
NETWORKS = {"blue": ("vxlan", "10.20.0.0/16"), "over": ("overlay", "10.30.0.0/16")}
EACH = pytest.mark.parametrize("network", NETWORKS)


@pytest.fixture(scope="module")
def needed() -> None:
    docker.needed()
    podman.needed()


@pytest.fixture(scope="module")
def one(lab: Lab, lab_base: str, tar: Path) -> Iterator[Engine]:
    """Docker."""
    engine = Engine(lab.host("node-1"), Path(lab_base) / "docker" / "node-1")
    try:
        engine.start()
        engine.start_plugin()
        engine.docker("import", str(tar), docker.IMAGE)
        yield engine
    finally:
        lab.down()
        engine.clean()


@pytest.fixture(scope="module")
def two(lab: Lab, lab_base: str, archive: Path, one: Engine) -> Iterator[Podman]:
    place = Podman(lab.host("node-2"), Path(lab_base) / "podman" / "node-2")
    try:
        place.start(archive)
        for name, (driver, subnet) in NETWORKS.items():
            place.network(name, driver, subnet)
        yield place
    finally:
        lab.down()
        remove_cgroup(place.cgroup)


@pytest.fixture(autouse=True)
def nothing_stays(one: Engine, two: Podman) -> Iterator[None]:
    yield
    if names := one.docker("ps", "-aq").split():
        one.docker("rm", "-f", *names)
    if names := two.names():
        two.remove(*names)
    until(lambda: not one.held(), 20, lambda: f"left: {one.held()}")
    assert (one.devices(), two.left()) == ([], "")


def create(one: Engine, network: str) -> None:
    driver, subnet = NETWORKS[network]
    one.docker(*CREATE, "--subnet", subnet, "-o", f"weft.network={network}", "-o", f"weft.driver={driver}", network)


def talk(one: Engine, two: Podman, network: str) -> None:
    """By ping, and by TCP both ways; Docker's container publishes a port, too, and Podman's another."""
    one.docker("run", "-d", "--name", "web", "--network", network, "-p", "8080:80", docker.IMAGE, *serving("web"))
    two.run("db", *serving("db"), network=network, options=("-p", "8081:80"))
    web, db = one.on("web", network)["IPAddress"], two.address("db", network)
    assert one.pings("web", db) and two.pings("db", web)
    until(lambda: two.fetched("db", web) == "web", 5, "Docker's web server")
    until(lambda: one.docker("exec", "web", "wget", "-qO-", f"http://{db}/") == "db", 5, "Podman's web server")
    for url, says in (("http://192.168.1.11:8080/", "web"), ("http://192.168.1.12:8081/", "db")):
        assert two.host.run(["curl", "-sS", "--max-time", "2", url], timeout=30).stdout.strip() == says
    one.docker("rm", "-f", "web")
    two.remove("db")


@EACH
def test_docker_makes_the_network(one: Engine, two: Podman, network: str) -> None:
    create(one, network)
    talk(one, two, network)
    one.docker("network", "rm", network)
    assert one.client.networks() == ()


@EACH
def test_podman_makes_the_network(one: Engine, two: Podman, network: str) -> None:
    two.run("first", "sleep", "1000", network=network)
    create(one, network)
    talk(one, two, network)
    two.remove("first")
    one.docker("network", "rm", network)
    one.client.remove_network(network)
