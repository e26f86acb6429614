"""Published ports by the host's own address, from containers of this host and of another; and what they open besides.

With the host's rules seeing bridged packets (br_netfilter, as Docker and Kubernetes set it) and without.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from support import lab
from support.namespaces import Home, Namespace, home
from support.routed import Host, Router, listening, other_site
from weft.hoststate import Link
from weft.model import Network, PublishedPort

DRIVERS = ("bridge", "vxlan", "host-gw", "routed", "overlay")
NETWORKS = {"near": ("10.31.0.0/16", "fd31::/48"), "far": ("10.32.0.0/16", "fd32::/48")}
OUTER, INNER = 8080, 80
PORTS = tuple(PublishedPort(host_port=OUTER, container_port=INNER, protocol=kind) for kind in ("tcp", "udp"))
OTHERS = tuple(PublishedPort(host_port=OUTER + 1, container_port=INNER, protocol=kind) for kind in ("tcp", "udp"))
BRIDGED = pytest.mark.parametrize("bridged", [0, 1], ids=["routed-only", "br_netfilter"])
MARK = b"WEFT-FORGED"


class Scene:
    """node-1 with `web`, which publishes, and `next` in one network, and `near` in another, which publishes, too; `far` is in
    a network on node-2."""

    def __init__(self, home: Home, run: Path, driver: str, patch: pytest.MonkeyPatch) -> None:
        router = Router(home)
        self.host, self.other = (_host(home, router, name, driver, run, patch) for name in ("node-1", "node-2"))
        self.containers = self.host.containers | self.other.containers

    def rules_see_bridged(self, value: int) -> None:
        for host in (self.host, self.other):
            try:
                for name in ("iptables", "ip6tables"):
                    host.ns.sh(f"sysctl -qw net.bridge.bridge-nf-call-{name}={value}")
            except AssertionError:
                if value:
                    pytest.skip("the kernel has no br_netfilter")

    def close(self) -> None:
        self.host.close()
        self.other.close()


def _host(home: Home, router: Router, name: str, driver: str, run: Path, patch: pytest.MonkeyPatch) -> Host:
    """With folders of its own for namespaces of overlay networks, instead of /run/netns, which is the whole machine's."""
    named = run / name / "named"
    patch.setattr("weft.hoststate.links.NAMED", f"{named}/")
    host = Host(home, router, name, _network(driver), run / name, named)
    other = "near" if name == "node-1" else "far"
    options = {"vni": 301 if other == "near" else 302} if driver in ("vxlan", "overlay") else {}
    site = other_site(host, driver, other, *NETWORKS[other], options=options)
    host.join(site)
    if other == "near":
        host.attach("web", 2, ports=PORTS)
        host.attach("next", 3)
    host.attach(other, 4, site=site, ports=OTHERS if other == "near" else ())
    host.converge()
    return host


def _network(driver: str) -> Network:
    return lab.network(driver, (4, 6), options={"vni": 300} if driver == "overlay" else {})


@pytest.fixture(scope="module", params=DRIVERS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    run = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch, home() as found:
        made = Scene(found, run, request.param, patch)
        yield made
        made.close()
    for folder in run.glob("*/named"):
        for path in (*folder.glob("*"), folder):
            subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)


@BRIDGED
@pytest.mark.parametrize("client", ["web", "next", "near", "far"])
def test_a_published_port_is_reached_by_the_hosts_own_address(scene: Scene, client: str, bridged: int) -> None:
    """By the container itself, a neighbour in its network, a container of another network, and one of another host."""
    scene.rules_see_bridged(bridged)
    web, asking = scene.containers["web"], scene.containers[client]
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for address in scene.host.node.addresses:
            assert answered(asking, web, str(address.ip), kind), f"{kind.name} {address.ip}"


