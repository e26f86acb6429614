"""Debian's Podman on two hosts, its containers in Weft's networks; everything by the `podman` command."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from support import inspected, podman
from support.places import remove_cgroup, serving
from support.podman import Podman
from support.waiting import until
from weft.lab import Lab
from weft.lab.inside import Inside
from weft.lab.lab import WEFT

pytestmark = pytest.mark.timeout(120)
NETWORKS = {"blue": ("vxlan", "10.20.0.0/16"), "over": ("overlay", "10.30.0.0/16")}
OUTSIDE = "203.0.113.10"
EACH = pytest.mark.parametrize("network", NETWORKS)


@pytest.fixture(scope="module")
def needed() -> None:
    podman.needed()


@pytest.fixture(scope="module")
def podmans(lab: Lab, lab_base: str, archive: Path) -> Iterator[tuple[Podman, ...]]:
    made = tuple(Podman(lab.host(name), Path(lab_base) / "podman" / name) for name in ("node-1", "node-2"))
    try:
        for each in made:
            each.start(archive)
            for name, (driver, subnet) in NETWORKS.items():
                each.network(name, driver, subnet)
        yield made
    finally:
        lab.down()
        for each in made:
            remove_cgroup(each.cgroup)


@pytest.fixture
def one(podmans: tuple[Podman, ...]) -> Podman:
    return podmans[0]


@pytest.fixture
def two(podmans: tuple[Podman, ...]) -> Podman:
    return podmans[1]


@pytest.fixture(autouse=True)
def nothing_stays(lab: Lab, podmans: tuple[Podman, ...]) -> Iterator[None]:
    """After a test Podman removes all containers, and then Weft has no endpoint and the host no device of theirs."""
    yield
    for each in podmans:
        up(lab, each)
        if names := each.names():
            each.remove(*names)
    assert [each.left() for each in podmans] == ["", ""]


def up(lab: Lab, place: Podman) -> None:
    """With its agent, converged."""
    agent = lab.agent(place.host.name)
    if agent.process() is None:
        agent.start()
    agent.wait_ready()
    until(lambda: place.client.status().state == "converged", 20, lambda: str(place.client.status().troubles))


def said(place: Inside, address: str) -> str:
    """What a web server says there; "" where none answers."""
    return place.run(["curl", "-sS", "--max-time", "2", f"http://{address}/"], timeout=30).stdout.strip()


@EACH
def test_containers_of_two_hosts_reach_each_other(one: Podman, two: Podman, network: str) -> None:
    one.run("web", *serving("web"), network=network)
    two.run("db", *serving("db"), network=network)
    web, db = one.address("web", network), two.address("db", network)
    assert one.pings("web", db) and two.pings("db", web)
    until(lambda: one.fetched("web", db) == "db", 5, "db's web server")
    until(lambda: two.fetched("db", web) == "web", 5, "web's web server")
    assert one.pings("web", OUTSIDE)
    assert one.host.run([*WEFT, "plan"]).stdout == ""
    trace = one.host.run([*WEFT, "trace", web, db])
    assert trace.returncode == 0, trace.stdout


def test_containers_of_two_hosts_find_each_other_by_name(one: Podman, two: Podman) -> None:
    one.run("web", "sleep", "1000", network="blue")
    two.run("db", *serving("db"), network="blue", options=("--network-alias", "store"))
    assert "nameserver 127.0.0.11" in one.podman("exec", "web", "cat", "/etc/resolv.conf")
    for name in ("db", "store", "db.blue"):
        until(lambda name=name: one.fetched("web", name) == "db", 10, f"the web server of {name}")


def test_podman_and_weft_say_the_same(one: Podman) -> None:
    one.run("web", "sleep", "1000", network="blue", options=("--network-alias", "shop"))
    web, [held] = one.on("web", "blue"), one.held()
    assert [f"{web['IPAddress']}/{web['IPPrefixLen']}"] == [str(a) for a in held.addresses]
    assert (web["MacAddress"], web["Gateway"]) == (held.mac, str(held.gateways[0]))
    assert held.name == held.labels["io.kubernetes.pod.name"] == "web"
    assert "shop" in held.labels["aliases"].split(",")
    assert f"inet {held.addresses[0]} " in one.podman("exec", "web", "ip", "addr", "show", "eth0")


def test_address_and_mac_as_wished(one: Podman, two: Podman) -> None:
    one.run("web", "sleep", "1000", network="blue")
    wish = str(ip_network(one.held()[0].addresses[0].network)[77])
    wished = ("--ip", wish, "--mac-address", "02:42:00:00:00:99")
    one.run("db", "sleep", "1000", network="blue", options=wished)
    db = one.on("db", "blue")
    assert (db["IPAddress"], db["MacAddress"]) == (wish, "02:42:00:00:00:99")
    assert f"{wish} is taken by db" in one.refused(*one.started("more", "blue", "--ip", wish), one.IMAGE, "true")
    assert "is outside node-2's subnet" in two.refused(*two.started("more", "blue", "--ip", wish), two.IMAGE, "true")
    assert len(one.held()) == 2 and two.left() == ""


@EACH
def test_published_ports(lab: Lab, one: Podman, two: Podman, network: str) -> None:
    one.run("web", *serving("web"), network=network, options=("-p", "8080:80", "-p", "127.0.0.1:8081:80/tcp"))
    for place, address in (
        (lab.host("outside"), "192.168.1.11:8080"),
        (two.host, "192.168.1.11:8080"),
        (one.host, "127.0.0.1:8080"),
        (one.host, "127.0.0.1:8081"),
    ):
        until(lambda place=place, address=address: said(place, address) == "web", 5, f"{address} from {place.name}")
    assert said(two.host, "192.168.1.11:8081") == ""
    clash = one.refused(*one.started("more", "blue", "-p", "8080:80"), one.IMAGE, "true")
    assert "port 8080/tcp leads to web" in clash or "address already in use" in clash
    one.remove("web", "more")
    assert said(lab.host("outside"), "192.168.1.11:8080") == "" and one.left() == ""


def test_several_networks_for_one_container(one: Podman, two: Podman) -> None:
    one.run("web", "sleep", "1000", network="blue,over")
    two.run("db", *serving("db"), network="over")
    assert {e.network for e in one.held()} == {"blue", "over"}
    assert {e.interface for e in one.held()} == {"eth0", "eth1"}  # in an order that Podman rolls dice for
    until(lambda: one.fetched("web", two.address("db", "over")) == "db", 5, "db's web server")
    one.podman("network", "disconnect", "over", "web")
    assert [e.network for e in one.held()] == ["blue"]
    one.podman("network", "connect", "over", "web")
    until(lambda: one.fetched("web", two.address("db", "over")) == "db", 5, "db's web server once more")


def test_published_ports_outlast_every_change_of_networks(lab: Lab, one: Podman, two: Podman) -> None:
    """Podman listens on them itself, by conmon, and passes them to each network, whenever it attaches to one."""

    def answers() -> bool:
        return all(said(place, "192.168.1.11:8080") == "web" for place in (lab.host("outside"), two.host))

    one.run("web", *serving("web"), network="blue,over", options=("-p", "8080:80"))
    until(answers, 5, "with both networks")
    one.podman("network", "reload", "web")
    until(answers, 5, "after a reload")
    for network in ("blue", "over"):
        one.podman("network", "disconnect", network, "web")
        until(answers, 5, f"without {network}")
        assert one.pings("web", OUTSIDE), f"no way out without {network}"
        one.podman("network", "connect", network, "web")
        until(answers, 5, f"with {network} again")
    until(lambda: one.client.status().state == "converged", 20, lambda: str(one.client.status().troubles))
    assert not one.client.status().problems
    clash = one.refused(*one.started("more", "blue", "-p", "8080:80"), one.IMAGE, "true")
    assert "port 8080/tcp leads to web" in clash or "address already in use" in clash


@EACH
def test_nothing_is_left_when_a_container_goes(one: Podman, network: str) -> None:
    """By itself, by `stop`, by `rm`; and it may come back in between."""
    one.podman("run", "--rm", "--cgroup-parent", one.cgroup, "--network", network, one.IMAGE, "true")
    assert one.left() == ""
    one.run("web", "sleep", "1000", network=network)
    one.podman("stop", "-t", "0", "web")
    assert one.left() == ""
    one.podman("start", "web")
    assert len(one.held()) == 1
    known = one.podman("inspect", "-f", "{{.Id}}", "web").strip()
    assert list((one.folder / "var/lib/cni/results").glob(f"*{known}*"))
    one.podman("rm", "-f", "-t", "0", "web")
    assert one.left() == ""
    # After `network reload` Podman may forget a second interface of another container, so only this one's are looked for.
    assert not list((one.folder / "var/lib/cni/results").glob(f"*{known}*")), "Podman knows of no attachment either"


@EACH
def test_the_agent_restarts(lab: Lab, one: Podman, two: Podman, network: str) -> None:
    one.run("web", *serving("web"), network=network, options=("-p", "8080:80"))
    two.run("db", "sleep", "1000", network=network)
    web, before = one.address("web", network), one.left()
    lab.agent(one.host.name).end(signal.SIGKILL)
    assert two.pings("db", web) and said(two.host, "192.168.1.11:8080") == "web"
    up(lab, one)
    assert one.left() == before
    assert two.pings("db", web) and said(two.host, "192.168.1.11:8080") == "web"
    one.remove("web")
    assert one.left() == ""


def test_the_agent_is_down_while_a_container_is_removed(lab: Lab, one: Podman) -> None:
    """Podman removes the container, whatever the plugin says; the agent notices that its namespace is gone."""
    one.run("web", "sleep", "1000", network="blue")
    lab.agent(one.host.name).end(signal.SIGKILL)
    assert "no agent answers" in one.refused(*one.started("more", "blue"), one.IMAGE, "true")
    one.host.run([podman.PODMAN, "rm", "-f", "-t", "0", "web", "more"], timeout=60)
    up(lab, one)
    until(lambda: not one.left(), 20, one.left)


def test_netns_knows_a_container_by_its_name_and_id(one: Podman) -> None:
    one.run("web", "sleep", "1000", network="over")
    id, pid = one.podman("inspect", "-f", "{{.Id}} {{.State.Pid}}", "web").split()
    for name in ("web", id, id[:8], pid):
        assert inspected.inside(one.host, name) == inspected.of_pid(one.host, pid), name
    listed = inspected.namespaces(one.host)["web"]
    assert listed["containers"] == [{"engine": "podman", "id": id, "name": "web"}]
    assert (listed["engine"], listed["pids"]) == ("podman", [int(pid)])
    assert [hop[1] for hop in inspected.way(one.host, "web")[2:4]] == ["br0", "vxlan0"]
