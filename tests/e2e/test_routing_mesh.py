"""The routing mesh in the reference lab: a published port of a service on every host, whoever runs a member."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from support.answering import ask, running, serving
from support.labs import eventually
from support.services import Line, echoing, is_even, line, spread
from weft.lab import Lab
from weft.lab.inside import Inside

NODES = ("node-1", "node-2", "node-3", "node-4")
OUTSIDE = {4: "203.0.113.10", 6: "2001:db8:203::10"}
SERVICES = {
    "over": ("vxlan", 1, 8001),
    "across": ("overlay", 2, 8002),
    "routes": ("routed", 3, 8003),
    "lone": ("bridge", 4, 8004),
}
"""A network, and the service in it, by name: driver, a number for the prefixes, the port of all hosts."""
AT = "node-2"
"""Where the members are."""


def well(lab: Lab, *words: str, node: str = "node-1") -> str:
    done = lab.host(node).run([*lab.weft, *words], timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def container(lab: Lab, name: str, network: str, node: str, *labels: str) -> Inside:
    host = lab.host(node)
    host.run(["ip", "netns", "add", name], check=True)
    host.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    well(lab, "attach", name, "--network", network, *(w for label in labels for w in ("--label", label)), node=node)
    return host.container(name)


def addresses(inside: Inside) -> dict[int, str]:
    """Of the host's uplink, or a container's first interface."""
    shown = json.loads(inside.run(["ip", "-j", "address", "show", "dev", "eth0", "scope", "global"], check=True).stdout)
    return {6 if ":" in a["local"] else 4: a["local"] for a in shown[0]["addr_info"] if "local" in a}


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> dict[str, dict[int, str]]:
    return {node: addresses(lab.host(node)) for node in NODES}


def publish(lab: Lab, name: str, network: str, *words: str) -> None:
    well(lab, "service", "create", name, "--network", network, "--port", "80", "--port", "80/udp", *words)


@pytest.fixture(scope="module")
def members(lab: Lab) -> Iterator[dict[str, Inside]]:
    """In each network a service with one member, and containers `near-` it and on node-1 that are none."""
    with ExitStack() as stack:
        found = {}
        for name, (driver, number, port) in SERVICES.items():
            subnets = ["--subnet", f"10.{number}.0.0/16", "--subnet", f"fd00:{number}::/48"]
            well(lab, "network", "create", name, "--driver", driver, *subnets)
            inside = found[name] = container(lab, f"m-{name}", name, AT, f"app={name}")
            container(lab, f"near-{name}", name, AT)
            container(lab, f"far-{name}", name, "node-1")
            stack.enter_context(serving(inside, name, "tcp/80", "udp/80"))
            publish(lab, name, name, "--select", f"app={name}", "-p", f"{port}:80", "-p", f"{port}:80/udp")
        for node in NODES:
            targets = [f"tcp,{addresses(lab.host(node))[6]},{port}" for _, _, port in SERVICES.values()]
            wanted = [[name, "80", OUTSIDE[6]] for name in SERVICES]
            assert eventually(lambda t=targets, w=wanted: ask(lab.host("outside"), *t) == w), node  # type: ignore[misc]
        yield found
        for name in SERVICES:
            well(lab, "service", "rm", name)
        for node in NODES:
            assert eventually(lambda n=node: left(lab.host(n)) == ""), "what is left of the mesh"  # type: ignore[misc]


def left(host: Inside) -> str:
    """What there is of the mesh on a host."""
    words = "ip -br link show type vxlan; ip rule; ip -6 rule; ip route show table all; nft list table inet weft"
    found = host.run(["sh", "-c", f"{{ {words}; }} | grep -e weft_mesh -e 'lookup 87' -e 'goto 87' -e mesh- -e entr"])
    return found.stdout


# ------------------------------------------------------------------------------------------------- who reaches them


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("name", SERVICES)
def test_from_outside(
    lab: Lab, members: dict[str, Inside], hosts: dict[str, dict[int, str]], name: str, protocol: str, family: int
) -> None:
    """Every host answers, and the member sees the client's own address."""
    port = SERVICES[name][2]
    heard = ask(lab.host("outside"), *(f"{protocol},{hosts[node][family]},{port}" for node in NODES))
    assert heard == [[name, "80", OUTSIDE[family]]] * len(NODES)


