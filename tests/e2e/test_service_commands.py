"""`weft service` in the reference lab: what it makes, what it shows, and what it refuses before anything changes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.answering import serving
from support.reach import NODES, UNDERLAY, attached, client, make_network, refused, weft
from support.services import spread
from support.waiting import until
from weft.api import services as s
from weft.api import types as t
from weft.client.connection import ask
from weft.lab import Lab

REFUSED = "ConnectionRefusedError"
NOT_FOUND = 4
"""The command's exit status."""


class World:
    """Networks `blue` (vxlan), `flat` (overlay) and `inner` (internal); members `a` on node-1 and `b` on node-2, and a client
    `c` on node-1, all in `blue`; `d` in `flat`, which is the whole of the port 8081 on node-3."""

    def __init__(self, lab: Lab, stack: ExitStack) -> None:
        self.lab = lab
        make_network(lab, "blue", "vxlan", "10.1.0.0/16", "fd00:1::/48")
        make_network(lab, "flat", "overlay", "10.2.0.0/24")
        make_network(lab, "inner", "vxlan", "10.3.0.0/16", internal=True, vni=77)
        self.a = attached(lab, "node-1", "a", "blue", "--label", "app=web")
        self.b = attached(lab, "node-2", "b", "blue", "--label", "app=web")
        self.c = attached(lab, "node-1", "c", "blue")
        self.d = attached(lab, "node-3", "d", "flat", "--publish", "8081:80")
        for name, member in (("a", self.a), ("b", self.b)):
            stack.enter_context(serving(member.inside, name, "tcp/8080", "udp/5353"))
        stack.enter_context(serving(self.d.inside, "d", "tcp/80"))

    def says(self, words: str, host: str = "node-1") -> str:
        done = weft(self.lab, host, "service", *shlex.split(words))
        assert done.returncode == 0, done
        return done.stdout + done.stderr

    def members(self, ref: str, host: str = "node-1") -> dict[str, s.MemberInfo]:
        return {member.name: member for member in client(self.lab, host).service(ref).members}


@pytest.fixture(scope="module")
def world(lab: Lab) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(lab, stack)


def test_a_service_from_beginning_to_end(world: World) -> None:
    said = world.says("create shop -n blue --port 80:8080 --select app=shop")
    assert "created service shop in network blue, address 10.1.255." in said and ": no members" in said
    assert "warning: service shop has no member yet: no container of network blue has labels app=shop" in said
    assert "No members: no container of network blue has labels app=shop." in world.says("show shop", "node-4")
    said = world.says("set shop --select app=web --port 80:8080 --port 53:5353/udp --publish 8000:80 --publish :80")
    assert ": 2 of 2 members ready" in said
    until(lambda: "8000:80" in world.says("show shop", "node-4"), 10, "node-4 hears of the change")
    info = client(world.lab, "node-4").service("shop")
    assert [port.container_port for port in info.service.published] == [80, 80]
    vip = str(info.service.addresses[0])
    until(lambda: spread(world.c.inside, vip, 53, 1, "udp").by, 10, "an answer")
    until(lambda: sum(m.connections or 0 for m in world.members("shop").values()) >= 1, 5, "a connection is counted")
    assert {m.name: m.node for m in info.members} == {"a": "node-1", "b": "node-2"}
    assert world.says("ls --network flat").splitlines()[1:] == []
    [row] = [line for line in world.says("ls").splitlines() if line.startswith("shop")]
    assert "2 of 2 ready" in row and vip in row
    assert "removed service blue/shop" in world.says("rm blue/shop")
    assert "no service shop: `weft service ls` shows those there are" in refused(
        world.lab, "service show shop", NOT_FOUND
    )


def test_a_member_that_is_drained_takes_nothing_new_until_it_is_back(world: World) -> None:
    world.says("create web -n blue --port 80:8080 --select app=web --drain 1")
    vip = str(client(world.lab, "node-1").service("web").service.addresses[0])
    until(lambda: set(spread(world.c.inside, vip, 80, 20).by) == {"a", "b"}, 10, "both members answer")
    assert "b takes no new connections of service web; those that it has end" in world.says("drain web b", "node-3")
    until(lambda: set(spread(world.c.inside, vip, 80, 20).by) == {"a"}, 10, "only the other member answers")
    until(lambda: world.members("web")["b"].state == "out", 5, "its time is over")
    assert "out: drained" in world.says("show web")
    assert "b takes new connections of service web again" in world.says("drain web b --back")
    until(lambda: set(spread(world.c.inside, vip, 80, 20).by) == {"a", "b"}, 10, "both members answer")
    world.says("rm web")


