"""Published ports in the reference lab: who reaches them, from where, as whom; who does not; and what ends with them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from support.answering import ask, running, serving
from support.labs import eventually
from weft.lab import Lab
from weft.lab.inside import Inside

NODE_1 = {4: "192.168.1.68", 6: "fd00:192:168:1::68"}
NODE_2 = {4: "192.168.1.254", 6: "fd00:192:168:1::254"}
OUTSIDE = {4: "203.0.113.10", 6: "2001:db8:203::10"}
NETWORKS = {"over": ("vxlan", 1, 8080), "flat": ("host-gw", 2, 8081), "lone": ("bridge", 3, 8082)}
"""By name: driver, a number for the prefixes, the port of node-1 that leads to the container there."""

STEADY = """
import socket, sys, time
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], int(sys.argv[2])))
sock.settimeout(0.1)
before = None
while True:
    try:
        sock.send(b"?")
        heard = sock.recv(100).decode().split()[0]
    except OSError:
        heard = "nobody"
    if heard != before:
        print(heard, flush=True)
        before = heard
    time.sleep(0.02)
"""
"""Sends without end from one port, and says whenever somebody else answers."""


def weft(lab: Lab, *words: str, node: str = "node-1") -> subprocess.CompletedProcess[str]:
    return lab.host(node).run([*lab.weft, *words], timeout=60)


def well(lab: Lab, *words: str, node: str = "node-1") -> str:
    done = weft(lab, *words, node=node)
    assert done.returncode == 0, done.stderr
    return done.stdout


def container(lab: Lab, name: str, network: str, *ports: str, node: str = "node-1") -> Inside:
    host = lab.host(node)
    if name not in host.containers():
        host.run(["ip", "netns", "add", name], check=True)
        host.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    well(lab, "attach", name, "--network", network, *(w for port in ports for w in ("--publish", port)), node=node)
    return host.container(name)


@pytest.fixture(scope="module")
def webs(lab: Lab) -> Iterator[dict[str, Inside]]:
    """In each network a container web-NETWORK whose ports 80, TCP and UDP, are published; and a neighbour to it."""
    found = {}
    for name, (driver, number, port) in NETWORKS.items():
        options = ["-O", f"vni={number}"] if driver == "vxlan" else []
        subnets = ["--subnet", f"10.{number}.0.0/16", "--subnet", f"fd00:{number}::/48"]
        well(lab, "network", "create", name, "--driver", driver, *subnets, *options)
        found[name] = container(lab, f"web-{name}", name, f"{port}:80", f"{port}:80/udp")
        container(lab, f"near-{name}", name)
    with (
        serving(found["over"], "over", "tcp/80", "udp/80", "tcp/90", "tcp/91", "tcp/92"),
        serving(found["flat"], "flat", "tcp/80", "udp/80"),
        serving(found["lone"], "lone", "tcp/80", "udp/80"),
    ):
        yield found


def gateway(inside: Inside, family: int) -> str:
    routes = json.loads(inside.run(["ip", f"-{family}", "-j", "route", "show", "default"], check=True).stdout)
    return str(routes[0]["gateway"])


# ------------------------------------------------------------------------------------------------- who reaches them


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("name", NETWORKS)
def test_from_everywhere(lab: Lab, webs: dict[str, Inside], name: str, protocol: str, family: int) -> None:
    """Who comes from another host, or is the host itself, is seen as what it is. Who is on the same bridge is seen as the
    gateway, since the answer has to come back through the host."""
    target = f"{protocol},{NODE_1[family]},{NETWORKS[name][2]}"
    node = lab.host("node-1")
    near = node.container(f"near-{name}")
    seen = {
        "outside": OUTSIDE[family],
        "node-2": NODE_2[family],
        "node-1": NODE_1[family],
        f"node-1/near-{name}": gateway(near, family),
        f"node-1/web-{name}": gateway(near, family),
    }
    for place, source in seen.items():
        assert ask(lab.inside(place), target) == [[name, "80", source]], place


@pytest.mark.parametrize("family", [4, 6])
def test_from_containers_elsewhere(lab: Lab, webs: dict[str, Inside], family: int) -> None:
    """Of another network on the same host by its own address; of the same network on another host by that host's."""
    near, far = lab.inside("node-1/near-flat"), container(lab, "far", "over", node="node-2")
    own = near.run(["ip", "-j", "address", "show", "dev", "eth0", "scope", "global"], check=True).stdout
    addresses = [a["local"] for a in json.loads(own)[0]["addr_info"] if "local" in a]
    target = f"tcp,{NODE_1[family]},8080"
    assert ask(near, target) == [["over", "80", next(a for a in addresses if (":" in a) == (family == 6))]]
    assert ask(far, target) == [["over", "80", NODE_2[family]]]


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_localhost(lab: Lab, webs: dict[str, Inside], protocol: str) -> None:
    targets = [f"{protocol},127.0.0.1,{port}" for _, _, port in NETWORKS.values()]
    answers = ask(lab.host("node-1"), *targets, f"{protocol},::1,8080")
    assert [answer[0] for answer in answers[:3]] == list(NETWORKS)
    assert answers[3] == "ConnectionRefusedError", "the kernel keeps ::1 on the loopback device"


