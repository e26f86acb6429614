"""Floating addresses in the real kernel: in from outside, out to it, among containers, and what is left when they go."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from support import lab
from support.namespaces import Home, Namespace
from support.routed import Host, Router
from weft.base.net import host_prefix, parse_address

OUTSIDE = ("198.51.100.9", "2001:db8:ee::9")
FLOATING = ("203.0.113.7", "2001:db8:f::7")
SECOND = "203.0.113.8"
PORT = 5353
FAMILIES = pytest.mark.parametrize("six", [False, True], ids=["v4", "v6"])


class Floor:
    """A host with c1 (with floating addresses) and c2, and a machine outside, behind the host's router."""

    def __init__(self, home: Home, run: Path) -> None:
        router = Router(home)
        self.host = Host(home, router, "node-1", lab.network("routed", (4, 6)), run)
        self.outside = home.new()
        self.outside.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "out", "netns", router.ns.path)
        router.ns.sh("ip link set out up")
        self.outside.sh("sysctl -qw net.ipv6.conf.eth0.accept_dad=0")
        self.outside.sh("ip link set eth0 up")
        for address, gateway in zip(OUTSIDE, ("198.51.100.1", "2001:db8:ee::1"), strict=True):
            length = "/64" if ":" in address else "/24"
            router.ns.run("ip", "addr", "add", gateway + length, "dev", "out")
            self.outside.run("ip", "addr", "add", address + length, "dev", "eth0")
            self.outside.run("ip", *["-6"] * (":" in address), "route", "add", "default", "via", gateway)
        for address in (*FLOATING, SECOND):  # as BGP tells the router
            via = self.host.node.address(6 if ":" in address else 4)
            router.ns.run("ip", "route", "add", host_prefix(parse_address(address)), "via", str(via))
        self.host.attach("c1", 2, *FLOATING)
        self.host.attach("c2", 3)
        self.host.converge()
        self.c1, self.c2 = self.host.containers["c1"], self.host.containers["c2"]

    def float(self, *addresses: str) -> None:
        self.host.float(self.host.endpoints["c1"], *addresses)
        self.host.converge()

    def remembered(self, address: str) -> str:
        """By the kernel, of connections with it."""
        listed = self.host.ns.run("conntrack", "-L", "-f", "ipv6" if ":" in address else "ipv4")
        return "\n".join(line for line in listed.splitlines() if f"={address} " in line)


@pytest.fixture
def floor(netns: Home, tmp_path: Path) -> Iterator[Floor]:
    found = Floor(netns, tmp_path)
    yield found
    found.host.close()


@contextmanager
def sock(inside: Namespace, *, six: bool, kind: int = socket.SOCK_DGRAM) -> Iterator[socket.socket]:
    with inside.entered():
        made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    with made:
        made.settimeout(3)
        yield made


def seen(client: Namespace, server: Namespace, address: str) -> str:
    """Who the server takes a client's UDP packet to `address` to be from; the answer came back from just there."""
    with talk(client, server, address) as (one, other):
        return exchange(one, other)


