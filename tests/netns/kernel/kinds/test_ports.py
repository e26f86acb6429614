"""Maps of published ports, the connections they have made, ports that programs hold."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.namespaces import Namespace
from weft.base.errors import Conflict, Invalid
from weft.hoststate import Bridge, Link, NftChain, NftElement, NftSet, Object, Veth
from weft.hoststate.firewall import DSTNAT, Hook
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import Nat
from weft.hoststate.rules.matches import DADDR, L4PROTO, TH_DPORT
from weft.kernel.host.listeners import check_free
from weft.model.ports import parse
from weft.reconcile.protocol import Change, Create, Disturbed, Remove

PUBLISHED = [
    NftSet(name=f"published{fam}", type=("inet_proto", "inet_service"), to=(f"ipv{fam}_addr", "inet_service"))
    for fam in (4, 6)
]
AT = NftSet(name="published-at4", type=("ipv4_addr", "inet_proto", "inet_service"), to=("ipv4_addr", "inet_service"))
PORT = L4PROTO + TH_DPORT
DNAT = (
    rule(Nat("dnat", 4, by=DADDR[4] + PORT, map="published-at4")),
    rule(Nat("dnat", 4, by=PORT, map="published4")),
    rule(Nat("dnat", 6, by=PORT, map="published6")),
)
CHAIN, OUTPUT = (
    NftChain(name=f"published-{hook}", hook=Hook(type="nat", hook=hook, priority=DSTNAT), rules=DNAT)
    for hook in ("prerouting", "output")
)
TABLE: list[Object] = [*PUBLISHED, AT, CHAIN, OUTPUT]


def element(value: str, to: str, name: str = "") -> NftElement:
    return NftElement(set=name or ("published6" if "::" in to else "published4"), value=value, to=to)


ELEMENTS = [
    element("tcp . 8080", "10.1.0.2 . 80"),
    element("udp . 53", "10.1.0.2 . 53"),
    element("sctp . 53", "10.1.0.2 . 53"),
    element("tcp . 22", "fd00:1::2 . 22"),
    element("192.168.1.68 . tcp . 8081", "10.1.0.2 . 80", "published-at4"),
]


def test_maps_are_made_read_changed_and_removed(bench: Any) -> None:
    bench.made(*TABLE, *ELEMENTS)
    assert bench.converged(), bench.difference()
    new = element("tcp . 8080", "10.1.0.3 . 8080")
    assert bench.change(ELEMENTS[0], new) == []
    assert bench.converged(), bench.difference()
    assert bench.remove(*ELEMENTS[1:]) == []
    assert bench.converged(), bench.difference()
    assert bench.remove(CHAIN, OUTPUT, new, AT, *PUBLISHED) == []
    assert bench.netns.run("nft", "list", "ruleset") == ""


def test_a_set_that_becomes_a_map(bench: Any) -> None:
    old = NftSet(name="published4", type=("inet_proto", "inet_service"))
    bench.made(old, NftElement(set="published4", value="tcp . 1"))
    assert bench.kernel.apply([Remove(old), Create(PUBLISHED[0]), Create(ELEMENTS[0])]) == []
    assert bench.holds(PUBLISHED[0], ELEMENTS[0])


def test_an_element_changed_by_hand_is_heard_and_found(bench: Any) -> None:
    bench.made(*TABLE, *ELEMENTS)
    watcher = bench.kernel.watch()
    bench.netns.run("nft", "delete element inet weft published4 { tcp . 8080 : 10.1.0.2 . 80 }")
    assert Disturbed("", "rules were changed") in watcher.drain()
    watcher.close()
    assert not bench.converged()
    assert bench.kernel.apply([Create(ELEMENTS[0])]) == []
    assert bench.converged(), bench.difference()


# -- connections -------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(bench: Any) -> Namespace:
    """A container at 10.1.0.2 and fd00:1::2, behind a veth; the test's own namespace is the host."""
    netns, inside = bench.netns, bench.netns.new()
    netns.run("ip", "link", "add", "v", "type", "veth", "peer", "name", "eth0", "netns", inside.path)
    for where, dev, end in ((netns, "v", 1), (inside, "eth0", 2)):
        where.run("ip", "address", "add", f"10.1.0.{end}/24", "dev", dev)
        where.run("ip", "address", "add", f"fd00:1::{end}/64", "dev", dev, "nodad")
        where.run("ip", "link", "set", dev, "up")
    netns.run("ip", "address", "add", "192.168.1.68/32", "dev", "lo")
    netns.run("ip", "address", "add", "fd00:a::68/128", "dev", "lo", "nodad")
    for to, via in (("192.168.1.68/32", "10.1.0.1"), ("fd00:a::68/128", "fd00:1::1")):
        inside.run("ip", "route", "add", to, "via", via)
    for address in ("10.1.0.2", "fd00:1::2"):
        netns.run("ping", "-c", "1", "-W", "5", address)
    return inside