def test_bridges_whose_packets_pass_the_hosts_rules(lab: Lab, webs: dict[str, Inside]) -> None:
    """br_netfilter, as with Docker or Kubernetes beside: then a container's own port needs the hairpin mode."""
    node = lab.host("node-1")
    sysctls = [f"net.bridge.bridge-nf-call-{tool}" for tool in ("iptables", "ip6tables")]
    if node.run(["sysctl", "-n", *sysctls]).returncode:
        pytest.skip("the kernel has no br_netfilter")
    before = node.run(["sysctl", *sysctls], check=True).stdout.replace(" ", "").split()
    try:
        for value in "01":
            node.run(["sysctl", "-qw", *(f"{name}={value}" for name in sysctls)], check=True)
            for place in ("node-1/web-over", "node-1/near-over"):
                answers = ask(lab.inside(place), *(f"tcp,{NODE_1[family]},8080" for family in (4, 6)))
                assert [answer[0] for answer in answers] == ["over", "over"], (value, place)
    finally:
        node.run(["sysctl", "-qw", *before], check=True)


def test_ranges_and_single_addresses(lab: Lab, webs: dict[str, Inside]) -> None:
    well(lab, "detach", "web-over")
    ports = (
        "8080:80",
        "8080:80/udp",
        "9090-9092:90-92",
        f"{NODE_1[4]}:7000:80",
        f"[{NODE_1[6]}]:7001:80",
        "0.0.0.0:7002:80",
    )
    container(lab, "web-over", "over", *ports)
    outside = lab.host("outside")
    heard = ask(outside, *(f"tcp,{NODE_1[f]},{port}" for f in (4, 6) for port in (9090, 9091, 9092)))
    assert [answer[1] for answer in heard] == ["90", "91", "92"] * 2
    heard = ask(outside, *(f"tcp,{NODE_1[f]},{port}" for port in (7000, 7001, 7002) for f in (4, 6)))
    assert [isinstance(answer, list) for answer in heard] == [True, False, False, True, True, False]
    assert ask(lab.host("node-1"), "tcp,127.0.0.1,7000", "tcp,127.0.0.1,7002")[0] == "ConnectionRefusedError"


def test_a_port_that_is_left_to_weft(lab: Lab, webs: dict[str, Inside]) -> None:
    """Told by attach and shown; another one for each container; none that a program has."""
    first, last = lab.host("node-1").run(["sysctl", "-n", "net.ipv4.ip_local_port_range"], check=True).stdout.split()
    numbers = []
    for name in ("any-1", "any-2"):
        with serving(container(lab, name, "flat", ":80", ":80/udp"), name, "tcp/80", "udp/80"):
            shown = json.loads(well(lab, "endpoint", "show", name, "-o", "json"))
            tcp, udp = (port["host_port"] for port in shown["ports"])
            told = well(lab, "attach", name, "--network", "flat", "--publish", ":80", "--publish", ":80/udp")
            assert f"published {tcp}:80/tcp, {udp}:80/udp" in told
            heard = ask(lab.host("outside"), f"tcp,{NODE_1[4]},{tcp}", f"udp,{NODE_1[6]},{udp}")
            assert [answer[:2] for answer in heard] == [[name, "80"]] * 2
            numbers += [tcp]
    assert len(set(numbers)) == 2 and all(int(first) <= number <= int(last) for number in numbers)


