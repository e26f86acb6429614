"""Policies about hosts themselves, with packets: what is said is done, and whatever is said nobody locks himself out."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from support.namespaces import Home, Namespace
from support.policies import objects, own, own_policy
from weft.cluster.view import View
from weft.compile.compiler import Compiler
from weft.datapaths.driver import Host
from weft.hoststate import Union
from weft.kernel.linux import LinuxKernel
from weft.model import Node, encode, keys
from weft.policy.objects import store_key
from weft.policy.render import Means
from weft.reconcile.reconciler import Reconciler
from weft.store.protocol import Change

HERE, BESIDE, STORE = ("192.168.1.68", "fd00:a::68"), ("192.168.1.1", "fd00:a::1"), ("192.168.1.1", 4001)
SHUT = own_policy("{hosts: has(rack), types: [Ingress, Egress]}", "shut")
SERVICE, SSH, AGENT, ETCD = 8080, 22, 9473, 2379
NODE = Node(
    name="node-1",
    addresses=tuple(ip_interface(f"{a}/{'64' if ':' in a else '24'}") for a in HERE),
    uplink="eth0",
    labels={"rack": "a"},
    control=(AGENT,),
)


class Scene:
    """A host, with a neighbour on its uplink and a container behind another device. Ports are open at both."""

    def __init__(self, home: Home, run: Path, stack: ExitStack, means: Means) -> None:
        self.home, self.beside, self.inside = home, home.new(), home.new()
        self.servers: dict[int, socket.socket] = {}
        self.link(self.beside, "eth0", HERE, BESIDE)
        self.link(self.inside, "c0", ("10.5.0.1",), ("10.5.0.2",))
        for space, ports in ((home, (SERVICE, SSH, AGENT, ETCD)), (self.beside, (SERVICE, SSH, ETCD, STORE[1], 179))):
            with space.entered():
                for port in ports:
                    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
                    self.servers.setdefault(port, stack.enter_context(server))
        self.view, self.union, self.revision = View("node-1"), Union(), 0
        self.compiler = Compiler(self.view)
        self.compiler.host = Host(
            node=NODE,
            store=frozenset({(ip_address(STORE[0]), STORE[1])}),
            policy=means,
            iptables=frozenset({(4, "nft"), (6, "nft")}),
        )
        self.kernel = LinuxKernel(self.union.desired, run)
        stack.callback(self.kernel.close)
        self.reconciler = Reconciler(self.kernel, self.union.desired, time.monotonic)
        self.reconciler.complete = True
        self.tell(Change(keys.node("node-1"), encode(NODE), 1))

    def link(self, other: Namespace, device: str, here: tuple[str, ...], there: tuple[str, ...]) -> None:
        self.home.sh(f"ip link add {device} type veth peer name far netns {other.path}")
        for space, name, some in ((self.home, device, here), (other, "far", there)):
            for text in some:
                more = "/64 nodad" if ":" in text else "/24"
                space.sh(f"ip address add {text}{more} dev {name}")
            space.sh(f"ip link set {name} up")

    def tell(self, *changes: Change) -> None:
        self.view.apply(changes)
        for source in self.compiler.everything():
            self.union.set(source, self.compiler.contribution(source))
        assert self.reconciler.resync().failures == ()

    def apply(self, *texts: str) -> None:
        """These policies, and no others."""
        self.revision += 2
        wanted = {store_key(item): encode(item) for item in objects(*texts)}
        gone = [key for key in self.view.revisions if key not in wanted and not key.startswith("nodes/")]
        puts = [Change(key, value, self.revision + 1) for key, value in wanted.items()]
        self.tell(*(Change(key, None, self.revision) for key in gone), *puts)

    def connects(self, space: Namespace, to: str, port: int) -> bool:
        with space.entered():
            try:
                socket.create_connection((to, port), 0.3).close()
            except TimeoutError:
                return False
        return True

    def hears(self, port: int, to: str = HERE[0]) -> bool:
        return self.connects(self.beside, to, port)

    def reaches(self, port: int, to: str = BESIDE[0]) -> bool:
        return self.connects(self.home, to, port)


@pytest.fixture(params=["nftables", "iptables"])
def scene(netns: Home, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(netns, tmp_path / "run", stack, request.param)


def test_nobody_locks_himself_out(scene: Scene) -> None:
    assert scene.hears(SERVICE) and scene.reaches(SERVICE)
    scene.apply(SHUT)
    assert not scene.hears(SERVICE) and not scene.hears(SERVICE, HERE[1])
    assert not scene.reaches(SERVICE) and not scene.reaches(SSH), "shut in both directions, in both families"
    for port in (SSH, AGENT, ETCD):
        assert scene.hears(port) and scene.hears(port, HERE[1]), port
    for port in (ETCD, 179, STORE[1]):
        assert scene.reaches(port), port
    assert scene.reaches(ETCD, BESIDE[1])
    assert scene.connects(scene.home, "127.0.0.1", SERVICE) and scene.connects(scene.home, HERE[0], SERVICE)
    assert scene.connects(scene.inside, "10.5.0.1", SERVICE), "a container's packets are not the host's"
    scene.apply()
    assert scene.hears(SERVICE) and scene.reaches(SERVICE)


def test_neighbours_are_found_while_all_is_shut(scene: Scene) -> None:
    """IPv6 cannot do without ICMPv6 of its own, and forgets its neighbours."""
    scene.apply(SHUT)
    for space, device in ((scene.home, "eth0"), (scene.beside, "far")):
        space.sh(f"ip neigh flush dev {device}")
    assert scene.hears(SSH, HERE[1]) and scene.reaches(ETCD, BESIDE[1])


def test_what_is_open_stays_open(scene: Scene) -> None:
    """Also where nothing on the host had followed connections until then; whoever speaks first."""
    pairs = []
    for _ in range(2):
        with scene.beside.entered():
            client = socket.create_connection((HERE[0], SERVICE), 2)
        pairs.append((client, scene.servers[SERVICE].accept()[0]))
    scene.apply(SHUT)
    (a, b), (c, d) = pairs
    for one, other in ((a, b), (b, a), (d, c), (c, d)):
        other.settimeout(2)
        one.sendall(b"x")
        assert other.recv(9) == b"x"
    for sock in (a, b, c, d):
        sock.close()
    assert not scene.hears(SERVICE)


def test_what_policies_say_is_done(scene: Scene) -> None:
    allowed = own_policy(
        "{hosts: rack == 'a', ingress: [{action: Deny, source: {nets: [192.168.1.1/32]}, protocol: TCP, destination: "
        f"{{ports: [{SSH}]}}}}, {{action: Allow, protocol: TCP, source: {{networkSets: has(in)}}, destination: "
        f"{{ports: [{SERVICE}]}}}}], egress: [{{action: Allow, protocol: TCP, destination: {{ports: [{SERVICE}]}}}}]}}"
    )
    scene.apply(allowed, own("NetworkSet", "{nets: [192.168.1.0/24]}", "in", labels="{in: ''}"))
    assert scene.hears(SERVICE) and not scene.hears(SERVICE, HERE[1])
    assert scene.reaches(SERVICE) and not scene.reaches(SSH)
    assert scene.hears(SSH), "not even a policy shuts what has to be open"
    scene.apply(own_policy("{hosts: rack == 'b', types: [Ingress, Egress]}", "elsewhere"))
    assert scene.hears(SERVICE) and scene.reaches(SSH), "it is about other hosts"


def test_that_failsafe_is_never_replaced(scene: Scene) -> None:
    def failsafe() -> str:
        table = scene.home.run("nft", "-a", "list", "ruleset")
        return "".join(part for part in table.split("chain ") if part.startswith(("failsafe-in", "WEFT-failsafe-in")))

    scene.apply(SHUT)
    before = failsafe()
    assert "22" in before and "host-out" in scene.home.run("nft", "list", "ruleset")
    scene.apply(own_policy("{hosts: all(), ingress: [{action: Log}]}", "other"))
    assert failsafe() == before, "not even its handles changed"
    assert "host-out" not in scene.home.run("nft", "list", "ruleset")
