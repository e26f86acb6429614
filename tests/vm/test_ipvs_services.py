"""Services whose connections IPVS spreads (`-O balancer=ipvs`): two hosts with an overlay network, and members on both."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from support.balanced import Scene, served
from support.namespaces import home
from weft.base.net import IPAddress
from weft.datapaths._ipvs import mark_of
from weft.hoststate import Contribution
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import DROP
from weft.hoststate.union import Source
from weft.kernel.runs import target as target_of
from weft.policy.program import Chain, Line, Origin
from weft.policy.render import Renderer, renderer
from weft.policy.render.iptables import Iptables
from weft.services.index import State
from weft.services.model import Service, ServicePort

VIPS = ip_address("40.15.255.1"), ip_address("fd40:15::ffff:1")
PORTS = (ServicePort(port=80, target=8080), ServicePort(port=81), ServicePort(port=53, protocol="udp"))
SERVED = "tcp/8080", "tcp/81", "udp/53"
ASKED = (80, "8080", "tcp"), (81, "81", "tcp"), (53, "53", "udp")
"""Each: the service's port, the members' port, the protocol."""
WEB = Service(name="web", network="blue", addresses=VIPS, members=("a", "b", "c"), ports=PORTS)


READY: dict[str, State] = {"a": "ready", "b": "ready", "c": "ready"}


@pytest.fixture(scope="module")
def hosts(modules: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """`a`, `b` and the client `k` are on node-1, `c` and the client `l` on node-2."""
    run = tmp_path_factory.mktemp("ipvs")
    placed = {"node-1": "abk", "node-2": "cl"}
    with pytest.MonkeyPatch.context() as patch, home() as found, Scene(found, run, patch, "ipvs", placed) as made:
        made.service(WEB, **READY)
        with served(made, "abc", *SERVED):
            yield made


@pytest.fixture
def scene(hosts: Scene) -> Scene:
    """As it was made."""
    hosts.service(WEB, **READY)
    return hosts


def target(vip: IPAddress, port: int, protocol: str = "tcp") -> str:
    return f"{protocol},{vip},{port}"


@pytest.mark.parametrize("client", ["k", "l"])
def test_connections_are_spread_and_members_see_their_clients(scene: Scene, client: str) -> None:
    expected = Counter[tuple[str, ...]]()
    for own in scene.located[client].addresses:
        for _, there, _ in ASKED:
            expected |= Counter({(name, there, str(own)): 2 for name in "abc"})
    said = scene.ask(client, *(target(vip, port, kind) for vip in VIPS for port, _, kind in ASKED for _ in range(6)))
    assert Counter(map(tuple, said)) == expected


def test_a_member_reaches_itself(scene: Scene) -> None:
    said = scene.ask("a", *(target(vip, 80) for vip in VIPS for _ in range(6)))
    assert Counter(one[0] for one in said) == {"a": 4, "b": 4, "c": 4}
    assert {one[2] for one in said if one[0] == "a"} == set(map(str, VIPS))


def test_the_kernels_state_is_what_swarm_has(scene: Scene) -> None:
    """The same as `ipvsadm -Sn` and ip(8) show in a Swarm's `lb_…`, but for a mark for each port."""
    host = scene.hosts[0]
    shown = scene.inside(host, "ipvsadm -Sn").splitlines()
    marks = {port.port: mark_of(VIPS[0], port.protocol, port.port) for port in PORTS}
    own = {n: str(there.addresses[0]) for n, there in scene.located.items()}
    assert f"-A -f {marks[81]} -s rr" in shown
    assert {f"-a -f {marks[81]} -r {own[n]}:0 -m -w 1" for n in "abc"} <= set(shown)
    assert {f"-a -f {marks[80]} -r {own[n]}:8080 -m -w 1" for n in "abc"} <= set(shown)
    assert len(shown) == 2 * len(PORTS) * 4
    assert f"inet {VIPS[0]}/32 " in scene.inside(host, "ip -4 address show dev br0")
    assert f"inet6 {VIPS[1]}/128 " in scene.inside(host, "ip -6 address show dev br0")
    assert scene.inside(host, "ipvsadm -l --timeout").split()[-3:] == ["432000", "120", "300"]
    assert not [op for op in host.converge().ops if target_of(op).kind.startswith("ipvs")]