def test_sctp(lab: Lab, webs: dict[str, Inside]) -> None:
    probe = "import socket; socket.socket(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_SCTP)"
    if lab.host("node-1").run([sys.executable, "-SIc", probe]).returncode:
        pytest.skip("the kernel has no SCTP: no socket of IPPROTO_SCTP can be made")
    inside = container(lab, "signal", "over", "2905:2905/sctp")
    with serving(inside, "signal", "sctp/2905"):
        for family in (4, 6):
            assert ask(lab.host("outside"), f"sctp,{NODE_1[family]},2905") == [["signal", "2905", OUTSIDE[family]]]


# ---------------------------------------------------------------------------------------------------- who does not


def loopback_by(place: Inside, via: str) -> None:
    """Packets to 127.0.0.1 leave by eth0: what a neighbour with bad intentions does."""
    for line in (
        "ip address del 127.0.0.1/8 dev lo",
        "sysctl -qw net.ipv4.conf.eth0.route_localnet=1",
        f"ip route add 127.0.0.1/32 via {via} dev eth0",
    ):
        place.run(line.split(), check=True)


def test_nobody_else_reaches_the_hosts_loopback_address(lab: Lab, webs: dict[str, Inside]) -> None:
    """Neither programs that listen there nor ports published there: from a container, from a host of the segment."""
    node = lab.host("node-1")
    local = container(lab, "local", "over", "127.0.0.1:7500:80")
    with serving(local, "local", "tcp/80"), serving(node, "program", "tcp/7600", "udp/7600"):
        wanted = ("tcp,127.0.0.1,7500", "tcp,127.0.0.1,7600", "udp,127.0.0.1,7600")
        assert [answer[0] for answer in ask(node, *wanted)] == ["local", "program", "program"]
        assert ask(lab.host("node-2"), f"tcp,{NODE_1[4]},7500") == ["ConnectionRefusedError"]
        bad = container(lab, "bad", "over")
        loopback_by(bad, gateway(bad, 4))
        loopback_by(lab.host("node-3"), NODE_1[4])
        for place in (bad, lab.host("node-3")):
            assert all(isinstance(answer, str) for answer in ask(place, *wanted)), place.name


def refused(lab: Lab, name: str, network: str, *ports: str) -> str:
    if name not in lab.host("node-1").containers():
        lab.host("node-1").run(["ip", "netns", "add", name], check=True)
    done = weft(lab, "attach", name, "--network", network, *(w for port in ports for w in ("--publish", port)))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_clashes_are_refused(lab: Lab, webs: dict[str, Inside]) -> None:
    port = "publish another, or free that first\n"
    has = "web-flat in network flat already (8081:80/tcp)"
    assert refused(lab, "more", "over", "8081:80") == f"weft: port 8081/tcp leads to {has}: {port}"
    assert has in refused(lab, "more", "lone", f"{NODE_1[4]}:8081:80")
    assert has in refused(lab, "more", "lone", "8081-8090:81-90")
    assert "are the same port: publish it once" in refused(lab, "more", "lone", "8888:1", "0.0.0.0:8888:2")
    with serving(lab.host("node-1"), "program", "tcp/7700", "udp/7701"):
        assert "port 7700/tcp of this host is held by " in refused(lab, "more", "over", "7700:80")
        assert "port 7701/udp of this host is held by " in refused(lab, "more", "over", "7701:80/udp")
    assert "10.9.9.9 is not an address of this host" in refused(lab, "more", "over", "10.9.9.9:7700:80")
    assert [e for e in json.loads(well(lab, "endpoint", "ls", "-o", "json")) if e["name"] == "more"] == []
    container(lab, "more", "over", "8081:80/sctp", "7700:80")  # what was refused left nothing taken behind
    container(lab, "elsewhere", "over", "8081:80", node="node-2")  # and another host has ports of its own


