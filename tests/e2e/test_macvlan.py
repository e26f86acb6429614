"""Driver macvlan: containers in the hosts' own network, beside the hosts and the router."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.reach import Container, attached, client, make_network, ping, refused, run, shown, weft
from support.waiting import until
from weft.lab import Lab

HOSTS = ("node-1", "node-2")
ROUTER = {4: "192.168.1.1", 6: "fd00:192:168:1::1"}
OUTSIDE = {4: "203.0.113.10", 6: "2001:db8:203::10"}
SEGMENT = "--subnet 192.168.1.0/24"


@pytest.fixture(scope="module")
def two(lab: Lab) -> list[Container]:
    """A container on each of two hosts of one segment, in its network, dual stack."""
    make_network(lab, "wire", "macvlan", "192.168.1.0/24", "fd00:192:168:1::/64", reserve="192.168.1.128/25")
    return [run(lab, host, f"wire-{host[-1]}", "wire") for host in HOSTS]


def links(c: Container) -> dict[str, dict[str, object]]:
    return {link["ifname"]: link for link in shown(c.inside, "ip -j -d link")}


# ----------------------------------------------------------------------------------------------------------- the kernel


def test_the_device_is_on_the_uplink_and_nothing_is_in_the_host(lab: Lab, two: list[Container]) -> None:
    for c in two:
        eth0 = links(c)["eth0"]
        info = eth0["linkinfo"]
        assert isinstance(info, dict)
        assert (info["info_kind"], info["info_data"]["mode"]) == ("macvlan", "bridge")
        octets = [int(part) for part in c.address(4).split(".")]
        assert eth0["address"] == "02:42:" + ":".join(f"{octet:02x}" for octet in octets) == c.endpoint.mac
        assert eth0["mtu"] == 1500 == c.endpoint.mtu
        assert eth0["ifalias"] == f"weft:endpoint/wire/{c.name}"
        assert "group" not in eth0 or eth0["group"] == "default"
        names = {link["ifname"] for link in shown(lab.host(c.host), "ip -j link")}
        assert not [name for name in names if name.startswith("weft")], names
    assert two[0].address(4) != two[1].address(4)
    assert weft(lab, "node-1", "plan").stdout == ""


def test_across_hosts_the_router_and_what_is_behind_it(lab: Lab, two: list[Container]) -> None:
    """Outside has no route to containers but to the segment: so these answer to their own addresses."""
    first, second = two
    for family in (4, 6):
        assert ping(first.inside, second.address(family)).ttl == 64
        assert ping(first.inside, ROUTER[family]).ttl == 64
        assert ping(first.inside, OUTSIDE[family]).ttl == 63
        assert ping(lab.host("router"), second.address(family)).ok
        assert ping(first.inside, "192.168.1.254" if family == 4 else "fd00:192:168:1::254").ok  # another host
    full = ping(first.inside, second.address(4), "-M", "do", "-s", "1472")
    assert full.ok, full.text
    assert not ping(first.inside, second.address(4), "-M", "do", "-s", "1473", wait=1).ok


def test_the_host_does_not_reach_its_own_container(lab: Lab, two: list[Container]) -> None:
    assert not ping(lab.host("node-1"), two[0].address(4), wait=1).ok


def test_no_router_advertisement_gives_it_an_address(lab: Lab, two: list[Container]) -> None:
    for c in two:
        held = {a["local"] for link in shown(c.inside, "ip -j addr show eth0") for a in link["addr_info"]}
        assert {str(a.ip) for a in c.endpoint.addresses} == {a for a in held if not a.startswith("fe80")}
        assert c.inside.run(["sysctl", "-n", "net.ipv6.conf.eth0.accept_ra"]).stdout == "0\n"


def test_names(lab: Lab, two: list[Container]) -> None:
    second = two[1]
    found = client(lab, "node-1").endpoint("node-1/wire-1")
    assert found.resolver == "127.0.0.11"
    asked = "import socket, sys; print(socket.getaddrinfo(sys.argv[1], 1, socket.AF_INET)[0][4][0])"
    named = attached(lab, "node-1", "asks", "wire", "--dns")
    done = lab.host("node-1").run(["ip", "netns", "exec", "asks", "python3", "-c", asked, second.name], timeout=30)
    assert done.stdout.strip() == second.address(4), done.stderr
    assert weft(lab, "node-1", "detach", named.name).returncode == 0


# ------------------------------------------------------------------------------------------------- who gets which address


def test_none_of_the_hosts_the_routers_or_reserved_ones_twice(lab: Lab, two: list[Container]) -> None:
    """Two hosts give addresses at once."""
    names = [(host, f"many-{n}") for n in range(6) for host in HOSTS]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda at: attached(lab, at[0], at[1], "wire"), names))
    given = [c.address(4) for c in (*two, *made)]
    assert len(set(given)) == len(given)
    assert all(int(address.rpartition(".")[2]) < 128 for address in given)
    assert not {"192.168.1.1", "192.168.1.68"} & set(given)
    for c in made:
        assert weft(lab, c.host, "detach", c.name).returncode == 0
        assert set(links(c)) == {"lo"}
    lab.host("node-1").run(["ip", "netns", "add", "late"], check=True)
    say = "attach late --network wire --ip"
    assert "192.168.1.68 is taken by node node-1" in refused(lab, f"{say} 192.168.1.68")
    assert "192.168.1.1 is the gateway" in refused(lab, f"{say} 192.168.1.1")
    assert f"{two[1].address(4)} is taken by" in refused(lab, f"{say} {two[1].address(4)}")
    lab.host("node-1").run(["ip", "netns", "del", "late"], check=True)


# ------------------------------------------------------------------------------------------------------------- endings


def test_an_agent_killed_and_started_changes_nothing(lab: Lab, two: list[Container]) -> None:
    def index() -> object:
        return links(two[0])["eth0"]["ifindex"]

    before = index()
    lab.agent("node-1").end(signal.SIGKILL)
    assert ping(two[0].inside, two[1].address(4)).ok
    lab.agent("node-1").start()
    lab.agent("node-1").wait_ready()
    until(lambda: client(lab, "node-1").status().state == "converged", 30, lambda: "convergence")
    assert index() == before
    assert client(lab, "node-1").status().repairs == 0


def test_what_is_taken_from_it_comes_back_and_what_died_leaves_nothing(lab: Lab, two: list[Container]) -> None:
    made = attached(lab, "node-1", "dies", "wire")
    made.inside.run(["ip", "link", "del", "eth0"], check=True)
    until(lambda: "eth0" in links(made), 10, lambda: "the device is not made again")
    assert ping(made.inside, ROUTER[4]).ok
    lab.host("node-1").run(["ip", "netns", "del", "dies"], check=True)
    agent = client(lab, "node-1")
    until(lambda: not [e for e in agent.endpoints(node="node-1") if e.name == "dies"], 30, lambda: "it is still known")
    assert ping(two[0].inside, two[1].address(4)).ok


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.fixture
def beside(lab: Lab) -> Iterator[None]:
    """Devices of the host's that are no parents."""
    host = lab.host("node-1")
    host.must(
        "devices",
        ["ip", "-batch", "-"],
        input="link add br9 type bridge\nlink add d9 type veth peer name d8\n"
        "link set d9 master br9 up\nlink add m9 link eth0 type macvlan mode bridge\n",
    )
    yield
    host.must("devices", ["ip", "-batch", "-"], input="link del d9\nlink del br9\nlink del m9\n")


