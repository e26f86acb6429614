"""What containers cannot reach, and who cannot reach them, on every data path: tried with forged packets in the real kernel."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest
from msgspec.structs import replace

from support import lab
from support.namespaces import Home, Namespace
from support.routed import Host, Listener, Router, listening, other_site, ping
from weft.base.net import link_local
from weft.datapaths import _gateway, guard
from weft.datapaths.driver import Site, gather
from weft.hoststate import Contribution
from weft.hoststate.union import Source
from weft.model import Gateway, Node

DRIVERS = {
    "bridge": ("bridge", {}),
    "vxlan": ("vxlan", {}),
    "host-gw": ("host-gw", {}),
    "routed": ("routed", {}),
    "routed-vxlan": ("routed", {"encap": "vxlan"}),
}
INNER = "10.22.0.0/16"
"""The internal network."""
MARK = b"WEFT-FORGED"
OTHER = "192.168.1.254"
"""node-2, another host of the cluster."""


class Scene:
    """node-1 with container `o1` in an open network of the driver, and `i1` in an internal one; node-2 is known, and stands
    beside the router."""

    def __init__(self, home: Home, run: Path, what: str, families: tuple[int, ...] = (4,), **facts: object) -> None:
        driver, options = DRIVERS[what]
        self.driver = driver
        self.router = Router(home)
        self.host = Host(home, self.router, "node-1", lab.network(driver, families, options=options), run, **facts)
        self.inner: Site = other_site(
            self.host, driver, "inner", INNER, options={**options, **_other_vni(options, driver)}, internal=True
        )
        self.host.join(self.inner)
        self.peer = lab.node("node-2", control=(9473,))
        self.host.want(Source("node", "", "node-2"), _known(self.host, self.peer))
        self.out = self.host.attach("o1", 2)
        self.inside = self.host.attach("i1", 2, site=self.inner)
        self.host.converge()
        self.router.ns.sh(f"ip addr add {OTHER}/24 dev seg-a")
        i1 = self.host.containers["i1"]
        with contextlib.suppress(AssertionError):  # a container may add what it likes
            via = "169.254.1.1" if driver == "routed" else str(self.inner.lease.subnets[0][1])
            i1.run("ip", "route", "add", "default", "via", via, "dev", "eth0", "onlink", check=False)

    def container(self, name: str) -> Namespace:
        return self.host.containers[name]

    def passes(self, sender: Namespace, source: str, target: str, at: Namespace, device: str) -> bool:
        """Whether a UDP packet with this source arrives at a device."""
        with listening(at, device) as heard:
            forge(sender, source, target)
            return any(MARK in frame for frame in settled(heard, at))


def settled(heard: Listener, at: Namespace) -> list[bytes]:
    """Packets between namespaces of one machine are delivered while they are sent, or in the softirq right after."""
    found: list[bytes] = []
    for _ in range(3):
        at.sh("true")  # a process's start: some milliseconds
        found += heard.frames()
    return found


def _other_vni(options: dict[str, object], driver: str) -> dict[str, object]:
    if driver == "vxlan" or options.get("encap") == "vxlan":
        return {"vni": 301}
    return {}


def _known(host: Host, node: Node) -> Contribution:
    return gather(guard.known_node(host.node, node))


@pytest.fixture(params=DRIVERS)
def scene(netns: Home, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    found = Scene(netns, tmp_path, request.param)
    yield found
    found.host.close()


def forge(sender: Namespace, source: str, target: str, protocol: int = 17, body: bytes | None = None) -> None:
    """An IPv4 packet with any source, by the sender's routes."""
    if body is None:
        body = struct.pack("!4H", 53, 7777, 8 + len(MARK), 0) + MARK
    head = struct.pack(
        "!BBHHHBBH4s4s",
        69,
        0,
        20 + len(body),
        7,
        0,
        64,
        protocol,
        0,
        ip_address(source).packed,
        ip_address(target).packed,
    )
    with sender.entered():
        out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with out, contextlib.suppress(OSError):  # no route: that is one way to be closed
        out.sendto(head + body, (target, 0))


def udp(port: int) -> bytes:
    return struct.pack("!4H", 4000, port, 8 + len(MARK), 0) + MARK


