"""`weft netns` and `weft links` beside Debian's Docker: its containers by whatever name, and the ways that its and Weft's
networks make."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from support.docker import Engine
from support.inspected import inside, namespaces, of_pid, way
from weft.lab.lab import WEFT

CREATE = ("network", "create", "-d", "weft", "--ipam-driver", "weft")
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def swarm(one: Engine, nothing_stays: None) -> Iterator[Engine]:
    """A swarm of one, with Docker's own overlay network `native`."""
    own = next(n for n in one.client.nodes() if n.this)
    address = next(str(a.ip) for a in own.addresses if a.version == 4)
    one.docker("swarm", "init", "--advertise-addr", address, timeout=120)
    one.docker("network", "create", "-d", "overlay", "--attachable", "--subnet", "10.99.0.0/24", "native")
    yield one
    one.docker("rm", "-f", *one.docker("ps", "-aq").split())
    one.docker("swarm", "leave", "--force", timeout=120)


def test_a_container_by_name_id_pid_and_namespace(one: Engine) -> None:
    one.docker("network", "create", "plain")
    try:
        one.run("web", network="plain")
        one.run("beside", network="container:web")
        about = one.inspect("web")
        key = about["NetworkSettings"]["SandboxKey"]
        pid = str(about["State"]["Pid"])
        expected = of_pid(one.host, pid)
        ids = {one.inspect(name)["Id"]: name for name in ("web", "beside")}
        for name in ("web", "beside", about["Id"][:6], about["Id"], pid, key, key.rsplit("/", 1)[-1]):
            assert inside(one.host, name) == expected, name
        listed = namespaces(one.host)["web"]
        assert listed["engine"] == "docker" and f"net:[{listed['inode']}]" == expected
        assert {c["id"]: c["name"] for c in listed["containers"]} == ids
        assert int(pid) in listed["pids"] and listed["processes"] == 2
        assert listed["paths"] == [key.replace("/var/run/", "/run/")]
        assert one.host.run([*WEFT, "netns", "web", "--", "sh", "-c", "exit 9"]).returncode == 9
        bridge = "br-" + one.docker("network", "inspect", "-f", "{{.Id}}", "plain")[:12]
        hops = way(one.host, "web")
        assert hops[0] == ("start", "eth0", "veth", "web")
        assert (hops[1][0], hops[1][2:]) == ("peer", ("veth", "default"))
        assert hops[2:4] == [("master", bridge, "bridge", "default"), ("route", "eth0", "veth", "default")]
    finally:
        one.docker("rm", "-f", "beside", "web")
        one.docker("network", "rm", "plain")


def test_a_container_in_the_host_s_network(one: Engine) -> None:
    one.run("agentlike", network="host")
    host = namespaces(one.host)["default"]
    assert host["this"] and [c["name"] for c in host["containers"]] == ["agentlike"]
    assert inside(one.host, "agentlike") == of_pid(one.host, "self")


def test_with_a_docker_that_does_not_answer_there_are_ids(one: Engine) -> None:
    one.run("web")
    id = one.inspect("web")["Id"]
    assert one.daemon is not None
    one.daemon.signal(signal.SIGSTOP)
    try:
        (listed,) = [n for n in namespaces(one.host).values() if any(c["id"] == id for c in n["containers"])]
        assert listed["containers"] == [{"engine": "docker", "id": id, "name": ""}]
        assert inside(one.host, id[:12])
    finally:
        one.daemon.signal(signal.SIGCONT)


def test_two_containers_by_the_beginning_that_both_have(one: Engine) -> None:
    """Of seventeen ids two begin alike; that is one too many."""
    firsts: dict[str, list[str]] = {}
    for number in range(17):
        one.docker("create", "--name", f"c{number}", "busybox", "sleep", "1000")
        firsts.setdefault(one.inspect(f"c{number}")["Id"][0], []).append(f"c{number}")
        if len(firsts[max(firsts, key=lambda f: len(firsts[f]))]) == 2:
            break
    first, names = next((first, names) for first, names in firsts.items() if len(names) == 2)
    stopped = one.host.run([*WEFT, "netns", names[0], "--", "true"])
    assert stopped.returncode == 4 and f"container {names[0]} is not running" in stopped.stderr
    one.docker("start", *names)
    done = one.host.run([*WEFT, "netns", first, "--", "true"])
    assert done.returncode == 4 and done.stderr.count("\n") == 1
    assert f"{first} is more than one network namespace: " in done.stderr
    assert all(f"docker {name}, id " in done.stderr for name in names)


def test_the_way_out_of_weft_s_overlay(one: Engine) -> None:
    one.docker(*CREATE, "--subnet", "10.40.0.0/16", "-o", "weft.network=over", "-o", "weft.driver=overlay", "over")
    try:
        one.run("web", network="over")
        one.run("db", network="over")
        hops = way(one.host, "web")
        assert [hop[0] for hop in hops[:5]] == ["start", "peer", "master", "port", "route"]
        assert hops[0] == ("start", "eth0", "veth", "web")
        assert hops[2:5] == [
            ("master", "br0", "bridge", "weft-over"),
            ("port", "vxlan0", "vxlan", "weft-over"),
            ("route", "eth0", "veth", "default"),
        ]
        assert namespaces(one.host)["weft-over"]["engine"] == "weft"
    finally:
        one.docker("rm", "-f", "web", "db")
        one.docker("network", "rm", "over")


def test_the_way_out_of_docker_s_own_overlay(swarm: Engine) -> None:
    """The namespace of a network is Docker's secret: a mount that only it names, `1-` and the beginning of the network's id."""
    swarm.run("web", network="native")
    swarm.run("db", network="native")
    net = "1-" + swarm.docker("network", "inspect", "-f", "{{.Id}}", "native")[:10]
    hops = way(swarm.host, "web")
    assert hops[0] == ("start", "eth0", "veth", "web")
    assert (hops[1][0], hops[1][2:]) == ("peer", ("veth", net))
    assert (hops[2][0], hops[2][1:]) == ("master", ("br0", "bridge", net))
    assert hops[3] == ("port", "vxlan0", "vxlan", net)
    assert hops[4][0] == "route" and hops[4][3] == "default"
    listed = namespaces(swarm.host)[net]
    assert listed["engine"] == "docker" and listed["paths"] == [f"/run/docker/netns/{net}"]
    assert inside(swarm.host, net) == f"net:[{listed['inode']}]"
