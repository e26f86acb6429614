"""Whatever of it ends, and however: containers that run are not disturbed, and what Docker removes goes from Weft, too."""

from __future__ import annotations

import signal
from ipaddress import ip_network

import pytest

from support.docker import Engine
from support.waiting import until
from weft.lab import Lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SWEPT = 40.0
"""Seconds in which the plugin has had two looks at what Docker has, at the latest."""


def swept(engine: Engine) -> None:
    until(lambda: not engine.held(), SWEPT, lambda: f"{engine.held()}\n{engine.tail()}")


def reached(one: Engine, two: Engine) -> bool:
    return two.pings("db", one.on("web")["IPAddress"])


@pytest.fixture(autouse=True)
def running(one: Engine, two: Engine) -> None:
    one.run("web")
    two.run("db")
    assert reached(one, two)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_plugin_restarts(one: Engine, two: Engine, how: signal.Signals) -> None:
    one.end_plugin(how)
    assert reached(one, two)
    one.start_plugin()
    one.run("new")
    assert two.pings("db", one.on("new")["IPAddress"])
    before = [e.owner for e in one.held()]
    assert len(before) == 2
    one.docker("restart", "-t", "0", "web")
    assert reached(one, two)
    one.docker("rm", "-f", "web", "new")
    assert one.held() == []


def test_the_agent_restarts(lab: Lab, one: Engine, two: Engine) -> None:
    veth = one.devices()
    agent = lab.agent(one.host.name)
    agent.end(signal.SIGKILL)
    assert reached(one, two)
    agent.start()
    agent.wait_ready()
    until(lambda: one.client.status().state == "converged", 20, "the agent")
    assert one.devices() == veth and reached(one, two)


def test_the_agent_is_down_while_a_container_is_removed(lab: Lab, one: Engine) -> None:
    agent = lab.agent(one.host.name)
    agent.end(signal.SIGKILL)
    one.end_plugin()
    one.start_plugin("--patience", "1")
    assert "no agent answers" in one.refused("run", "--network", "blue", "busybox", "true")
    one.docker("rm", "-f", "web")
    agent.start()
    agent.wait_ready()
    swept(one)
    assert one.devices() == []


def test_the_plugin_is_down_while_a_container_is_removed(one: Engine) -> None:
    """Docker gives up on the plugin after some time and removes the container all the same."""
    one.end_plugin()
    one.docker("rm", "-f", "web", timeout=200)
    assert [e.network for e in one.held()] == ["blue"]
    one.start_plugin()
    swept(one)
    assert one.devices() == []


def test_docker_boots_before_the_agent(lab: Lab, one: Engine, two: Engine) -> None:
    """Containers with --restart always stayed down for good: Docker asks once."""
    one.docker("update", "--restart", "always", "web")
    agent = lab.agent(one.host.name)
    one.end()
    agent.end(signal.SIGKILL)
    booting = one.boot()
    until(lambda: "waits: no agent answers" in one.tail(), 30, one.tail)
    agent.start()
    agent.wait_ready()
    booting()
    until(lambda: one.inspect("web")["State"]["Running"], 30, one.tail)
    until(lambda: len(one.held()) == len(one.devices()) == 1, SWEPT, one.tail)
    assert reached(one, two)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_docker_restarts_and_its_containers_end(one: Engine, two: Engine, how: signal.Signals) -> None:
    address = one.on("web")["IPAddress"]
    one.end(how)
    one.start()
    swept(one)
    one.docker("start", "web")
    assert one.on("web")["IPAddress"] != address or reached(one, two)
    assert len(one.held()) == len(one.devices()) == 1
    assert reached(one, two)


def test_docker_restarts_and_its_containers_live_on(one: Engine, two: Engine) -> None:
    one.docker("rm", "-f", "web")
    one.end()
    one.live_restore = True
    one.start()
    try:
        one.run("web")
        until(lambda: one.held()[0].aliases, 20, "the names of web")
        veth, held = one.devices(), one.held()
        one.end(signal.SIGKILL)
        # What Docker says must be asked again: its daemon is away.
        assert two.pings("db", str(held[0].addresses[0].ip))
        one.start()
        assert reached(one, two)
        assert (one.devices(), one.held()) == (veth, held)
        one.docker("rm", "-f", "web")
        assert one.held() == [] and one.devices() == []
    finally:
        one.live_restore = False
        one.end()
        one.start()


def test_the_state_is_lost(one: Engine, two: Engine) -> None:
    one.end_plugin()
    file = one.host.own / "var/docker.json"
    before = file.read_bytes()
    file.unlink()
    one.start_plugin()
    until(lambda: file.exists() and file.read_bytes() == before, SWEPT, one.tail)
    one.run("new")
    assert one.pings("new", two.on("db")["IPAddress"])


def test_the_address_of_a_removed_container_is_free(one: Engine) -> None:
    """Also where the agent did not hear of the end of it."""
    lease = next(x for x in one.client.network("blue").leases if x.node == one.host.name)
    wish = str(ip_network(lease.subnets[0])[99])
    one.run("wished", "--ip", wish)
    one.end_plugin(signal.SIGKILL)
    one.end(signal.SIGKILL)
    one.start_plugin()
    one.start()
    one.docker("rm", "-f", "wished")
    until(lambda: len(one.held()) == 0, SWEPT, one.tail)
    one.run("again", "--ip", wish)
    assert one.on("again")["IPAddress"] == wish