# -- internal networks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["own", "neighbour", "o1", "198.51.100.7", "192.168.1.68"])
def test_nothing_gets_out_of_an_internal_network_whatever_its_source(scene: Scene, source: str) -> None:
    own = str(scene.inside.addresses[0].ip)
    neighbour = str(ip_address(own) + 5)
    there = str(scene.out.addresses[0].ip)
    source = {"own": own, "neighbour": neighbour, "o1": there}.get(source, source)
    i1 = scene.container("i1")
    assert not scene.passes(i1, source, "192.168.1.1", scene.router.ns, "seg-a")
    assert not scene.passes(i1, source, there, scene.container("o1"), "eth0")


def test_what_the_host_answers_to_a_forged_source_does_not_get_out(scene: Scene) -> None:
    """An echo request to the host in somebody else's name: the reply would carry its payload outside."""
    echo = struct.pack("!BBHHH", 8, 0, 0, 7, 1) + MARK + b"\0"
    total = sum(struct.unpack(f"!{len(echo) // 2}H", echo))
    echo = echo[:2] + struct.pack("!H", ~((total >> 16) + (total & 0xFFFF)) & 0xFFFF) + echo[4:]
    with listening(scene.router.ns, "seg-a") as heard:
        forge(scene.container("i1"), "192.168.1.1", "192.168.1.68", 1, echo)
        assert not any(MARK in frame for frame in settled(heard, scene.router.ns))


def test_nobody_gets_into_an_internal_network_with_a_forged_source(scene: Scene) -> None:
    target = str(scene.inside.addresses[0].ip)
    i1 = scene.container("i1")
    forged = [str(ip_address(target) + 5), "10.22.77.7", "198.51.100.7", str(scene.out.addresses[0].ip)]
    scene.router.ns.sh(f"ip route add {INNER} via 192.168.1.68")
    for source in forged:
        assert not scene.passes(scene.container("o1"), source, target, i1, "eth0"), f"from o1 as {source}"
        assert not scene.passes(scene.router.ns, source, target, i1, "eth0"), f"from the underlay as {source}"


def test_containers_of_an_internal_network_reach_each_other(scene: Scene) -> None:
    scene.host.attach("i2", 3, site=scene.inner)
    scene.host.converge()
    assert ping(scene.container("i1"), scene.inner.lease.subnets[0][3])


def test_multicast_passes_among_containers_of_an_internal_network_where_bridged_packets_pass_the_rules(
    scene: Scene,
) -> None:
    """br_netfilter, as with Docker beside: neighbour solicitations of IPv6 go to a multicast address."""
    if scene.driver == "routed":
        pytest.skip("there is no bridge")
    try:
        scene.host.ns.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1")
    except AssertionError:
        pytest.skip("the kernel has no br_netfilter")
    scene.host.attach("i2", 3, site=scene.inner)
    scene.host.converge()
    own = str(scene.inside.addresses[0].ip)
    assert scene.passes(scene.container("i1"), own, "224.0.0.251", scene.container("i2"), "eth0")
    assert not scene.passes(scene.container("i1"), own, "224.0.0.251", scene.router.ns, "seg-a")


# -- what controls the cluster -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [4, 41, 47])
def test_no_tunnel_packets_of_a_container_reach_a_host(scene: Scene, protocol: int) -> None:
    o1 = scene.container("o1")
    own = str(scene.out.addresses[0].ip)
    seen = []
    with listening(scene.router.ns, "seg-a") as heard:
        forge(o1, own, OTHER, protocol, b"\x45" + bytes(19) + MARK)
        forge(o1, own, "192.168.1.1", protocol, b"\x45" + bytes(19) + MARK)  # no host of the cluster
        seen = [f[30:34] for f in settled(heard, scene.router.ns) if MARK in f and f[23] == protocol]
    assert seen == [ip_address("192.168.1.1").packed]


def test_no_vxlan_packets_of_a_container_reach_a_host(scene: Scene) -> None:
    """Those of all tunnels of the cluster; its own address or a forged one, its own host or another."""
    scene.host.want(Source("tunnel", "elsewhere"), _tunnel(9999))
    scene.host.converge()
    o1, own = scene.container("o1"), str(scene.out.addresses[0].ip)
    ports = {9999} | ({scene.inner.options.udp_port} - {None})
    with listening(scene.router.ns, "seg-a") as heard:
        for port in (*ports, 4000):
            forge(o1, own, OTHER, body=udp(port))
        seen = {struct.unpack("!H", f[36:38])[0] for f in settled(heard, scene.router.ns) if MARK in f and f[23] == 17}
    assert seen == {4000}
    with scene.host.ns.entered():
        taken = {port: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for port in (9999, 4000)}
    for port, receiver in taken.items():
        receiver.bind(("", port))
        receiver.settimeout(0.3)
        for source in (own, OTHER) if scene.driver != "routed" else (own,):
            forge(o1, source, "192.168.1.68", body=udp(port))
    assert taken[4000].recv(100) == MARK
    with pytest.raises(TimeoutError):
        taken[9999].recv(100)
    for receiver in taken.values():
        receiver.close()


