"""Top-of-rack routers that are not ours: FRR, GoBGP and a plain BIRD, each on a host of the lab without an agent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from support.bgp import bird_routes, plant, sessions, settle
from support.reach import client, ping, weft
from support.waiting import until
from weft.api import types as t
from weft.lab import Lab
from weft.lab.inside import Inside
from weft.lab.topology import Topology
from weft.model import BgpPeer, codec

NEEDED = {"bird": "/usr/sbin/bird", "bgpd": "/usr/lib/frr/bgpd", "gobgpd": "/usr/bin/gobgpd"}
BLOCKS = {"node-1": ("197.19.38.128/26",), "node-2": ("197.19.186.192/26",)}
CONTAINERS = {"node-1": "197.19.38.139", "node-2": "197.19.186.195"}
NODES = tuple(BLOCKS)
PASSWORD = "it's a \\secret"

pytestmark = pytest.mark.skipif(
    any(shutil.which(path) is None for path in NEEDED.values()), reason="needs bird2, frr and gobgpd"
)


@dataclass(frozen=True)
class Router:
    """`behind`: a prefix, and a namespace with its .2 in it."""

    name: str
    address: str
    asn: int
    net: str
    password: str = ""

    @property
    def behind(self) -> str:
        return f"{self.net}.2"

    @property
    def prefix(self) -> str:
        return f"{self.net}.0/24"


FRR = Router("tor-frr", "192.168.1.2", 65001, "10.50.1", "frr-secret")
GOBGP = Router("tor-gobgp", "192.168.1.3", 65002, "10.50.2", "gobgp-secret")
BIRD = Router("tor-bird", "192.168.1.4", 65003, "10.50.3", PASSWORD)
ROUTERS = (FRR, GOBGP, BIRD)


@pytest.fixture(scope="module")
def racks(lab_base: str) -> Iterator[Lab]:
    hosts = [
        {"name": "node-1", "segment": "a", "addresses": ["192.168.1.68/24"], "labels": {"rack": "a"}},
        {"name": "node-2", "segment": "a", "addresses": ["192.168.1.254/24"], "labels": {"rack": "b"}},
        *({"name": r.name, "segment": "a", "addresses": [f"{r.address}/24"]} for r in ROUTERS),
    ]
    topology = codec.convert(Topology, {"segments": ["a"], "hosts": hosts, "router": {"a": ["192.168.1.1/24"]}})
    with Lab.up(topology, name="racks", agents=False) as lab:
        for node in NODES:
            lab.agent(node).start()
        for node in NODES:
            lab.agent(node).wait_ready()
        for router in ROUTERS:
            _prepare(lab.host(router.name), router)
        plant(lab, "prod", BLOCKS, subnets=("197.19.0.0/16",), encap="never", masquerade=False)
        for node, address in CONTAINERS.items():
            settle(lab, node, f"c-{node}", "prod", address)
        yield lab


def _prepare(host: Inside, router: Router) -> None:
    """A router, and a host behind it."""
    host.must(
        "router",
        [
            "bash",
            "-ec",
            f"""
echo 1 >/proc/sys/net/ipv4/ip_forward
ip netns add behind
ip link add inner type veth peer name eth0 netns behind
ip addr add {router.net}.1/24 dev inner
ip link set inner up
ip -n behind addr add {router.behind}/24 dev eth0
ip -n behind link set eth0 up
ip -n behind route add default via {router.net}.1
""",
        ],
    )


def _write(lab: Lab, router: Router, name: str, text: str) -> str:
    """A file in the router's own /run, which its daemon's account can read."""
    lab.host(router.name).must(name, ["bash", "-c", f"mkdir -p /run/tor && cat >/run/tor/{name}"], input=text)
    return f"/run/tor/{name}"


def _start(lab: Lab, router: Router, argv: Sequence[str]) -> None:
    """With a /var/tmp of its own: FRR's daemons leave things there."""
    own = ["unshare", "--mount", "bash", "-c", 'mount -t tmpfs tmpfs /var/tmp && exec "$@"', "-", *argv]
    lab.host(router.name).detach(own, lab.host(router.name).own / "bgp.log")


def start_frr(lab: Lab, router: Router) -> None:
    neighbors = "".join(
        f" neighbor {a} remote-as 64512\n neighbor {a} password {router.password}\n neighbor {a} timers 3 9\n"
        f" neighbor {a} timers connect 1\n"
        for a in ("192.168.1.68", "192.168.1.254")
    )
    text = (
        f"router bgp {router.asn}\n bgp router-id {router.address}\n no bgp ebgp-requires-policy\n{neighbors}"
        f" address-family ipv4 unicast\n  network {router.prefix}\n exit-address-family\n"
    )
    host = lab.host(router.name)
    host.must("folders", ["bash", "-ec", "mkdir -p /run/frr; chown frr:frr /run/frr"])
    common = ["--vty_socket", "/run/frr", "-z", "/run/frr/zserv.api"]
    empty, conf = _write(lab, router, "zebra.conf", "\n"), _write(lab, router, "bgpd.conf", text)
    _start(lab, router, ["/usr/lib/frr/zebra", "-f", empty, "-i", "/run/frr/zebra.pid", *common])
    until(lambda: not host.run(["test", "-S", "/run/frr/zserv.api"]).returncode, 20, "zebra")
    _start(lab, router, ["/usr/lib/frr/bgpd", "-f", conf, "-i", "/run/frr/bgpd.pid", *common])