@pytest.mark.parametrize("node", NODES)
def test_from_hosts(lab: Lab, members: dict[str, Inside], hosts: dict[str, dict[int, str]], node: str) -> None:
    """A host is seen as itself; as the host that it asked, where this one has to send it back to a member of its own."""
    for family in (4, 6):
        for protocol in ("tcp", "udp"):
            for to in NODES:
                targets = [f"{protocol},{hosts[to][family]},{port}" for _, _, port in SERVICES.values()]
                heard = ask(lab.host(node), *targets)
                assert [answer[:2] for answer in heard] == [[name, "80"] for name in SERVICES], (to, family, protocol)
                seen = {answer[2] for answer in heard}
                back = node == AT != to
                assert seen == {hosts[node][family]} or (back and not seen & {hosts[n][family] for n in NODES}), (
                    to,
                    seen,
                )


@pytest.mark.parametrize("node", NODES)
def test_localhost(lab: Lab, members: dict[str, Inside], node: str) -> None:
    ports = [port for _, _, port in SERVICES.values()]
    heard = ask(lab.host(node), *(f"{protocol},127.0.0.1,{port}" for protocol in ("tcp", "udp") for port in ports))
    assert [answer[:2] for answer in heard] == [[name, "80"] for name in SERVICES] * 2
    assert ask(lab.host(node), f"tcp,::1,{ports[0]}") == ["ConnectionRefusedError"]


@pytest.mark.parametrize("place", ["near", "far"])
@pytest.mark.parametrize("name", SERVICES)
def test_from_containers(
    lab: Lab, members: dict[str, Inside], hosts: dict[str, dict[int, str]], name: str, place: str
) -> None:
    """Of any network, at any host."""
    inside = lab.inside(f"{AT if place == 'near' else 'node-1'}/{place}-{name}")
    for family in (4, 6):
        for to in NODES:
            heard = ask(inside, *(f"tcp,{hosts[to][family]},{port}" for _, _, port in SERVICES.values()))
            assert [answer[:2] for answer in heard] == [[name, "80"] for name in SERVICES], (to, family)


@pytest.mark.parametrize("value", ["0", "1"])
def test_bridges_whose_packets_pass_the_hosts_rules(
    lab: Lab, members: dict[str, Inside], hosts: dict[str, dict[int, str]], value: str
) -> None:
    """br_netfilter, as with Docker or Kubernetes beside: a neighbour on the member's bridge, and the member itself."""
    node = lab.host(AT)
    sysctls = [f"net.bridge.bridge-nf-call-{tool}" for tool in ("iptables", "ip6tables")]
    if node.run(["sysctl", "-n", *sysctls]).returncode:
        pytest.skip("the kernel has no br_netfilter")
    before = node.run(["sysctl", *sysctls], check=True).stdout.replace(" ", "").split()
    try:
        node.run(["sysctl", "-qw", *(f"{name}={value}" for name in sysctls)], check=True)
        for name in ("over", "across"):
            port = SERVICES[name][2]
            targets = [f"tcp,{hosts[to][family]},{port}" for to in (AT, "node-1") for family in (4, 6)]
            for who in ("near", "m"):
                heard = ask(lab.inside(f"{AT}/{who}-{name}"), *targets)
                assert [answer[0] for answer in heard] == [name] * len(targets), who
    finally:
        node.run(["sysctl", "-qw", *before], check=True)


def test_where_sources_are_checked_strictly(
    lab: Lab, members: dict[str, Inside], hosts: dict[str, dict[int, str]]
) -> None:
    """rp_filter=1 on all hosts: from outside, and from a container in whose network the member's host has no way to it."""
    targets = [f"tcp,{hosts['node-4'][4]},{port}" for _, _, port in SERVICES.values()]
    check = "net.ipv4.conf.all.rp_filter"
    before = {node: lab.host(node).run(["sysctl", "-n", check], check=True).stdout.strip() for node in NODES}
    try:
        for node in NODES:
            lab.host(node).run(["sysctl", "-qw", f"{check}=1"], check=True)
        for place in ("outside", "node-1/far-lone"):
            assert [answer[:2] for answer in ask(lab.inside(place), *targets)] == [[name, "80"] for name in SERVICES]
    finally:
        for node, value in before.items():
            lab.host(node).run(["sysctl", "-qw", f"{check}={value}"], check=True)


