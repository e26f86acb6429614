"""Debian's containerd on two hosts, its containers in Weft's networks by `ctr run --cni`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import containerd, inspected
from support.containerd import Containerd
from support.places import remove_cgroup, serving
from support.waiting import until
from weft.lab import Lab

pytestmark = pytest.mark.timeout(120)
NETWORKS = {"blue": ("vxlan", "10.20.0.0/16"), "over": ("overlay", "10.30.0.0/16")}
OUTSIDE = "203.0.113.10"
SWEPT = 20.0
"""Seconds until the agent has noticed that a container's namespace is gone."""


@pytest.fixture(scope="module")
def needed() -> None:
    containerd.needed()


@pytest.fixture(scope="module")
def pair(lab: Lab, lab_base: str, archive: Path) -> Iterator[tuple[Containerd, ...]]:
    made = tuple(Containerd(lab.host(name), Path(lab_base) / "containerd" / name) for name in ("node-1", "node-2"))
    try:
        for each in made:
            each.start(archive)
        yield made
    finally:
        lab.down()
        for each in made:
            remove_cgroup(each.cgroup)


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest, pair: tuple[Containerd, ...]) -> Iterator[str]:
    """The one network that is configured: ctr takes the first."""
    name: str = request.param
    for each in pair:
        each.network(name, *NETWORKS[name])
    yield name
    for each in pair:
        each.forget(name)


@pytest.fixture
def one(pair: tuple[Containerd, ...], network: str) -> Containerd:
    return pair[0]


@pytest.fixture
def two(pair: tuple[Containerd, ...], network: str) -> Containerd:
    return pair[1]


@pytest.fixture(autouse=True)
def nothing_stays(pair: tuple[Containerd, ...], network: str) -> Iterator[None]:
    """After a test containerd removes all containers, and then Weft has no endpoint and the host no device of theirs."""
    yield
    for each in pair:
        each.remove(*each.names())
    for each in pair:
        until(lambda each=each: not each.left(), SWEPT, each.left)


def address(place: Containerd, name: str) -> str:
    return next(str(e.addresses[0].ip) for e in place.held() if e.name == f"default-{name}")


def test_containers_of_two_hosts_reach_each_other(one: Containerd, two: Containerd) -> None:
    one.run("web", *serving("web"))
    two.run("db", *serving("db"))
    web, db = address(one, "web"), address(two, "db")
    assert one.pings("web", db) and two.pings("db", web)
    until(lambda: one.fetched("web", db) == "db", 5, "db's web server")
    until(lambda: two.fetched("db", web) == "web", 5, "web's web server")
    assert one.pings("web", OUTSIDE)


def test_the_interface_is_as_weft_says(one: Containerd) -> None:
    one.run("web", "sleep", "1000")
    [held] = one.held()
    shown = one.host.run(one.inside("web", "ip", "addr", "show", "eth0"), check=True).stdout
    assert f"inet {held.addresses[0]} " in shown and held.mac in shown
    assert held.owner.endswith("/default-web/eth0")


def test_nothing_is_left_when_ctr_waits_for_the_end(one: Containerd) -> None:
    """It ends with CNI's DEL, whatever the container's exit status is."""
    for command, status in (("true", 0), ("cat /none", 1)):
        argv = [containerd.CTR, *one.started("short", "--rm"), *command.split()]
        assert one.host.run(argv, timeout=60).returncode == status
        assert one.left() == ""


@pytest.mark.parametrize("how", ["KILL", "TERM"])
def test_nothing_is_left_of_a_container_that_dies(one: Containerd, how: str) -> None:
    """Detached from ctr there is no DEL: its network namespace goes, and the agent notices."""
    one.run("web", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
    assert len(one.held()) == 1
    one.ctr("task", "kill", "-s", how, "web")
    until(lambda: not one.left(), SWEPT, one.left)


def test_the_agent_restarts(lab: Lab, one: Containerd, two: Containerd) -> None:
    one.run("web", "sleep", "1000")
    two.run("db", "sleep", "1000")
    web, before = address(one, "web"), one.left()
    agent = lab.agent(one.host.name)
    agent.end(signal.SIGKILL)
    try:
        refused = one.host.run([containerd.CTR, *one.started("more", "--rm"), "true"], timeout=60)
        assert refused.returncode != 0 and "no agent answers" in refused.stderr
        assert two.pings("db", web)
    finally:
        agent.start()
        agent.wait_ready()
    until(lambda: one.client.status().state == "converged", 20, lambda: str(one.client.status().troubles))
    assert one.left() == before and two.pings("db", web)


def test_netns_knows_a_container_by_its_name(one: Containerd) -> None:
    one.run("web", "sleep", "1000")
    pid = one.ctr("task", "ls").splitlines()[1].split()[1]
    for name in ("web", pid):
        assert inspected.inside(one.host, name) == inspected.of_pid(one.host, pid), name
    listed = inspected.namespaces(one.host)["web"]
    assert listed["containers"] == [{"engine": "containerd", "id": "web", "name": "web"}]
    assert listed["pids"] == [int(pid)]
