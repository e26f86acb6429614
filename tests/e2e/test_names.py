"""Names in the reference lab: containers find each other and services by name, whatever carries their network, and go on doing
so when agents are started again and containers come and go."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.labs import eventually
from support.reach import PeerServer, client, ping, seen_as, weft
from weft.lab import Lab
from weft.lab.inside import Inside

NETWORKS = {"over": ("vxlan", "node-4"), "flat": ("overlay", "node-4"), "wide": ("routed", "node-2")}
"""Each with its driver, and the host besides node-1 that has a container in it."""

LOOK_UP = """
import json, socket, sys
try:
    print(json.dumps(sorted({found[4][0] for found in socket.getaddrinfo(sys.argv[1], None)})))
except socket.gaierror as error:
    print(json.dumps(error.strerror))
"""


NAME_SERVER = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    query, client = sock.recvfrom(512)
    end = query.index(0, 12) + 5
    found = query[end - 4 : end] == bytes((0, 1, 0, 1))
    record = bytes((0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4)) + socket.inet_aton(sys.argv[2])
    head = query[:2] + bytes((0x81, 0x80, 0, 1, 0, found, 0, 0, 0, 0))
    sock.sendto(head + query[12:end] + (record if found else b""), client)
"""
"""Says the same address for all names."""


def look_up(inside: Inside, name: str, resolving: str = "") -> list[str] | str:
    """What the C library says of a name in a container; a text is its complaint. `resolving`: options, as resolv.conf(5) has
    them."""
    found: list[str] | str = json.loads(
        inside.run(
            ["env", f"RES_OPTIONS={resolving}", sys.executable, "-c", LOOK_UP, name], check=True, timeout=60
        ).stdout
    )
    return found


def addresses(lab: Lab, host: str, name: str) -> list[str]:
    return sorted(str(a.ip) for a in client(lab, host).endpoint(name).addresses)


@pytest.fixture(scope="module", autouse=True)
def networks(lab: Lab) -> Iterator[None]:
    for number, (name, (driver, other)) in enumerate(NETWORKS.items(), start=1):
        prefixes = ("--subnet", f"10.{number}.0.0/16", "--subnet", f"fd10:{number}::/48")
        made = weft(lab, "node-1", "network", "create", name, "--driver", driver, *prefixes)
        assert made.returncode == 0, made.stderr
        lab.run("node-1", f"{name}-web", network=name)
        lab.run(other, f"{name}-db", network=name)
    yield


@pytest.mark.parametrize("network", NETWORKS)
def test_containers_of_two_hosts_find_each_other(lab: Lab, network: str) -> None:
    """By the C library, in both families, and the address is one that answers."""
    second = NETWORKS[network][1]
    web, db = lab.host("node-1").container(f"{network}-web"), lab.host(second).container(f"{network}-db")
    for inside, host, other in ((web, second, f"{network}-db"), (db, "node-1", f"{network}-web")):
        wanted = addresses(lab, host, other)
        assert len(wanted) == 2
        assert eventually(lambda inside=inside, other=other, wanted=wanted: look_up(inside, other) == wanted)
        for name in (f"{other}.{network}", f"{other}.{network}.weft.local", other.upper()):
            assert look_up(inside, name) == wanted
        assert eventually(lambda inside=inside, other=other: ping(inside, other).ok, 20)  # BGP may have to begin


def test_another_network_s_names_are_not_there(lab: Lab) -> None:
    assert isinstance(look_up(lab.host("node-1").container("over-web"), "flat-db"), str)


def test_busybox_asks_as_well(lab: Lab) -> None:
    """Its own resolver, as images with musl or busybox have it: it asks for both families at once."""
    inside = lab.host("node-1").container("over-web")
    said = inside.run(["busybox", "nslookup", "over-db", "127.0.0.11"], check=True, timeout=20).stdout
    assert all(address in said for address in addresses(lab, "node-4", "over-db"))