WRONG = [
    ("-O parent=eth7", "network x: this host has no device eth7: name one of "),
    ("-O parent=lo", "network x: lo is the loopback device, which leads nowhere: name another -O parent"),
    (
        "-O parent=d9",
        "network x: d9 is a port of br9, which takes all that comes in there: name br9 or another -O parent",
    ),
    ("-O parent=d8", "network x: d8 is down: ip link set dev d8 up, or name another -O parent"),
    ("-O parent=eth/0", "'eth/0' is not an interface name: use 1 to 15 characters"),
    ("-O vlan=4095", "vlan=4095 is outside 1 to 4094 (IEEE 802.1Q)"),
    ("-O vlan=-1", "vlan=-1 is outside 1 to 4094 (IEEE 802.1Q)"),
    ("-O mode=Bridge", "driver macvlan: option mode=Bridge is not bridge or private or vepa or passthru"),
    ("-O mode=source", "driver macvlan: option mode=source is not bridge or private or vepa or passthru"),
    ("-O mode=passthru", "network x: mode=passthru gives the whole parent to one container, and eth0 is the uplink"),
    ("-O Parent=eth0", "driver macvlan has no option 'Parent': did you mean parent? it takes dns, "),
    ("-O gateway=10.0.0.1", "network x: gateway=10.0.0.1 is no address of 10.99.0.0/24: containers could not reach it"),
    ("-O gateway=10.99.0.9,10.99.0.8", "gateway=10.99.0.9,10.99.0.8 names two of one family: give one of each"),
    (
        "-O spoofing=drop",
        "spoofing=drop: what these containers send passes no rules of their host: leave -O spoofing out",
    ),
    (
        "-O reach=all",
        "network x: reach=all: containers of driver macvlan are in a network whose own routers decide that",
    ),
    (
        "--internal",
        "network x: Weft keeps nothing apart from containers of driver macvlan: leave --internal out",
    ),
]