def answered(client: Namespace, server: Namespace, address: str, kind: socket.SocketKind) -> bool:
    """Whether an answer of the server's gets back to a client that asks at this address of the host."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.entered():
        there = socket.socket(family, kind)
    with client.entered():
        here = socket.socket(family, kind)
    with there, here, contextlib.suppress(TimeoutError):
        there.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        there.settimeout(2)
        here.settimeout(2)
        there.bind(("", INNER))
        if kind == socket.SOCK_DGRAM:
            here.connect((address, OUTER))
            here.send(MARK)
            said, source = there.recvfrom(100)
            there.sendto(said, source)
            return here.recv(100) == MARK
        there.listen()
        here.connect((address, OUTER))
        with there.accept()[0] as accepted:
            accepted.sendall(MARK)
            return here.recv(100) == MARK
    return False


# -- what overlay networks share ---------------------------------------------------------------------------------------


@BRIDGED
@pytest.mark.parametrize("scene", ["overlay"], indirect=True)
@pytest.mark.parametrize("target", ["web", "next"])
def test_containers_do_not_meet_on_the_bridge_that_overlay_networks_share(
    scene: Scene, target: str, bridged: int
) -> None:
    """Whatever `near` sends by its second interface, to another container's MAC address, to the host's, to everybody."""
    scene.rules_see_bridged(bridged)
    victim, sender = scene.containers[target], scene.containers["near"]
    mac, gateway = hardware(victim, "eth1"), hardware(scene.host.ns, "weft_gw")
    number = 2 if target == "web" else 3
    four, six = f"172.30.0.{number}", f"fd57:4546:54::{number}"
    everybody, group = b"\xff" * 6, b"\x33\x33\x00\x00\x00\x01"
    frames = [
        head + body for head in (mac, gateway, everybody, group) for body in bodies(hardware(sender, "eth1"), four, six)
    ]
    with listening(victim, "eth1") as heard:
        with sender.entered():
            out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with out:
            out.bind(("eth1", 0))
            for frame in frames:
                out.send(frame)
        scene.host.ns.sh("true")  # a process's start: what is under way arrives meanwhile
        assert [f for f in heard.frames() if MARK in f] == []
        assert answered(sender, victim, str(scene.host.node.addresses[0].ip), socket.SOCK_DGRAM) == (target == "web")
        assert any(MARK in f for f in heard.frames()) == (target == "web"), "what arrives is seen here"


@pytest.mark.parametrize("scene", ["overlay"], indirect=True)
def test_no_device_of_the_shared_bridge_is_made_before_the_rules_that_keep_containers_apart(scene: Scene) -> None:
    desired = scene.host.union.desired.values()
    links = [link for link in desired if isinstance(link, Link) and "weft_gw" in (link.name, link.master)]
    chains = ("inet", "forward"), ("bridge", "bridge-prerouting"), ("bridge", "bridge-forward")
    rules = {("nft-chain", "", f"{family} weft", f"gateway-{name}") for family, name in chains}
    assert len(links) == 4  # the bridge and three containers' ports
    assert [link.name for link in links if not rules <= set(link.guards)] == []


def hardware(ns: Namespace, device: str) -> bytes:
    [shown] = ns.json("ip", "-j", "link", "show", "dev", device)
    return bytes.fromhex(shown["address"].replace(":", ""))


def bodies(me: bytes, four: str, six: str) -> Iterator[bytes]:
    """Of frames, from the source's MAC address on: ARP, UDP, a neighbour solicitation; each with a VLAN tag as well."""
    target, target6 = ip_address(four).packed, ip_address(six).packed
    own, own6 = ip_address("172.30.0.4").packed, ip_address("fd57:4546:54::4").packed
    udp = struct.pack("!4H", 4000, INNER, 8 + len(MARK), 0) + MARK
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + me + own + bytes(6) + target + MARK
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 7, 0, 64, 17, 0) + own + target
    ip = ip[:10] + checksum(ip) + ip[12:] + udp
    ask = struct.pack("!BBHI", 135, 0, 0, 0) + target6 + MARK
    v6 = [
        struct.pack("!IHBB", 0x60000000, len(body), kind, 255) + own6 + target6 + body
        for kind, body in ((17, udp), (58, ask))
    ]
    for kind, body in ((0x0806, arp), (0x0800, ip), *((0x86DD, packet) for packet in v6), (0x88B5, MARK)):
        yield me + struct.pack("!H", kind) + body
        yield me + struct.pack("!HHH", 0x8100, 5, kind) + body


def checksum(head: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(head) // 2}H", head))
    return struct.pack("!H", ~((total >> 16) + (total & 0xFFFF)) & 0xFFFF)