def test_names_follow_containers(lab: Lab) -> None:
    """One comes on a third host with an alias, gets another name while it runs, and goes."""
    asking = lab.host("node-1").container("over-web")
    third = lab.host("node-3")
    third.run(["ip", "netns", "add", "late"], check=True)
    try:
        assert look_up(asking, "late") == look_up(asking, "cache") == "Name or service not known"
        attached = weft(lab, "node-3", "attach", "late", "--network", "over", "--alias", "cache")
        assert attached.returncode == 0, attached.stderr
        wanted = addresses(lab, "node-3", "late")
        assert eventually(lambda: look_up(asking, "cache") == wanted == look_up(asking, "late"))
        assert weft(lab, "node-1", "endpoint", "label", "late", "--alias", "store", "--alias", "cache-").returncode == 0
        assert eventually(lambda: look_up(asking, "store") == wanted and isinstance(look_up(asking, "cache"), str))
        assert weft(lab, "node-3", "detach", "late").returncode == 0
        assert eventually(lambda: isinstance(look_up(asking, "store"), str))
    finally:
        third.run(["ip", "netns", "del", "late"])


def test_a_service_by_its_name(lab: Lab) -> None:
    """The name leads to its virtual address, and that to a member on another host; `tasks.` to the member itself."""
    web, db = lab.host("node-1").container("over-web"), lab.host("node-4").container("over-db")
    made = weft(lab, "node-1", "service", "create", "shop", "-n", "over", "--port", "7001", "--member", "over-db")
    assert made.returncode == 0, made.stderr
    virtual = sorted(map(str, client(lab, "node-1").service("shop").service.addresses))
    assert len(virtual) == 2
    for name in ("shop", "shop.over.weft.local"):
        assert eventually(lambda name=name: look_up(web, name) == virtual)
    assert look_up(web, "tasks.shop") == addresses(lab, "node-4", "over-db")
    with PeerServer(db):
        assert eventually(lambda: seen_as(web, "shop") in addresses(lab, "node-1", "over-web"))
    assert weft(lab, "node-1", "service", "rm", "shop").returncode == 0
    assert eventually(lambda: isinstance(look_up(web, "shop"), str))


DENIED = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing-out}
spec: {podSelector: {matchLabels: {shut: "yes"}}, policyTypes: [Egress]}
"""


def test_a_container_that_may_send_nothing_asks_all_the_same(lab: Lab) -> None:
    """No question leaves its namespace, so that no policy has to allow them; what it is told of is as far as ever."""
    web = lab.host("node-1").container("over-web")
    applied = lab.host("node-1").run([*lab.weft, "policy", "apply", "-f", "-"], input=DENIED, timeout=60)
    assert applied.returncode == 0, applied.stderr
    try:
        assert weft(lab, "node-1", "endpoint", "label", "over-web", "shut=yes").returncode == 0
        assert eventually(lambda: not ping(web, "over-db", wait=1).ok)
        assert look_up(web, "over-db") == addresses(lab, "node-4", "over-db")
    finally:
        weft(lab, "node-1", "endpoint", "label", "over-web", "shut-")
        weft(lab, "node-1", "policy", "rm", "default/nothing-out")
    assert eventually(lambda: ping(web, "over-db").ok)


def test_a_question_waits_for_an_agent_that_is_started_again(lab: Lab) -> None:
    inside, wanted = lab.host("node-1").container("over-web"), addresses(lab, "node-4", "over-db")
    assert lab.agent("node-1").end(signal.SIGKILL)
    script = ["env", "RES_OPTIONS=timeout:3 attempts:5", sys.executable, "-c", LOOK_UP, "over-db"]
    with inside.popen(script) as asking:
        assert eventually(lambda: b"127.0.0.11" in _waiting(inside))
        assert asking.poll() is None
        lab.agent("node-1").start()
        out, _ = asking.communicate(timeout=60)
    assert json.loads(out) == wanted


def _waiting(inside: Inside) -> bytes:
    """Sockets that are connected to a name server."""
    return inside.run(["ss", "-Hnu", "dst", "127.0.0.11"]).stdout.encode()


def test_a_container_that_ends_leaves_nothing(lab: Lab) -> None:
    """Though our sockets are in its namespace: the host's end of its interface goes only with that."""
    before = {e.id for e in client(lab, "node-2").endpoints(node="node-2")}
    host = lab.host("node-2")
    host.run(["ip", "netns", "add", "short"], check=True)
    attached = weft(lab, "node-2", "attach", "short", "--network", "over", "--dns")
    assert attached.returncode == 0, attached.stderr
    device = client(lab, "node-2").endpoint("short").host_interface
    file = "/etc/netns/short/resolv.conf"
    assert host.run(["test", "-s", file]).returncode == 0
    assert host.run(["ip", "link", "show", device]).returncode == 0
    host.run(["ip", "netns", "del", "short"], check=True)
    assert eventually(lambda: host.run(["ip", "link", "show", device]).returncode != 0)
    assert eventually(lambda: {e.id for e in client(lab, "node-2").endpoints(node="node-2")} == before)
    assert eventually(lambda: host.run(["test", "-e", file]).returncode != 0)