def test_the_mesh_is_no_way_to_anything_else(lab: Lab, members: dict[str, Inside]) -> None:
    """Neither to a program of another host, by its address in the mesh, nor from a container into the tunnel."""
    shown = json.loads(lab.host(AT).run(["ip", "-j", "address", "show", "dev", "weft_mesh"], check=True).stdout)
    at = next(a["local"] for a in shown[0]["addr_info"] if a["family"] == "inet")
    with serving(lab.host(AT), "program", "tcp/7600", "udp/7600"):
        targets = [f"tcp,{at},7600", f"udp,{at},7600"]
        assert ask(lab.host(AT), *targets) == [["program", "7600", at]] * 2
        assert ask(lab.host("node-1"), *targets) == ["ConnectionRefusedError"] * 2
        assert not any(isinstance(answer, list) for answer in ask(lab.inside("node-1/far-over"), *targets))


# --------------------------------------------------------------------------------------------- which member, for how long

KEPT = 9000


@pytest.fixture(scope="module")
def kept(lab: Lab, members: dict[str, Inside]) -> Iterator[None]:
    """Containers a and b on node-1 and node-2, whose connections last."""
    with ExitStack() as stack:
        for name, node in (("a", "node-1"), ("b", "node-2")):
            inside = container(lab, name, "over", node, "app=kept")
            stack.enter_context(serving(inside, name, "tcp/80", "udp/80"))
            stack.enter_context(echoing(inside, name, KEPT))
        yield


@contextmanager
def published(lab: Lab, name: str, select: str, *words: str) -> Iterator[None]:
    ports = ["--port", "80", "--port", "80/udp", "--port", str(KEPT), "--port", f"{KEPT}/udp"]
    well(lab, "service", "create", name, "--network", "over", "--select", select, *ports, *words)
    try:
        yield
    finally:
        well(lab, "service", "rm", name)


def took(lab: Lab, at: str, port: int, many: int = 100) -> Counter[str]:
    return spread(lab.host("outside"), at, port, many).by


@pytest.mark.parametrize("traffic", ["local-first", "any"])
def test_members_of_the_host_come_first(lab: Lab, kept: None, hosts: dict[str, dict[int, str]], traffic: str) -> None:
    with published(lab, traffic, "app=kept", "-p", "8010:80", "--traffic", traffic):
        for family in (4, 6):
            assert eventually(lambda f=family: is_even(took(lab, hosts["node-4"][f], 8010), 2))  # type: ignore[misc]
            for node, name in (("node-1", "a"), ("node-2", "b")):
                found = took(lab, hosts[node][family], 8010)
                assert set(found) == {name} if traffic == "local-first" else is_even(found, 2)


def test_a_client_keeps_its_member(lab: Lab, kept: None, hosts: dict[str, dict[int, str]]) -> None:
    with published(lab, "sticky", "app=kept", "-p", "8010:80", "--affinity", "client-ip"):
        assert eventually(lambda: len(took(lab, hosts["node-3"][4], 8010)) == 1)
        assert took(lab, hosts["node-3"][4], 8010) == took(lab, hosts["node-3"][4], 8010)


@contextmanager
def open_lines(lab: Lab, at: str, port: int, *names: str) -> Iterator[dict[str, Line]]:
    """Connections from outside by that host, one to each of these members, as soon as they can be had."""
    with ExitStack() as stack:
        found: dict[str, Line] = {}

        def another() -> bool:
            one = stack.enter_context(line(lab.host("outside"), at, port))
            found.setdefault(one.asked(), one)
            return set(found) >= set(names)

        assert eventually(another)
        yield {name: found[name] for name in names}


def test_a_member_goes(lab: Lab, kept: None, hosts: dict[str, dict[int, str]]) -> None:
    """Its connections end as soon as the client sends, others go on; and where the last one is gone, clients are refused."""
    outside, at, ended = lab.host("outside"), hosts["node-3"], ("ConnectionResetError", "closed")
    with ExitStack() as stack:
        for name, node in (("c", "node-1"), ("d", "node-2")):
            inside = container(lab, name, "over", node, "app=going")
            stack.enter_context(echoing(inside, name, KEPT))
        stack.enter_context(published(lab, "going", "app=going", "-p", f"8011:{KEPT}"))
        lines = [stack.enter_context(open_lines(lab, at[family], 8011, "c", "d")) for family in (4, 6)]
        well(lab, "detach", "d", node="node-2")
        assert all(some["d"].asked() in ended for some in lines)
        assert all(some["c"].asked() == "c" for some in lines)
        assert eventually(lambda: not refusing(outside, *at.values()))
        well(lab, "detach", "c", node="node-1")
        assert all(some["c"].asked() in ended for some in lines)
        everywhere = [address for of_node in hosts.values() for address in of_node.values()]
        assert eventually(lambda: refusing(outside, *everywhere) == everywhere)