def test_what_no_member_takes_is_refused_and_counted(world: World) -> None:
    before = refusals(world.lab)
    world.says("create empty -n blue --port 80 --select nobody --publish 8009")
    vip = str(client(world.lab, "node-1").service("empty").service.addresses[0])
    for inside, address, port in (
        (world.c.inside, vip, 80),
        (world.lab.host("outside"), UNDERLAY["node-1"][4], 8009),
    ):
        until(lambda i=inside, a=address, p=port: REFUSED in spread(i, a, p, 1).failed, 10, "a refusal")  # type: ignore[misc]
        assert spread(inside, address, port, 5).failed == {REFUSED: 5}
    assert refusals(world.lab) - before >= 10
    world.says("rm empty")


def refusals(lab: Lab) -> int:
    text = ask(str(lab.host("node-1").socket), 10, "GET", "/metrics", None).body.decode()
    found = re.search(r"^weft_services_refused_total ([0-9.]+)$", text, re.MULTILINE)
    assert found, text
    return int(float(found[1]))


def test_labels_make_a_service(world: World) -> None:
    labels = "--label weft.service=auto --label weft.service.port=80:8080 --label weft.service.publish=8010"
    attached(world.lab, "node-2", "e", "blue", *labels.split())
    until(
        lambda: [i.service.name for i in client(world.lab, "node-4").services()] == ["auto"], 10, "the service is made"
    )
    assert "made by    containers' labels" in world.says("show auto", "node-4")
    assert world.members("auto", "node-4").keys() == {"e"}
    said = refused(world.lab, "service rm auto")
    assert said == "service auto is made by labels of e: it goes with the last of them"
    assert weft(world.lab, "node-2", "detach", "e").returncode == 0
    until(lambda: client(world.lab, "node-4").services() == (), 10, "it is removed")


def test_what_another_host_cannot_give_is_told_there(world: World) -> None:
    """Port 8081 of node-3 leads to `d`; what node-1 knows nothing of."""
    said = world.says("create clash -n blue --port 80:8080 --select app=web --publish 8081")
    assert "warning" not in said
    text = "port 8081/tcp of this host leads to d in network flat: publish another, or detach that"
    until(lambda: client(world.lab, "node-3").service("clash").problems == (text,), 10, "node-3 tells it")
    assert text in world.says("show clash", "node-3") and text not in world.says("show clash")
    by = {host: lambda at=UNDERLAY[host][4]: spread(world.lab.host("outside"), at, 8081, 10).by for host in NODES}
    until(lambda: set(by["node-4"]()) == {"a", "b"}, 10, "the service is reached by others")
    assert set(by["node-3"]()) == {"d"}, "and the container by its own host's port"
    assert f"service clash: {text}" in weft(world.lab, "node-3", "network", "show", "blue").stdout
    world.says("rm clash")