@contextmanager
def udp(address: str, port: int = 0, *, inside: Namespace | None = None) -> Iterator[socket.socket]:
    """Bound there, inside of a container or on the host."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(2)
        made.bind((address, port))
        return made

    if inside is None:
        sock = make()
    else:
        with inside.entered():
            sock = make()
    with sock:
        yield sock


def arrives(source: socket.socket, destination: str, port: int, server: socket.socket) -> bool:
    server.settimeout(0.2)
    source.sendto(b"x", (destination, port))
    try:
        return server.recv(10) == b"x"
    except TimeoutError:
        return False


WAYS = [("192.168.1.68", "10.1.0.2"), ("fd00:a::68", "fd00:1::2")]


@pytest.mark.parametrize(("host", "container"), WAYS)
def test_a_removed_mapping_ends_its_udp_flows(bench: Any, server: Namespace, host: str, container: str) -> None:
    mapping, other = element("udp . 53", f"{container} . 5353"), element("udp . 54", f"{container} . 5353")
    bench.made(*TABLE, mapping, other)
    with udp(host) as client, udp(host) as neighbour, udp(container, 5353, inside=server) as service:
        assert arrives(client, host, 53, service)
        assert arrives(neighbour, host, 54, service)
        bench.remove(mapping)
        assert not arrives(client, host, 53, service)
        listed = bench.netns.run("conntrack", "-L", "-f", "ipv6" if ":" in host else "ipv4")
        assert "dport=54" in listed, "the other mapping's flow goes on"
        assert arrives(neighbour, host, 54, service)


@pytest.mark.parametrize(("host", "container"), WAYS)
def test_a_new_mapping_takes_over_flows_that_began_before(
    bench: Any, server: Namespace, host: str, container: str
) -> None:
    """A client that keeps sending from one port would else never get through."""
    bench.made(*TABLE)
    with udp(host) as client, udp(container, 5353, inside=server) as service:
        for far in ("10.1.0.2", "fd00:1::2"):  # not to this host: none of the mapping's business
            if (":" in far) == (":" in host):
                assert not arrives(client, far, 53, service)
        assert not arrives(client, host, 53, service)
        before = bench.netns.run("conntrack", "-L", "-f", "ipv6" if ":" in host else "ipv4")
        bench.made(element("udp . 53", f"{container} . 5353"))
        assert arrives(client, host, 53, service)
        after = bench.netns.run("conntrack", "-L", "-f", "ipv6" if ":" in host else "ipv4")
        through = f"dst={container} sport={client.getsockname()[1]} dport=53"
        assert through in before and through in after


@pytest.mark.parametrize(("host", "container"), WAYS)
def test_a_mapping_led_elsewhere(bench: Any, server: Namespace, host: str, container: str) -> None:
    old, new = element("udp . 53", f"{container} . 5353"), element("udp . 53", f"{container} . 5454")
    bench.made(*TABLE, old)
    with (
        udp(host) as client,
        udp(container, 5353, inside=server) as first,
        udp(container, 5454, inside=server) as second,
    ):
        assert arrives(client, host, 53, first)
        assert bench.kernel.apply([Change(old, new)]) == []
        assert arrives(client, host, 53, second)


def test_flows_end_when_the_whole_table_goes(bench: Any, server: Namespace) -> None:
    mapping = element("udp . 53", "10.1.0.2 . 5353")
    bench.made(*TABLE, mapping)
    with udp("192.168.1.68") as client, udp("10.1.0.2", 5353, inside=server) as service:
        assert arrives(client, "192.168.1.68", 53, service)
        bench.remove(CHAIN, OUTPUT, AT, *PUBLISHED)
        assert not arrives(client, "192.168.1.68", 53, service)


# -- a bridge's port ---------------------------------------------------------------------------------------------------


def test_a_port_in_hairpin_mode(bench: Any, container: Namespace) -> None:
    bridge = Link(name="weft-n", type=Bridge())
    host = Link(name="vh1", type=Veth("eth0", container.path), master="weft-n", hairpin=True)
    inner = Link(name="eth0", type=Veth("vh1", "", primary=False), ns=container.path)
    bench.made(bridge, host, inner)
    assert bench.converged(), bench.difference()
    assert bench.netns.json("bridge", "-d", "-j", "link", "show", "dev", "vh1")[0]["hairpin"] is True
    plain = Link(name="vh1", type=Veth("eth0", container.path), master="weft-n")
    assert bench.change(host, plain) == []
    assert bench.converged(), bench.difference()
    bench.netns.run("ip", "link", "set", "vh1", "nomaster")
    found = bench.read().objects[host.key]
    assert bench.change(found, host) == []
    assert bench.converged(), bench.difference()


# -- programs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "any_address", "address"), [(4, "0.0.0.0", "127.0.0.1"), (6, "::", "::")])
def test_a_port_that_a_program_listens_on(netns: Any, family: Any, any_address: str, address: str) -> None:
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    with socket.create_server((address, 8080), family=kind):
        with pytest.raises(Conflict, match=r"port 8080/tcp of this host is held by .*python.*, pid \d+: publish"):
            check_free(parse("8079-8081:80-82"), [family])
        check_free(parse("8081"), [family])
        check_free(parse("8080/udp"), [family])
    check_free(parse("8080"), [family])
    with socket.socket(kind, socket.SOCK_DGRAM) as sock:
        sock.bind((any_address, 53))
        with pytest.raises(Conflict, match="port 53/udp of this host is held by"):
            check_free(parse("53/udp"), [family])


def test_a_port_that_podman_keeps_for_the_container_itself(netns: Any, tmp_path: Path) -> None:
    """conmon listens on a container's published ports, and its command line has the container's id."""
    port = parse("8080")
    conmon = tmp_path / "conmon"
    listens = "import socket, sys\nwith socket.create_server(('', 8080)):\n print(flush=True)\n sys.stdin.read()\n"
    conmon.write_text(f"#!{sys.executable}\n{listens}")
    conmon.chmod(0o755)
    with subprocess.Popen([conmon, "-c", "abc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stdout.readline()
        check_free(port, [4], "abc")
        for other in ("", "ab", "xyz"):
            with pytest.raises(Conflict, match=r"is held by conmon, pid \d+"):
                check_free(port, [4], other)
        process.stdin.close()


def test_connections_that_have_ended_do_not_hold_a_port(netns: Any) -> None:
    with socket.create_server(("127.0.0.1", 8080)) as server:
        client = socket.create_connection(("127.0.0.1", 8080))
        accepted, _ = server.accept()
        accepted.close()  # the server's end is the one that waits
        assert client.recv(1) == b""
        client.close()
    assert "TIME-WAIT" in netns.run("ss", "-Htan")
    check_free(parse("8080"), [4, 6])


def test_only_at_addresses_of_this_host(netns: Any) -> None:
    netns.run("ip", "address", "add", "192.168.1.68/32", "dev", "lo")
    with socket.create_server(("127.0.0.1", 8080)):
        check_free(parse("192.168.1.68:8080:80"), [4])
        with pytest.raises(Conflict):
            check_free(parse("127.0.0.1:8080:80"), [4])
    with pytest.raises(
        Invalid, match=r"192.168.1.69 is not an address of this host: publish at one that is, or at all"
    ):
        check_free(parse("192.168.1.69:8080:80"), [4])