def test_internal_networks_publish_nothing(lab: Lab) -> None:
    well(lab, "network", "create", "inner", "--driver", "bridge", "--subnet", "10.9.0.0/16", "--internal")
    assert "network inner is internal: nothing outside of it reaches" in refused(lab, "closed", "inner", "7800:80")


# ------------------------------------------------------------------------------------------------ what lasts, what ends


def test_a_restarted_agent_and_a_forward_policy_of_drop(lab: Lab, webs: dict[str, Inside]) -> None:
    node, agent = lab.host("node-1"), lab.agent("node-1")
    with running(lab.host("outside"), STEADY, NODE_1[4], "8081") as client:
        assert client.stdout and client.stdout.readline() == "flat\n"
        agent.end(signal.SIGKILL)
        assert ask(node, "tcp,127.0.0.1,8081") == [["flat", "80", gateway(webs["flat"], 4)]]
        for tool in ("iptables-nft", "ip6tables-nft"):
            node.run([tool, "-P", "FORWARD", "DROP"], check=True)
        agent.start()
        agent.wait_ready()
        assert eventually(lambda: "WEFT-FORWARD" in node.run(["iptables-nft", "-S", "FORWARD"]).stdout)
        assert eventually(lambda: well(lab, "plan") == "")
        answers = ask(lab.host("outside"), *(f"tcp,{NODE_1[family]},8081" for family in (4, 6)))
        assert answers == [["flat", "80", OUTSIDE[family]] for family in (4, 6)]
        assert "web-flat in network flat already" in refused(lab, "late", "over", "8081:80")


@pytest.mark.parametrize("family", [4, 6])
def test_a_removed_mapping_cuts_its_flows_off(lab: Lab, webs: dict[str, Inside], family: int) -> None:
    """A client that never stops sending hears nobody, and then whoever publishes the port next."""
    one, two = container(lab, "one", "over", "5353:53/udp"), container(lab, "two", "over")
    with (
        serving(one, "one", "udp/53"),
        serving(two, "two", "udp/53"),
        running(lab.host("outside"), STEADY, NODE_1[family], "5353") as client,
    ):
        assert client.stdout
        hear(client.stdout, "one")
        well(lab, "detach", "one")
        hear(client.stdout, "nobody")
        well(lab, "detach", "two")
        container(lab, "two", "over", "5353:53/udp")
        hear(client.stdout, "two")
    well(lab, "detach", "two")


def hear(lines: Iterator[str], answer: str) -> None:
    """Waits for it. On a busy machine one comes late now and then: that is nobody, and then the same as before."""
    assert any(line == f"{answer}\n" for line in lines), "the client ended"


def test_shown(lab: Lab, webs: dict[str, Inside]) -> None:
    assert "8081:80/tcp, 8081:80/udp" in well(lab, "endpoint", "show", "web-flat")
    shown: Sequence[dict[str, object]] = json.loads(well(lab, "endpoint", "ls", "--network", "flat", "-o", "json"))
    [web] = [e for e in shown if e["name"] == "web-flat"]
    assert web["ports"] == [
        {"host_port": 8081, "container_port": 80, "protocol": protocol, "host_ip": None, "count": 1}
        for protocol in ("tcp", "udp")
    ]


def test_nothing_is_left(lab: Lab, webs: dict[str, Inside]) -> None:
    for name in lab.host("node-1").containers():
        well(lab, "detach", name, "--if-attached")
    listed = lab.host("node-1").run(["nft", "list", "table", "inet", "weft"], check=True).stdout
    assert "publish" not in listed and "hairpin" not in listed
    localnet = [f"net.ipv4.conf.weft-{name}.route_localnet" for name in NETWORKS]
    assert lab.host("node-1").run(["sysctl", "-n", *localnet], check=True).stdout.split() == ["0", "0", "0"]
    assert ask(lab.host("outside"), f"tcp,{NODE_1[4]},8081") == ["ConnectionRefusedError"]
