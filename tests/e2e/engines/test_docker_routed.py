"""Docker's containers in a routed network: a /32, and a next hop that exists nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from support.docker import IMAGE, Engine
from support.waiting import until
from weft.lab import Lab
from weft.lab.lab import WEFT

CREATE = ("network", "create", "-d", "weft", "--ipam-driver", "weft")
OUTSIDE = "203.0.113.10"


@pytest.fixture
def prod(one: Engine, two: Engine) -> Iterator[None]:
    subnets = ("--ipv6", "--subnet", "10.60.0.0/16", "--subnet", "fd60::/64")
    for engine in (one, two):
        engine.docker(*CREATE, *subnets, "-o", "weft.network=prod", "-o", "weft.driver=routed", "prod")
    yield
    for engine in (one, two):
        if names := engine.docker("ps", "-aq").split():
            engine.docker("rm", "-f", *names)
        engine.docker("network", "rm", "prod")
    assert {n.name for n in one.client.networks()} == {"blue"}


def reached(engine: Engine, name: str, address: str) -> None:
    """BGP's routes come with the first container of a host, a moment after it."""
    until(lambda: engine.pings(name, address, seconds=1), 15, f"{name} to reach {address}")


@pytest.mark.usefixtures("prod")
def test_containers_of_two_hosts(lab: Lab, one: Engine, two: Engine) -> None:
    one.run("web", "-p", "8080:80", network="prod")
    two.run("db", network="prod")
    web, db = one.on("web", "prod"), two.on("db", "prod")
    for key in ("IPAddress", "GlobalIPv6Address"):
        reached(one, "web", db[key])
        reached(two, "db", web[key])
    assert one.pings("web", OUTSIDE)
    assert (web["IPPrefixLen"], web["GlobalIPv6PrefixLen"], web["Gateway"]) == (32, 128, "169.254.1.1")
    shown = one.docker("exec", "web", "ip", "route")
    assert "default via 169.254.1.1 dev eth0" in shown and "169.254.1.1 dev eth0 scope link" in shown
    assert one.host.run([*WEFT, "plan"]).stdout == ""
    one.docker("exec", "-d", "web", "sh", "-c", "mkdir /www; echo web >/www/index.html; httpd -f -p 80 -h /www")
    argv = ["curl", "-sS", "--max-time", "2", "--retry", "3", "--retry-connrefused", "http://192.168.1.11:8080/"]
    assert lab.host("outside").run(argv, timeout=30).stdout == "web\n"


@pytest.mark.usefixtures("prod")
def test_an_address_stays_with_its_container_on_whichever_host(one: Engine, two: Engine) -> None:
    one.run("web", network="prod")
    two.run("db", network="prod")
    wish = one.on("web", "prod")["IPAddress"]
    assert "is taken by" in two.refused("run", "--network", "prod", "--ip", wish, IMAGE, "true")
    one.docker("restart", "-t", "0", "web")
    one.docker("rm", "-f", "web")
    two.run("web", "--ip", wish, network="prod")
    one.run("other", network="prod")
    reached(one, "other", wish)
    [lease] = [x for x in one.client.network("prod").leases if x.node == "node-2"]
    assert not any(ip_address(wish) in block for block in lease.subnets), "away from its block"


@pytest.mark.usefixtures("prod")
def test_beside_another_network(one: Engine, two: Engine) -> None:
    one.run("web", network="prod")
    two.run("db", network="prod")
    two.run("cache")
    one.docker("network", "connect", "blue", "web")
    reached(one, "web", two.on("db", "prod")["IPAddress"])
    reached(one, "web", two.on("cache")["IPAddress"])
    assert one.pings("web", OUTSIDE)


@pytest.mark.usefixtures("prod")
def test_a_second_one_is_refused_in_a_line(one: Engine) -> None:
    """Both have the same next hop, and Docker has no metric to tell them apart by."""
    one.docker(*CREATE, "--subnet", "10.61.0.0/16", "-o", "weft.driver=routed", "second")
    one.run("web", network="prod")
    said = one.refused("network", "connect", "second", "web")
    assert "networks prod and docker-10.61.0.0-16 have the same next hop 169.254.1.1/32" in said, said
    assert [e.network for e in one.held()] == ["prod"]
    assert one.pings("web", OUTSIDE)
    one.docker("network", "rm", "second")