def _tunnel(port: int) -> Contribution:
    return gather(guard.cluster_tunnel(port))


def test_no_control_port_of_a_host_is_reached_and_all_others_are(scene: Scene) -> None:
    """BGP and the agent's port of another host, BGP of its own; port 80 of both, and BGP of a router that is no node."""
    o1 = scene.container("o1")
    with contextlib.ExitStack() as stack:
        for ns, port in ((scene.router.ns, 179), (scene.router.ns, 9473), (scene.router.ns, 80)):
            stack.enter_context(serving(ns, port))
        for port in (179, 80):
            stack.enter_context(serving(scene.host.ns, port))
        assert reached(o1, OTHER, 80) and reached(o1, "192.168.1.68", 80) and reached(o1, "192.168.1.1", 179)
        assert not reached(o1, OTHER, 179)
        assert not reached(o1, OTHER, 9473)
        assert not reached(o1, "192.168.1.68", 179)


@contextlib.contextmanager
def serving(ns: Namespace, port: int) -> Iterator[None]:
    with ns.entered():
        server = socket.create_server(("", port))
    with server:
        yield


def reached(ns: Namespace, address: str, port: int) -> bool:
    """By a TCP connection: within one second, in which the first SYN is sent once again."""
    with ns.entered():
        client = socket.socket()
    with client:
        client.settimeout(1.5 if port == 80 or address == "192.168.1.1" else 0.4)
        try:
            client.connect((address, port))
        except (TimeoutError, OSError):
            return False
        return True


def test_no_container_reaches_the_store(netns: Home, tmp_path: Path) -> None:
    """Whether it runs on this node, or on a machine that is no node; other ports of that machine are reached."""
    with store_scene(netns, tmp_path) as scene:
        o1 = scene.container("o1")
        assert reached(o1, "192.168.1.1", 80)
        assert not reached(o1, "192.168.1.1", 2379)
        assert not reached(o1, "192.168.1.68", 2379)


def test_control_open_lets_containers_reach_what_controls_the_cluster(netns: Home, tmp_path: Path) -> None:
    with store_scene(netns, tmp_path, control_open=True) as scene:
        o1 = scene.container("o1")
        assert reached(o1, "192.168.1.1", 2379) and reached(o1, "192.168.1.68", 2379)


@contextlib.contextmanager
def store_scene(netns: Home, run: Path, **facts: object) -> Iterator[Scene]:
    store = frozenset({(ip_address("192.168.1.1"), 2379)})
    scene = Scene(netns, run, "bridge", control=(2379,), store=store, **facts)
    with contextlib.ExitStack() as stack:
        stack.callback(scene.host.close)
        for ns, port in ((scene.router.ns, 2379), (scene.router.ns, 80), (scene.host.ns, 2379)):
            stack.enter_context(serving(ns, port))
        yield scene


# -- who gets a container's packets ------------------------------------------------------------------------------------


def test_forged_arp_on_a_shared_bridge_has_no_effect(scene: Scene) -> None:
    """Another container claims the victim's address with its own MAC; the host goes on sending to the victim."""
    scene.host.attach("o2", 3)
    scene.host.converge()
    address = str(scene.out.addresses[0].ip)
    assert ping(scene.container("o2"), "192.168.1.68") and ping(scene.host.ns, address)
    with scene.container("o2").entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("eth0", 0))
        me, ip = b"\x02\x66\x66\x66\x66\x66", ip_address(address).packed
        for operation in (1, 2):
            head = b"\xff" * 6 + me + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
            out.send(head + me + ip + b"\xff" * 6 + ip)
    assert ping(scene.host.ns, address)
    shown = scene.host.ns.json("ip", "-j", "neigh", "show", "to", address)
    assert ["PERMANENT"] in [n["state"] for n in shown]  # routed: by the device that its route names
    assert not scene.host.converge().ops


