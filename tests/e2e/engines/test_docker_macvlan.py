"""Docker's containers in the hosts' own network: Weft makes the device, and Docker moves it into the container."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.docker import IMAGE, Engine
from support.waiting import until
from weft.lab.lab import WEFT

CREATE = ("network", "create", "-d", "weft", "--ipam-driver", "weft")
OPTIONS = ("-o", "weft.network=wire", "-o", "weft.driver=macvlan", "-o", "weft.reserve=192.168.1.128/25")


@pytest.fixture
def wire(one: Engine, two: Engine) -> Iterator[None]:
    """The same on both hosts, whose own network it is."""
    for engine in (one, two):
        engine.docker(*CREATE, "--subnet", "192.168.1.0/24", *OPTIONS, "wire")
    yield
    for engine in (one, two):
        if names := engine.docker("ps", "-aq").split():
            engine.docker("rm", "-f", *names)
        engine.docker("network", "rm", "wire")
    assert {n.name for n in one.client.networks()} == {"blue"}


def link(engine: Engine, name: str) -> str:
    return engine.docker("exec", name, "ip", "link", "show", "eth0")


@pytest.mark.usefixtures("wire")
def test_containers_of_two_hosts_and_the_hosts(one: Engine, two: Engine) -> None:
    one.run("web", network="wire")
    two.run("db", network="wire")
    web, db = one.on("web", "wire"), two.on("db", "wire")
    assert web["IPAddress"] != db["IPAddress"] and web["Gateway"] == "192.168.1.1"
    assert one.pings("web", db["IPAddress"]) and two.pings("db", web["IPAddress"])
    assert web["MacAddress"] in link(one, "web")
    assert one.pings("web", str(two.client.status().addresses[0].ip))
    assert one.host.run([*WEFT, "plan"]).stdout == "" and not one.devices()
    assert one.client.status().repairs == 0


@pytest.mark.usefixtures("wire")
def test_started_again_it_has_a_device_again_and_an_agent_s_restart_changes_nothing(one: Engine, two: Engine) -> None:
    two.run("db", network="wire")
    one.run("web", network="wire")
    address = two.on("db", "wire")["IPAddress"]
    one.docker("restart", "-t", "0", "web")
    until(lambda: one.pings("web", address), 20, one.tail)
    one.docker("stop", "-t", "0", "web")
    until(lambda: not one.devices() and one.host.run([*WEFT, "plan"]).stdout == "", 10, one.tail)
    one.docker("start", "web")
    until(lambda: one.pings("web", address), 20, one.tail)


@pytest.mark.usefixtures("wire")
def test_what_needs_the_host_in_between_is_refused(one: Engine) -> None:
    told = one.refused("run", "-d", "--name", "web", "--network", "wire", "-p", "8080:80", IMAGE, "sleep", "100")
    assert "packets of its containers do not pass their host (driver macvlan): leave --publish out" in told