def start_gobgp(lab: Lab, router: Router) -> None:
    text = f'[global.config]\nas = {router.asn}\nrouter-id = "{router.address}"\n'
    for address in ("192.168.1.68", "192.168.1.254"):
        text += (
            f'[[neighbors]]\n[neighbors.config]\nneighbor-address = "{address}"\npeer-as = 64512\n'
            f'auth-password = "{router.password}"\n[neighbors.timers.config]\nconnect-retry = 5\nhold-time = 9\n'
        )
    _start(lab, router, ["gobgpd", "-t", "toml", "-f", _write(lab, router, "gobgp.toml", text)])
    announce = ["gobgp", "global", "rib", "add", router.prefix, "nexthop", router.address]
    until(lambda: not lab.host(router.name).run(announce).returncode, 20, "gobgpd")


def start_bird(lab: Lab, router: Router) -> None:
    sessions = "".join(
        f"protocol bgp {{ local {router.address} as {router.asn}; neighbor {a} as 64512; hold time 9; connect delay time 1; "
        f'connect retry time 2; error wait time 1, 2; ttl security on; password "{router.password}"; '
        "ipv4 { import all; export where source = RTS_STATIC; }; }\n"
        for a in ("192.168.1.68", "192.168.1.254")
    )
    text = (
        f"router id {router.address};\nprotocol device {{}}\n"
        "protocol kernel { ipv4 { export where source = RTS_BGP; }; }\n"
        f'protocol static {{ ipv4; route {router.prefix} via "inner"; }}\n{sessions}'
    )
    conf = _write(lab, router, "tor.conf", text)
    _start(lab, router, ["bird", "-f", "-c", conf, "-s", "/run/tor.ctl", "-P", "/run/tor.pid"])


START: dict[str, Callable[[Lab, Router], None]] = {FRR.name: start_frr, GOBGP.name: start_gobgp, BIRD.name: start_bird}


def peer(router: Router, **changed: object) -> BgpPeer:
    values = {
        "name": router.name,
        "address": ip_address(router.address),
        "asn": router.asn,
        "password": router.password,
    }
    return BgpPeer(**{**values, "hold_time": 9, "ttl_security": router is BIRD, **changed})  # type: ignore[arg-type]


def knows(lab: Lab, router: Router) -> set[str]:
    """What of Weft's the router has learnt, from itself."""
    host = lab.host(router.name)
    if router is FRR:
        shown = json.loads(host.run(["vtysh", "--vty_socket", "/run/frr", "-c", "show ip bgp json"]).stdout or "{}")
        return {p for p in shown.get("routes", {}) if p.startswith("197.19")}
    if router is GOBGP:
        shown = json.loads(host.run(["gobgp", "-j", "global", "rib"]).stdout or "{}")
        return {p for p in shown if p.startswith("197.19")}
    said = host.run(["birdc", "-s", "/run/tor.ctl", "show route"]).stdout
    return {line.split()[0] for line in said.splitlines() if line.startswith("197.19")}


def program(lab: Lab) -> None:
    """GoBGP alone writes no routes to the kernel: what it has chosen is written there for it."""
    host = lab.host(GOBGP.name)
    for prefix, paths in json.loads(host.run(["gobgp", "-j", "global", "rib"], check=True).stdout).items():
        best = next(p for p in paths if p.get("best", True))
        hop = next(a["nexthop"] for a in best["attrs"] if a["type"] == 3)
        if prefix.startswith("197.19"):
            host.must("route", ["ip", "route", "replace", prefix, "via", hop])


@pytest.fixture(scope="module", params=ROUTERS, ids=lambda r: r.name)
def router(request: pytest.FixtureRequest, racks: Lab) -> Router:
    found: Router = request.param
    START[found.name](racks, found)
    client(racks, "node-1").add_bgp_peer(peer(found))
    return found


def test_routes_are_exchanged_both_ways_and_containers_reached_without_nat(racks: Lab, router: Router) -> None:
    def lacking() -> str:
        found = [sessions(racks, node).get((router.name, 4)) for node in NODES]
        down = [f"{node}: {s.state} {s.reason}" if s else node for node, s in zip(NODES, found, strict=True)]
        return "" if all(s and s.state == "Established" and s.received for s in found) else "; ".join(down)

    until(lambda: not lacking(), 60, lacking)
    assert [(s.received, s.announced) for node in NODES for s in [sessions(racks, node)[router.name, 4]]] == [
        (1, 2)
    ] * 2
    until(
        lambda: knows(racks, router) == {b[0] for b in BLOCKS.values()}, 20, lambda: f"blocks: {knows(racks, router)}"
    )
    until(lambda: all(router.prefix in bird_routes(racks.host(node)) for node in NODES), 10, "its prefix")
    assert {bird_routes(racks.host(node))[router.prefix]["gateway"] for node in NODES} == {router.address}
    if router is GOBGP:
        program(racks)
    for node, address in CONTAINERS.items():
        _reaches_with_its_own_address(racks, router, node, address)