def refusing(inside: Inside, *addresses: str) -> list[str]:
    """Which of them refuse a connection at once to port 8011. (Who takes one waits to be asked.)"""
    answers = ask(inside, *(f"tcp,{address},8011" for address in addresses))
    return [address for address, answer in zip(addresses, answers, strict=True) if answer == "ConnectionRefusedError"]


def test_changes_elsewhere_and_restarts_leave_connections_alone(
    lab: Lab, kept: None, hosts: dict[str, dict[int, str]]
) -> None:
    at = hosts["node-3"][4]
    with (
        published(lab, "lasting", "app=kept", "-p", f"8012:{KEPT}"),
        open_lines(lab, at, 8012, "a", "b") as lines,
    ):
        with published(lab, "other", "app=kept", "-p", "8013:80"):
            well(lab, "service", "set", "other", "--publish", "8014:80")
            assert eventually(lambda: bool(took(lab, at, 8014, 1)))
        assert {name: one.asked() for name, one in lines.items()} == {"a": "a", "b": "b"}
        for node in ("node-3", "node-2"):
            agent = lab.agent(node)
            agent.end(signal.SIGKILL)
            assert lines["b"].asked() == "b"
            agent.start()
            agent.wait_ready()
        assert {name: one.asked() for name, one in lines.items()} == {"a": "a", "b": "b"}


# ------------------------------------------------------------------------------------------------------- large transfers

SINK = """
import socket, threading
def serve(sock):
    with sock:
        left = 1 << 20
        while left and (data := sock.recv(min(left, 65536))):
            left -= len(data)
        sock.sendall(bytes(1 << 20))
listener = socket.create_server(("::", 81), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

SENDER = """
import socket, sys
for word in sys.argv[2:]:
    with socket.create_connection((word, int(sys.argv[1])), timeout=20) as sock:
        segment, got = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), 0
        sock.sendall(bytes(1 << 20))
        while data := sock.recv(65536):
            got += len(data)
        print(got, segment)
"""


@pytest.mark.parametrize("name", ["over", "across"])
def test_large_transfers(lab: Lab, members: dict[str, Inside], hosts: dict[str, dict[int, str]], name: str) -> None:
    """A mebibyte each way, by a host with the member and by ones without: what the tunnel takes off a packet's size is told to
    both ends."""
    with running(members[name], SINK) as sink:
        assert sink.stdout and sink.stdout.readline() == "ready\n"
        well(lab, "service", "create", "bulk", "-n", name, "--port", "81", "--select", f"app={name}", "-p", "8020:81")
        try:
            at = [hosts[node][family] for node in (AT, "node-1", "node-4") for family in (4, 6)]
            sender = [sys.executable, "-SIc", SENDER, "8020", *at]
            heard: list[list[str]] = []

            def sent() -> bool:
                heard[:] = [text.split() for text in lab.host("outside").run(sender, timeout=60).stdout.splitlines()]
                return [octets for octets, _ in heard] == [str(1 << 20)] * len(at)

            assert eventually(sent)
            assert all(int(segment) <= 1450 - 40 for _, segment in heard[2:]), "it fits into the tunnel"
        finally:
            well(lab, "service", "rm", "bulk")


# ------------------------------------------------------------------------------------------------------- what is refused


def test_clashes_are_refused(lab: Lab, kept: None) -> None:
    """Each in one line, which names what has the port."""
    with published(lab, "mine", "app=kept", "-p", "8030:80"):
        words = ["service", "create", "more", "-n", "over", "--port", "80", "--select", "a", "-p", "8030:80"]
        done = lab.host("node-1").run([*lab.weft, *words], timeout=60)
        assert done.returncode == 1 and "8030/tcp leads to service over/mine" in done.stderr
        lab.host("node-1").run(["ip", "netns", "add", "late"], check=True)
        done = lab.host("node-1").run(
            [*lab.weft, "attach", "late", "--network", "over", "--publish", "8030:80"], timeout=60
        )
        assert done.returncode == 1 and "service over/mine" in done.stderr
    with serving(lab.host("node-1"), "program", "tcp/8031"):
        words = ["service", "create", "more", "-n", "over", "--port", "80", "--select", "a", "-p", "8031:80"]
        done = lab.host("node-1").run([*lab.weft, *words], timeout=60)
        assert done.returncode == 1 and "8031" in done.stderr