def test_a_drained_member_gets_no_new_connections(scene: Scene) -> None:
    scene.service(WEB, a="draining")
    said = scene.ask("k", *(target(vip, port, kind) for vip in VIPS for port, _, kind in ASKED for _ in range(4)))
    assert Counter((one[0], one[1]) for one in said) == {(n, there): 4 for n in "bc" for _, there, _ in ASKED}


def test_a_silent_connection_lasts_for_days_and_ends_with_its_member(scene: Scene) -> None:
    """While that is drained it goes on."""
    with scene.containers["a"].entered(), socket.create_server(("", 8081)) as server:
        extra = replace(WEB, ports=(*PORTS, ServicePort(port=82, target=8081)), members=("a",))
        scene.service(extra, b="out", c="out")
        with scene.containers["k"].entered():
            client = socket.create_connection((str(VIPS[0]), 82), 5)
        accepted, _ = server.accept()
        with accepted, client:
            (line,) = [w for w in scene.inside(scene.hosts[0], "ipvsadm -Lnc").splitlines() if ":82 " in w]
            minutes = int(line.split()[1].partition(":")[0])
            assert "ESTABLISHED" in line and minutes > 7000
            scene.service(extra, a="draining")
            client.sendall(b"still here")
            assert accepted.recv(99) == b"still here"
            scene.service(extra, a="out", b="ready")
            client.settimeout(5)
            with pytest.raises(OSError):
                for _ in range(3):
                    client.sendall(b"anybody?")
                    if client.recv(1) == b"":
                        raise OSError


def test_without_members_it_is_refused(scene: Scene) -> None:
    scene.service(WEB, a="out", b="out", c="out")
    asked = [target(vip, port, kind) for vip in VIPS for port, _, kind in (*ASKED, (99, "", "tcp"))]
    for client in "kl":
        assert scene.ask(client, *asked) == ["ConnectionRefusedError"] * len(asked)
    scene.service(WEB, **READY)
    assert scene.counted("k", target(VIPS[0], 80), 3).keys() == {"a", "b", "c"}


def test_a_client_keeps_its_member(scene: Scene) -> None:
    """With affinity client-ip: the same one by both of its ports' protocols, and while others come and go."""
    sticky = replace(WEB, affinity="client-ip")
    scene.service(sticky)
    (mine,) = scene.counted("k", target(VIPS[0], 81), 8)
    other = next(name for name in "abc" if name != mine)
    scene.states[other] = "draining"
    scene.service(sticky)
    assert scene.counted("k", target(VIPS[0], 81), 4).keys() == {mine}
    scene.states |= {other: "ready", mine: "draining"}
    scene.service(sticky)
    assert mine not in scene.counted("k", target(VIPS[0], 81), 4)


@pytest.mark.parametrize("asking", [renderer("nftables", set()), Iptables("nft")], ids=["nftables", "iptables"])
def test_policy_is_asked_of_what_ipvs_sends_on(scene: Scene, asking: Renderer) -> None:
    """It passes no hook `forward` on its way to a member."""
    host, closed = scene.hosts[0], Chain("pi-closed", (Line(rule(DROP), Origin("default", "", "ingress", 0, "Drop")),))
    ns, (address, _) = scene.namespace(host), scene.located["a"].addresses
    wanted = *asking.base(ns), *asking.chain(closed, ns), *asking.dispatch(address, "ingress", closed, ns)
    host.want(Source("policy", "blue"), Contribution(objects=wanted))
    host.converge()
    try:
        said = scene.counted("k", target(VIPS[0], 80), 6)
        assert said == {"b": 2, "c": 2, "TimeoutError": 2}
    finally:
        host.want(Source("policy", "blue"), None)
        host.converge()


def test_all_of_it_goes_with_the_service(scene: Scene) -> None:
    for host in scene.hosts:
        host.want(Source("service", "blue", "web"), None)
        host.converge()
        assert scene.inside(host, "ipvsadm -Sn") == ""
        assert str(VIPS[0]) not in scene.inside(host, "ip address show dev br0")
        assert scene.inside(host, "ipvsadm -l --timeout").split()[-3:] == ["900", "120", "300"]