def _reaches_with_its_own_address(lab: Lab, router: Router, node: str, address: str) -> None:
    behind, inside = lab.host(router.name).container("behind"), lab.host(node).container(f"c-{node}")
    until(lambda: ping(behind, address).ok, 10, f"an answer of {address}")
    assert ping(behind, address).ttl == 62, "straight to the node that it lives on"
    with behind.popen(["tcpdump", "-nn", "-l", "-c1", "-i", "eth0", f"icmp and src {address}"]) as capture:
        until(lambda: ping(inside, router.behind).ok and capture.poll() is not None, 15, f"packets from {address}")


def test_each_block_is_reached_by_its_own_node(racks: Lab, router: Router) -> None:
    """Both nodes tell of both blocks: the one that holds it, with a lower med."""
    told = {r.prefix.with_prefixlen: r for r in client(racks, "node-1").bgp_routes() if r.source == router.name}
    assert set(told) == {router.prefix}, "what went out does not come back"
    assert told[router.prefix].as_path == str(router.asn)


def reason(lab: Lab, node: str, router: Router) -> t.BgpSession:
    return sessions(lab, node)[router.name, 4]


def test_another_password_is_named(racks: Lab, router: Router) -> None:
    agent = client(racks, "node-1")
    agent.add_bgp_peer(peer(router, password="other"), replace=True)
    try:
        until(
            lambda: "password mismatch" in reason(racks, "node-1", router).reason,
            40,
            lambda: f"a reason: {reason(racks, 'node-1', router)}",
        )
        said = weft(racks, "node-1", "bgp", "peers").stdout
        assert "password mismatch" in said and "the same password" in " ".join(said.split())
        assert router.password not in weft(racks, "node-1", "bgp", "peer", "ls", "-o", "json").stdout
    finally:
        agent.add_bgp_peer(peer(router), replace=True)
    until(lambda: reason(racks, "node-1", router).state == "Established", 60, "the session")


def test_another_as_is_named(racks: Lab, router: Router) -> None:
    agent = client(racks, "node-1")
    agent.add_bgp_peer(peer(router, asn=65099), replace=True)
    try:
        until(
            lambda: "AS mismatch" in reason(racks, "node-1", router).reason,
            40,
            lambda: f"a reason: {reason(racks, 'node-1', router)}",
        )
        found = reason(racks, "node-1", router)
        assert found.reason == f"AS mismatch: {router.address} says that it is AS {router.asn}, configured is 65099"
        assert f"--asn {router.asn}" in found.advice
    finally:
        agent.add_bgp_peer(peer(router), replace=True)
    until(lambda: reason(racks, "node-1", router).state == "Established", 60, "the session")


def test_only_what_is_wanted_is_taken_and_told(racks: Lab, router: Router) -> None:
    agent = client(racks, "node-1")
    changed = {"nodes": "rack=a", "accept": ("10.99.0.0/16+",), "announce": ("197.19.38.128/26",)}
    agent.add_bgp_peer(peer(router, scope="node", communities=("64512:100", "64512:1:2"), **changed), replace=True)
    try:
        until(lambda: (router.name, 4) not in sessions(racks, "node-2"), 10, "node-2 out of it")
        until(lambda: reason(racks, "node-1", router).state == "Established", 60, "the session")
        until(lambda: knows(racks, router) == {BLOCKS["node-1"][0]}, 20, lambda: f"one block: {knows(racks, router)}")
        until(lambda: router.prefix not in bird_routes(racks.host("node-1")), 10, "its prefix refused")
    finally:
        agent.add_bgp_peer(peer(router), replace=True)


def test_what_cannot_be_is_refused(racks: Lab, tmp_path: Path) -> None:
    for words, complaint in (
        ("--address 192.168.1.254 --asn 65001", "node-2's own address"),
        ("--address 192.168.1.9 --asn 4294967295", "AS 4294967295 is none"),
        ("--address 192.168.1.9 --asn 65001 --community 64512:70000", "'64512:70000' is no community"),
        ("--address 192.168.1.9 --asn 65001 --accept fd00::/8", "is not IPv4 as the session is"),
        ("--address 192.168.1.9 --asn 65001 --nodes rack=a=b=c", "in selector"),
    ):
        said = weft(racks, "node-1", "bgp", "peer", "add", "bad", *words.split())
        assert said.returncode == 1 and complaint in said.stderr and said.stderr.count("\n") == 1, said.stderr
    assert "bad" not in {p.name for p in client(racks, "node-1").bgp_peers()}
