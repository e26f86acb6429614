"""The sockets by which containers ask for names, and the rules that lead to them."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

import pytest

from support.namespaces import Home
from support.waiting import until
from weft.base.errors import NotFound, WeftError
from weft.compile import names
from weft.hoststate import Object
from weft.kernel.host import resolvers
from weft.kernel.host.resolvers import ADDRESS, PORT, Sockets
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing import netns as plumbing
from weft.reconcile.protocol import Create, Remove

opened: list[Sockets] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


def open_in(path: str, cookie: int = 0) -> Sockets:
    found = resolvers.open_all({path: cookie})[path]
    assert not isinstance(found, WeftError), found
    opened.append(found)
    return found


def ask(path: str, port: int = 53) -> socket.socket:
    """A UDP socket inside, connected, that has asked."""

    def inside() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(2)
        sock.connect((ADDRESS, port))
        sock.send(b"question")
        return sock

    return plumbing.call(path, inside)


def answer(found: Sockets) -> None:
    found.udp.setblocking(True)
    found.udp.settimeout(2)
    data, who = found.udp.recvfrom(512)
    found.udp.sendto(data.upper(), who)


def rules(path: str, port: int, kernel: LinuxKernel) -> list[Object]:
    made = list(names._rules(path, port))
    assert kernel.apply([Create(obj) for obj in made]) == []
    return made


def test_a_question_at_port_53_reaches_the_socket(netns: Home) -> None:
    space, kernel = netns.new(), LinuxKernel()
    found = open_in(space.path)
    wanted = rules(space.path, found.port, kernel)
    with ask(space.path) as asking:
        answer(found)
        assert asking.recv(512) == b"QUESTION"
    found.tcp.setblocking(True)
    found.tcp.settimeout(2)
    with plumbing.call(space.path, lambda: socket.create_connection((ADDRESS, 53), 2)):
        found.tcp.accept()[0].close()
    reading = kernel.read({obj.key: obj for obj in wanted}, {space.path})
    assert {obj.key for obj in wanted} <= reading.objects.keys()
    kernel.close()


def test_a_container_may_have_a_name_server_of_its_own(netns: Home) -> None:
    space = netns.new()
    open_in(space.path)

    def serve() -> None:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as sock:
                sock.bind(("0.0.0.0", 53))

    plumbing.call(space.path, serve)


def test_a_port_that_is_taken_is_not_ours(netns: Home) -> None:
    space = netns.new()
    assert open_in(space.path).port == PORT
    other = open_in(space.path)
    assert other.port not in (0, PORT)
    assert resolvers.others({space.path: PORT}) == {space.path: other.port}


def test_no_other_resolver(netns: Home) -> None:
    space = netns.new()
    assert resolvers.others({space.path: open_in(space.path).port, "/run/netns/none": 1}) == {}


def test_loopback_is_set_up_where_nobody_did(netns: Home) -> None:
    space = netns.new()
    space.run("ip", "link", "set", "lo", "down")
    open_in(space.path)
    assert "UP" in space.run("ip", "link", "show", "lo")


def test_another_namespace_at_the_path_is_not_entered(netns: Home) -> None:
    space = netns.new()
    assert open_in(space.path, plumbing.cookie(space.path))
    assert isinstance(resolvers.open_all({space.path: 1})[space.path], NotFound)
    assert isinstance(resolvers.open_all({"/run/netns/none": 0})["/run/netns/none"], NotFound)


def test_identity_tells_namespaces_apart(netns: Home) -> None:
    one, two = netns.new(), netns.new()
    assert resolvers.identity(one.path) == resolvers.identity(one.path) != resolvers.identity(two.path)
    assert resolvers.identity("/run/netns/none") == resolvers.identity("\0") == 0


def test_while_nobody_listens_a_question_waits(netns: Home) -> None:
    """Without the rule it is refused at once: the name is said not to be there, where it only has to be asked again."""
    space, kernel = netns.new(), LinuxKernel()
    first = open_in(space.path)
    rules(space.path, first.port, kernel)
    first.close()
    with ask(space.path) as asking:
        asking.settimeout(0.3)
        with pytest.raises(TimeoutError):
            asking.recv(512)
        again = open_in(space.path)
        assert again.port == first.port
        asking.settimeout(2)
        asking.send(b"again")
        answer(again)
        assert asking.recv(512) == b"AGAIN"
    kernel.close()


def test_a_namespace_lives_as_long_as_its_socket(netns: Home) -> None:
    """What the agent has to look after (`weft.agent.names`)."""
    netns.run("ip", "link", "add", "outer", "type", "veth", "peer", "name", "inner")
    holder = subprocess.Popen(["unshare", "--net", "sleep", "100"])
    try:
        path = f"/proc/{holder.pid}/ns/net"
        until(lambda: resolvers.identity(path) not in (0, resolvers.identity(plumbing.OWN)), 5, "its namespace")
        netns.run("ip", "link", "set", "inner", "netns", str(holder.pid))
        found = open_in(path)
    finally:
        holder.kill()
        holder.wait()
    assert resolvers.identity(path) == 0
    assert "outer" in netns.run("ip", "link")
    found.close()
    until(lambda: "outer" not in netns.run("ip", "link"), 10, "the end of the veth")


@pytest.mark.parametrize("ended", [False, True])
def test_nothing_is_remembered_of_a_namespace_without_rules(netns: Home, ended: bool) -> None:
    """Containers come and go by the thousand."""
    space, kernel = netns.new(), LinuxKernel()
    made = rules(space.path, PORT, kernel)
    assert space.path in kernel._nft._known
    if ended:
        space.close()
    assert kernel.apply([Remove(obj) for obj in made]) == []
    assert space.path not in kernel._nft._known
    kernel.close()