@pytest.mark.parametrize("option", [option for option, _ in WRONG])
def test_wrong_options_are_refused_in_a_line(lab: Lab, beside: None, option: str) -> None:
    said = refused(lab, f"network create x --driver macvlan --subnet 10.99.0.0/24 {option}")
    assert said.startswith(dict(WRONG)[option]) or dict(WRONG)[option] in said
    assert "x" not in [n.name for n in client(lab, "node-1").networks()]


def test_what_this_kernel_lacks_is_named_before_anything_is_made(lab: Lab, two: list[Container]) -> None:
    lacking = {f.check for f in client(lab, "node-1").doctor() if f.result == "error"}
    assert "kernel: ipvlan" not in lacking  # no network needs it
    said = refused(lab, "network create x --driver ipvlan --subnet 10.99.0.0/24 -O parent=eth0")
    assert "has no ipvlan devices, which network x needs: modprobe ipvlan" in said or "carries network wire" in said


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("--publish 8080:80", "--publish"),
        ("--ingress 1mbit", "limits of bandwidth"),
        ("--spoofing allow", "--spoofing"),
    ],
)
def test_what_needs_the_host_in_between_is_refused(lab: Lab, two: list[Container], option: str, what: str) -> None:
    lab.host("node-1").run(["ip", "netns", "add", "plain"])
    said = refused(lab, f"attach plain --network wire {option}")
    assert said.startswith("network wire: packets of its containers do not pass their host") and what in said


def test_policy_that_cannot_be_kept_is_told_and_closes(lab: Lab, two: list[Container]) -> None:
    """Who is there stays, and status says so; who comes is refused."""
    document = (
        '{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "closed", '
        '"namespace": "default"}, "spec": {"podSelector": {"matchLabels": {"role": "db"}}, "policyTypes": ["Ingress"]}}'
    )
    applied = lab.host("node-1").run([*lab.weft, "policy", "apply", "-f", "-"], input=document, timeout=60)
    assert applied.returncode == 0, applied.stderr
    lab.host("node-1").run(["ip", "netns", "add", "db"], check=True)
    said = refused(lab, "attach db --network wire --label role=db")
    assert "networkpolicy/default/closed selects db in network wire, whose packets pass no rules" in said
    assert not [e for e in client(lab, "node-1").endpoints(node="node-1") if e.name == "db"]
    assert weft(lab, "node-1", "endpoint", "label", "wire-1", "role=db").returncode in (0, 1)
    until(
        lambda: any("cannot be kept" in p.text for p in client(lab, "node-1").status().problems), 10, lambda: "untold"
    )
    assert weft(lab, "node-1", "policy", "rm", "closed").returncode == 0


def test_a_removed_network_leaves_nothing(lab: Lab, two: list[Container]) -> None:
    assert weft(lab, "node-1", "network", "rm", "wire", "--force").returncode == 0
    for c in two:
        until(lambda c=c: set(links(c)) == {"lo"}, 20, lambda c=c: str(links(c)))  # type: ignore[misc]