@contextmanager
def talk(client: Namespace, server: Namespace, address: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    six = ":" in address
    with ExitStack() as stack:
        there = stack.enter_context(sock(server, six=six))
        there.bind(("::" if six else "0.0.0.0", PORT))
        here = stack.enter_context(sock(client, six=six))
        here.connect((address, PORT))  # so that answers from anywhere else are not taken
        yield here, there


def exchange(here: socket.socket, there: socket.socket, seconds: float = 10) -> str:
    """ "" where it does not arrive. Asked again and again, since a first packet may be lost: devices that have just come up
    know no neighbours."""
    question = os.urandom(4)
    end = time.monotonic() + seconds
    there.settimeout(min(seconds, 0.5))
    while time.monotonic() < end:
        here.send(question)
        with suppress(TimeoutError):
            source = next(source for said, source in iter(lambda: there.recvfrom(100), None) if said == question)
            there.sendto(question, source)
            while here.recv(100) != question:
                pass
            return str(source[0])
    return ""


@FAMILIES
def test_in_from_outside_and_out_to_it(floor: Floor, six: bool) -> None:
    assert seen(floor.outside, floor.c1, FLOATING[six]) == OUTSIDE[six]
    assert seen(floor.c1, floor.outside, OUTSIDE[six]) == FLOATING[six]
    assert seen(floor.c2, floor.outside, OUTSIDE[six]) == str(floor.host.node.address(6 if six else 4))


@FAMILIES
def test_from_the_host_a_neighbour_and_the_container_itself(floor: Floor, six: bool) -> None:
    assert seen(floor.c2, floor.c1, FLOATING[six]) == floor.host.addresses(3)[six]
    assert seen(floor.c1, floor.c1, FLOATING[six]) == FLOATING[six]
    assert seen(floor.host.ns, floor.c1, FLOATING[six]) == str(floor.host.node.address(6 if six else 4))
    floor.host.ns.run("ip", *["-6"] * six, "route", "del", "default")
    assert seen(floor.host.ns, floor.c1, FLOATING[six]) == str(floor.host.node.address(6 if six else 4))


@FAMILIES
def test_tcp_and_ping(floor: Floor, six: bool) -> None:
    assert "1 received" in floor.outside.run("ping", "-c1", "-W3", FLOATING[six])
    with sock(floor.c1, six=six, kind=socket.SOCK_STREAM) as server:
        server.bind(("", 80))
        server.listen()
        for client in (floor.outside, floor.c2, floor.c1):
            with sock(client, six=six, kind=socket.SOCK_STREAM) as made:
                made.connect((FLOATING[six], 80))
                there, _ = server.accept()
                with there:
                    there.sendall(b"hello")
                    assert made.recv(10) == b"hello"


@FAMILIES
def test_between_containers_nothing_changes(floor: Floor, six: bool) -> None:
    c1, c2 = floor.host.addresses(2)[six], floor.host.addresses(3)[six]
    assert seen(floor.c1, floor.c2, c2) == c1
    assert seen(floor.c2, floor.c1, c1) == c2


def test_the_first_of_several_is_what_others_see(floor: Floor) -> None:
    floor.float(SECOND, *FLOATING)
    assert seen(floor.c1, floor.outside, OUTSIDE[0]) == SECOND
    for address in (FLOATING[0], SECOND):
        assert seen(floor.outside, floor.c1, address) == OUTSIDE[0]


@FAMILIES
def test_removed_it_is_gone_with_its_connections(floor: Floor, six: bool) -> None:
    with talk(floor.outside, floor.c1, FLOATING[six]) as (client, server):
        assert exchange(client, server) == OUTSIDE[six]
        with talk(floor.c1, floor.outside, OUTSIDE[six]) as (inner, outer):
            assert exchange(inner, outer) == FLOATING[six]
            assert len(floor.remembered(FLOATING[six]).splitlines()) == 2
            floor.float()
            assert floor.remembered(FLOATING[six]) == ""
            assert exchange(client, server, 0.3) == ""
            assert exchange(inner, outer) == str(floor.host.node.address(6 if six else 4))
    assert "floating" not in floor.host.ns.run("nft", "list", "table", "inet", "weft")
    assert FLOATING[six] not in floor.host.ns.run("ip", *["-6"] * six, "route")


@FAMILIES
def test_one_that_goes_leaves_the_others_connections_alone(floor: Floor, six: bool) -> None:
    floor.float(SECOND, *FLOATING)
    with talk(floor.outside, floor.c1, FLOATING[six]) as (client, server):
        assert exchange(client, server) == OUTSIDE[six]
        before = floor.remembered(FLOATING[six])
        floor.float(*FLOATING)
        assert floor.remembered(FLOATING[six]).split("src=")[1:] == before.split("src=")[1:] != []


@FAMILIES
def test_a_client_that_was_there_before_the_address_gets_through(floor: Floor, six: bool) -> None:
    floor.float()
    with talk(floor.outside, floor.c1, FLOATING[six]) as (client, server):
        floor.host.ns.run("ip", *["-6"] * six, "route", "add", host_prefix(parse_address(FLOATING[six])), "dev", "eth0")
        # The router's own route leads here, and this one back: it is remembered as one that was not translated.
        assert exchange(client, server, 0.3) == ""
        assert floor.remembered(FLOATING[six])
        floor.host.ns.run("ip", *["-6"] * six, "route", "del", host_prefix(parse_address(FLOATING[six])))
        floor.float(*FLOATING)
        assert exchange(client, server) == OUTSIDE[six]


def test_nothing_is_left_to_do_after_a_restart(floor: Floor) -> None:
    assert floor.host.converge().ops == ()
    floor.host.restart()
    assert floor.host.converge().ops == ()