@pytest.mark.parametrize("what", DRIVERS)
def test_forged_nd_on_a_shared_bridge_has_no_effect(netns: Home, tmp_path: Path, what: str) -> None:
    """The same with a neighbour advertisement that overrides (RFC 4861 section 4.4)."""
    scene = Scene(netns, tmp_path, what, (4, 6))
    with contextlib.closing(scene.host):
        scene.host.attach("o2", 3)
        scene.host.converge()
        address = scene.out.addresses[1].ip
        assert ping(scene.host.ns, address)
        me, target = b"\x02\x66\x66\x66\x66\x66", address.packed
        everybody = ip_address("ff02::1").packed
        body = b"\x88\0\0\0\x20\0\0\0" + target + b"\x02\x01" + me
        pseudo = target + everybody + struct.pack("!II", len(body), 58) + body
        total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
        total = (total & 0xFFFF) + (total >> 16)
        body = body[:2] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + body[4:]
        head = struct.pack("!IHBB", 0x60000000, len(body), 58, 255)
        send(scene.container("o2"), b"\x33\x33\0\0\0\x01" + me + b"\x86\xdd" + head + target + everybody + body)
        assert ping(scene.host.ns, address)
        shown = scene.host.ns.json("ip", "-j", "neigh", "show", "to", str(address))
        assert [n["lladdr"] for n in shown if n["state"] == ["PERMANENT"]] == [scene.out.mac]


def send(ns: Namespace, frame: bytes, device: str = "eth0") -> None:
    with ns.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((device, 0))
        out.send(frame)