BAD = {
    "no network": (
        "create x -n none --port 80 --select a",
        "no network none: ",
    ),
    "the name is taken": (
        "create taken -n blue --port 80 --select a",
        "network blue has a service taken already: choose another name, or change that with `weft service set blue/taken`",
    ),
    "the alias is taken": (
        "create x -n blue --port 80 --select a --alias taken",
        "service x: taken is a name of service taken in network blue: choose another",
    ),
    "no name": (
        "create X_Y! -n blue --port 80 --select a",
        "'X_Y!' is not a service name: use 1 to 63 of a-z, 0-9, '.', '_', '-', beginning and ending with a letter or digit",
    ),
    "a selector": (
        "create x -n blue --port 80 --select app==web",
        "'app==web' in selector 'app==web' is none of KEY=VALUE, KEY!=VALUE, KEY, !KEY",
    ),
    "nobody is meant": (
        "create x -n blue --port 80",
        "service x: say which containers it leads to: --select KEY=VALUE, or --member NAME",
    ),
    "both are meant": (
        "create x -n blue --port 80 --select a --member b",
        "service: select members by labels or name them, not both",
    ),
    "no port": (
        "create x -n blue --select a",
        "service x: say which ports its virtual address has: --port 80:8080, or --mode names",
    ),
    "no such port": (
        "create x -n blue --port 80:8080:1 --select a",
        "'80:8080:1' is not a service's port: write it like 80, 80:8080 or web=80:http/tcp (",
    ),
    "a port twice": (
        "create x -n blue --port 80 --port 80:81 --select a",
        "service x: one of its ports is given twice",
    ),
    "published to nowhere": (
        "create x -n blue --port 80 --select a --publish 8000:81",
        "published port 8000:81: it leads to none of the service's ports (80/tcp)",
    ),
    "published to one of several": (
        "create x -n blue --port 80 --port 81 --select a --publish 8000",
        "published port 8000: say to which of the service's ports it leads (80/tcp, 81/tcp), as in 8000:80/tcp",
    ),
    "published by another service": (
        "create x -n flat --port 80 --select a --publish 8001",
        "port 8001/tcp leads to service blue/taken already (8001:80/tcp): publish another, or free that first",
    ),
    "published by a program": (
        "create x -n blue --port 80 --select a --publish 8002",
        "port 8002/tcp of this host is held by ",
    ),
    "published of an internal network": (
        "create x -n inner --port 80 --select a --publish 8003",
        "network inner is internal: nothing outside of it reaches its containers, so no port can be published",
    ),
    "two addresses of a family": (
        "create x -n blue --port 80 --select a --ip 10.1.200.8 --ip 10.1.200.9",
        "service: 10.1.200.8, 10.1.200.9: at most one virtual address of each family",
    ),
    "an address outside": (
        "create x -n blue --port 80 --select a --ip 10.9.0.1",
        "10.9.0.1 is outside network blue: choose one of 10.1.0.0/16, fd00:1::/48",
    ),
    "an address of another service": (
        "create x -n blue --port 80 --select a --ip 10.1.200.7",
        "10.1.200.7 is taken by service blue/taken: choose another, or leave the choice to Weft",
    ),
    "the broadcast address": (
        "create x -n blue --port 80 --select a --ip 10.1.200.255",
        "10.1.200.255 is the broadcast address of subnet 10.1.200.0/24: choose one from 10.1.200.2 to 10.1.200.254",
    ),
    "an address of the gateway": (
        "create x -n flat --port 80 --select a --ip 10.2.0.1",
        "10.2.0.1 is the gateway of subnet 10.2.0.0/24: choose one from 10.2.0.2 to 10.2.0.254",
    ),
    "an address, but only names": (
        "create x -n blue --select a --mode names --ip 10.1.200.9",
        "service x: with mode names it has no virtual address: leave out --ip",
    ),
    "a health check": (
        "create x -n blue --port 80 --select a --health ping",
        "'ping' is not a health check: write it like tcp[:PORT], http[:PORT]/PATH or api",
    ),
    "no such member": (
        "drain taken z",
        "service taken has no member z: it has none",
    ),
}


@pytest.fixture(scope="module")
def taken(world: World) -> Iterator[None]:
    """A service `taken` of `blue`, and a program of node-1 at port 8002."""
    world.says("create taken -n blue --port 80 --select none --publish 8001 --ip 10.1.200.7")
    with world.lab.host("node-1").popen(["python3", "-SIc", LISTEN], stdout=-1) as program:
        assert program.stdout is not None and program.stdout.readline()
        yield
        program.terminate()
    world.says("rm taken")


LISTEN = """
import socket, time
sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
sock.bind(("0.0.0.0", 8002))
sock.listen()
print("ready", flush=True)
sock.accept()
"""


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(world: World, case: str) -> None:
    words, text = BAD[case]
    before = client(world.lab, "node-1").services()
    status = NOT_FOUND if case in ("no network", "no such member") else 1
    assert refused(world.lab, f"service {words}", status).startswith(text)
    assert client(world.lab, "node-1").services() == before


@pytest.mark.usefixtures("taken")
def test_addresses_that_containers_have(world: World) -> None:
    subnet = client(world.lab, "node-1").node("node-2").subnets["blue"][0]
    said = refused(world.lab, f"service create x -n blue --port 80 --select a --ip {subnet[77]}")
    assert said == (
        f"{subnet[77]} is in node-2's subnet {subnet}: choose one that no node has, or leave the choice to Weft"
    )
    there = world.d.address(4)
    said = refused(world.lab, f"service create x -n flat --port 80 --select a --ip {there}")
    assert said == f"{there} is taken by d on node-3: choose another, or leave the choice to Weft"


@pytest.mark.usefixtures("taken")
def test_a_network_with_services_stays(world: World) -> None:
    world.says("create own -n inner --port 80 --select a")
    said = refused(world.lab, "network rm inner")
    assert said == "network inner has 1 services (own): remove them first, or use --force"
    assert weft(world.lab, "node-1", "network", "rm", "inner", "--force").returncode == 0
    assert [i.service.name for i in client(world.lab, "node-1").services()] == ["taken"]
    assert client(world.lab, "node-1").check_ipam(t.CheckIpam()).faults == ()