def test_without_names_nothing_is_in_the_container(lab: Lab) -> None:
    made = weft(
        lab, "node-1", "network", "create", "mute", "--driver", "bridge", "--subnet", "10.9.0.0/16", "-O", "dns=off"
    )
    assert made.returncode == 0, made.stderr
    host = lab.host("node-2")
    lab.run("node-2", "quiet", network="mute")
    try:
        inside = host.container("quiet")
        assert inside.run(["nft", "list", "ruleset"], check=True).stdout.strip() == ""
        assert "127.0.0.11" not in inside.run(["ss", "-Hlnut"], check=True).stdout
        refused = weft(lab, "node-2", "attach", "quiet", "--network", "mute", "--interface", "eth1", "--dns")
        assert refused.returncode != 0 and "dns is off" in refused.stderr
    finally:
        lab.rm("node-2", "quiet")


def test_detached_nothing_of_ours_stays_in_a_namespace(lab: Lab) -> None:
    host = lab.host("node-2")
    lab.run("node-2", "once", network="over")
    inside = host.container("once")
    assert "127.0.0.11" in inside.run(["ss", "-Hlnu"], check=True).stdout
    assert weft(lab, "node-2", "detach", "once").returncode == 0
    assert inside.run(["nft", "list", "ruleset"], check=True).stdout.strip() == ""
    assert "127.0.0.11" not in inside.run(["ss", "-Hlnut"], check=True).stdout
    host.run(["ip", "netns", "del", "once"], check=True)


def test_other_names_are_asked_of_the_host_s_servers(lab: Lab) -> None:
    """Also at a loopback address of the host's, and as its file says by then; not for a container without a way out."""
    host = lab.host("node-1")
    if host.run(["mountpoint", "-q", "/etc"]).returncode:
        pytest.skip("needs overlayfs: /etc is the machine's")
    made = weft(
        lab, "node-1", "network", "create", "shut", "--driver", "vxlan", "--subnet", "10.8.0.0/16", "--internal"
    )
    assert made.returncode == 0, made.stderr
    lab.run("node-1", "shut-in", network="shut")
    open_, shut = host.container("over-web"), host.container("shut-in")
    servers = (("127.0.0.53", "192.0.2.53"), ("127.0.0.54", "192.0.2.54"))
    with ExitStack() as running:
        for server, said in servers:
            process = running.enter_context(host.popen([sys.executable, "-c", NAME_SERVER, server, said]))
            running.callback(process.kill)
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            host.run(["tee", "/etc/resolv.conf"], input=f"nameserver {server}\n", check=True)
            name = f"www.{server}.example"
            assert eventually(lambda name=name, said=said: look_up(open_, name) == [said])
            assert isinstance(look_up(shut, name), str)
        assert look_up(shut, "shut-in") == addresses(lab, "node-1", "shut-in")