def claim(mac: str) -> bytes:
    """A frame to everybody from this MAC address, of a protocol that nobody answers."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) + b"\x88\xb5" + MARK + bytes(50)


def test_a_forged_source_mac_gets_nobody_elses_frames(scene: Scene) -> None:
    """A bridge that learnt would send what is for `o1` to `o2` from then on."""
    scene.host.attach("o2", 3)
    scene.host.converge()
    address = str(scene.out.addresses[0].ip)
    assert ping(scene.host.ns, address)
    for _ in range(3):
        send(scene.container("o2"), claim(scene.out.mac))
        with listening(scene.container("o2"), "eth0") as heard:
            assert ping(scene.host.ns, address)
            mac = bytes.fromhex(scene.out.mac.replace(":", ""))
            assert not [f for f in settled(heard, scene.host.ns) if f[:6] == mac]
    assert not scene.host.converge().ops


def test_a_bridge_learns_nothing_from_what_containers_claim(scene: Scene) -> None:
    """Else its table could be filled without end."""
    for n in range(5):
        send(scene.container("o1"), claim(f"02:99:00:00:00:{n:02x}"))
    assert "02:99:" not in scene.host.ns.run("bridge", "fdb", "show")


def test_frames_of_a_bridge_inside_a_container_reach_others(scene: Scene) -> None:
    """Where it may send in their names. The MAC addresses behind it are in no table; frames to them go to all ports."""
    if scene.driver == "routed":
        pytest.skip("there is no bridge")
    scene.host.float(replace(scene.out, spoofing="allow"))
    o1 = scene.container("o1")
    o1.sh("ip link add link eth0 name inner type macvlan mode bridge")
    o1.sh("ip link set inner up")
    o1.run("ip", "addr", "add", f"{ip_address(int(scene.out.addresses[0].ip) + 50)}/24", "dev", "inner")
    scene.host.attach("o2", 3)
    scene.host.converge()
    assert ping(scene.container("o2"), ip_address(int(scene.out.addresses[0].ip) + 50))


def test_what_is_deleted_of_a_port_or_of_its_entry_comes_back(scene: Scene) -> None:
    if scene.driver == "routed":
        pytest.skip("there is no bridge")
    port, mac = scene.host.endpoints["o1"].host_interface, scene.out.mac
    for command in (
        f"bridge fdb del {mac} dev {port} master",
        f"bridge fdb replace {mac} dev {port} master static",
        f"bridge link set dev {port} learning on",
    ):
        scene.host.ns.sh(command)
        assert len(scene.host.converge().ops) == 1, command
        assert scene.host.converge().ops == ()


def test_entries_follow_a_mac_address_that_another_plugin_gave(scene: Scene) -> None:
    """CNI's `tuning` changes it behind Weft's back; packets arrive meanwhile, and when its record has followed."""
    endpoint = scene.host.attach("o3", 4, owner="cni")
    scene.host.converge()
    address, new = str(endpoint.addresses[0].ip), "02:77:00:00:00:01"
    scene.container("o3").sh(f"ip link set eth0 address {new}")
    assert scene.host.converge().ops == ()
    assert list(scene.host.reconciler.altered.values()) == [new]
    scene.host.float(replace(endpoint, mac=new))
    scene.host.converge()
    assert ping(scene.host.ns, address) and ping(scene.container("o3"), "192.168.1.68")
    shown = scene.host.ns.json("ip", "-j", "neigh", "show", "to", address)
    assert [n["lladdr"] for n in shown if n["state"] == ["PERMANENT"]] == [new]
    assert endpoint.mac not in scene.host.ns.run("bridge", "fdb", "show")
    scene.host.want(Source("endpoint", "o3"), None)
    scene.host.converge()
    assert new not in scene.host.ns.run("bridge", "fdb", "show")


# -- the bridge that all overlay networks share ------------------------------------------------------------------------


class Ways:
    """node-1 with the way out of two containers, each of another overlay network; of that, nothing else is there."""

    def __init__(self, home: Home, run: Path) -> None:
        self.router = Router(home)
        self.host = Host(home, self.router, "node-1", lab.network("bridge"), run)
        self.containers = [self._container(name, number) for number, name in enumerate(("red", "green"), 2)]
        self.host.converge()

    def _container(self, name: str, number: int) -> Namespace:
        site = other_site(self.host, "overlay", name, f"10.{number}.0.0/16", options={"vni": 300 + number})
        endpoint = self.host.attach(name, number, site=site)
        gateway = Gateway(
            interface="eth1",
            addresses=tuple(
                ip_interface(f"{base}{4 * number + 2}/{n}") for base, n in (("172.30.0.", 30), ("fd30::", 126))
            ),
        )
        endpoint = replace(endpoint, gateway=gateway)
        parts = [*_gateway.common(site), *_gateway.port(site, endpoint)]
        self.host.want(Source("endpoint", name), gather(iter([*guard.control(site.host), *parts])))
        return self.host.containers[name]


@pytest.fixture
def ways(netns: Home, tmp_path: Path) -> Iterator[Ways]:
    found = Ways(netns, tmp_path)
    yield found
    found.host.close()


def test_nobody_gets_the_answers_to_a_container_of_another_overlay_network(ways: Ways) -> None:
    """Neither by its MAC address nor by its IP addresses, whether from the host or from outside."""
    red, green = ways.containers
    mac = next(link["address"] for link in red.json("ip", "-j", "link", "show", "eth1"))
    assert ping(red, "192.168.1.1")
    own, me = ip_address("172.30.0.10").packed, b"\x02\x66\x66\x66\x66\x66"
    arp = me + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + me + own + b"\xff" * 6 + own
    for frame in (claim(mac), b"\xff" * 6 + arp):
        send(green, frame, "eth1")
        with listening(green, "eth1") as heard:
            assert ping(ways.host.ns, "172.30.0.10")
            assert ping(red, "192.168.1.1")
            assert not [f for f in settled(heard, green) if f[:6] == bytes.fromhex(mac.replace(":", ""))]
    assert ways.host.converge().ops == ()


def test_a_restart_finds_all_rules_as_they_should_be(scene: Scene) -> None:
    scene.host.restart()
    assert scene.host.converge().ops == ()


def test_router_advertisements_do_not_reach_other_containers(scene: Scene) -> None:
    """RFC 4861 section 4.2: plain, behind a destination options header, and behind tags with the VLAN number 0, which the
    receiver takes off. A neighbour advertisement in the container's own name passes."""
    scene.host.attach("o2", 3)
    scene.host.converge()
    sender = scene.container("o1")
    mac = bytes.fromhex(scene.out.mac.replace(":", ""))
    source, everybody = link_local(scene.out.mac).packed, ip_address("ff02::1").packed

    def frame(kind: int, hidden: bool = False, tags: bytes = b"") -> bytes:
        body = struct.pack("!BBHI", kind, 0, 0, 0) + (bytes(8) if kind == 134 else source)
        body = struct.pack("!BB", 58, 0) + b"\x01\x04" + bytes(4) + body if hidden else body
        head = struct.pack("!IHBB", 0x60000000, len(body), 60 if hidden else 58, 255)
        return b"\x33\x33\x00\x00\x00\x01" + mac + tags + b"\x86\xdd" + head + source + everybody + body

    with listening(scene.container("o2"), "eth0") as heard, sender.entered():
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        out.bind(("eth0", 0))
        with out:
            out.send(frame(134))
            out.send(frame(134, hidden=True))
            for tags in ("81000000", "8100e000", "88a80000", "8100000081000000", "88a8000081000000"):
                out.send(frame(134, tags=bytes.fromhex(tags)))
            out.send(frame(136))
        seen = [f[f.index(source + everybody) + 32] for f in settled(heard, scene.host.ns) if source + everybody in f]
    assert seen == ([] if scene.driver == "routed" else [136])
