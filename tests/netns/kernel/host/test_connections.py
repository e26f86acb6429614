"""Open connections are found, cut off and let go on again, between two containers of a host."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from support.namespaces import Home, Namespace
from support.waiting import until
from weft.kernel.host import connections
from weft.kernel.host.connections import Flow

BIT = 0x0010_0000
RULES = f"""
table inet t {{
  chain f {{
    type filter hook forward priority 0;
    ct state established,related ct mark and {BIT:#x} == 0 accept
    ct mark and {BIT:#x} != 0 meta l4proto tcp reject with tcp reset
    ct mark and {BIT:#x} != 0 drop
    ct state new tcp flags & (fin|syn|rst|ack) != syn drop
  }}
  chain d {{
    type nat hook prerouting priority dstnat;
    ip daddr 10.9.0.9 tcp dport 8080 dnat to 10.2.0.2:80
  }}
  chain others {{
    type filter hook postrouting priority 100;
    ct mark set ct mark or 0x7
  }}
}}
"""
ENDS = {4: ("10.1.0.2", "10.2.0.2"), 6: ("fd01::2", "fd02::2")}


class Scene:
    def __init__(self, netns: Home, sockets: ExitStack) -> None:
        self.netns, self._sockets = netns, sockets
        self.left, self.right = (self._container(number) for number in (1, 2))
        netns.run("nft", "-f", "-", stdin=RULES)
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            netns.sh(f"sysctl -qw {name}=1")

    def _container(self, number: int) -> Namespace:
        ns = self.netns.new()
        self.netns.sh(f"ip link add v{number} up type veth peer name eth0 netns {ns.path}")
        ns.sh("ip link set eth0 up")
        for prefix, length in ((f"10.{number}.0.", 24), (f"fd0{number}::", 64)):
            self.netns.sh(f"ip address add {prefix}1/{length} dev v{number} nodad")
            ns.sh(f"ip address add {prefix}2/{length} dev eth0 nodad")
            ns.sh(f"ip route add default via {prefix}1")
        return ns

    def tcp(self, fam: int, to: tuple[str, int] | None = None) -> tuple[socket.socket, socket.socket]:
        """Both ends: who asked, who answered."""
        kind = socket.AF_INET if fam == 4 else socket.AF_INET6
        with self.right.entered(), socket.socket(kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", 80))
            listener.listen()
            with self.left.entered():
                client = socket.socket(kind)
                client.settimeout(3)
                client.connect(to or (ENDS[fam][1], 80))
            server, _ = listener.accept()
            server.settimeout(3)
        return self._sockets.enter_context(client), self._sockets.enter_context(server)

    def udp(self, ns: Namespace, address: str) -> socket.socket:
        with ns.entered():
            found = self._sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        found.bind((address, 70))
        found.settimeout(0.3)
        return found

    def flow(self, address: str) -> Flow:
        (flow,) = connections.find({"": {ip_address(address).packed}})[""]
        return flow


@pytest.fixture
def scene(netns: Home) -> Iterator[Scene]:
    with ExitStack() as sockets:
        yield Scene(netns, sockets)


def says(one: socket.socket, other: socket.socket, text: bytes = b"hello") -> bool:
    """Whether what one end says is heard by the other."""
    try:
        one.sendall(text)
        return other.recv(100) == text
    except (ConnectionError, TimeoutError):
        return False


@pytest.mark.parametrize("fam", [4, 6])
@pytest.mark.parametrize("first", ["client", "server"])
def test_a_connection_that_is_cut_is_dead_whoever_speaks(scene: Scene, fam: int, first: str) -> None:
    ends = scene.tcp(fam)
    one, other = ends if first == "client" else ends[::-1]
    assert says(one, other)
    flow = scene.flow(ENDS[fam][0])
    assert flow == scene.flow(ENDS[fam][1]) and (flow.protocol, flow.sport, flow.mark) == (6, 80, 7)
    assert connections.put("", BIT, [(flow, True)]) == 1
    assert scene.flow(ENDS[fam][0]).mark == BIT | 7, "other bits are others'"
    one.sendall(b"hello")
    with pytest.raises(ConnectionResetError):
        one.recv(1)
    other.settimeout(0.3)
    with pytest.raises(TimeoutError):
        other.recv(1)
    with pytest.raises(ConnectionError):
        other.sendall(b"hello")
        other.recv(1)
    assert scene.flow(ENDS[fam][0]).tuple == flow.tuple


def test_what_is_allowed_again_goes_on(scene: Scene) -> None:
    client, server = scene.udp(scene.left, ENDS[4][0]), scene.udp(scene.right, ENDS[4][1])
    client.connect((ENDS[4][1], 70))
    server.connect((ENDS[4][0], 70))
    assert says(client, server) and says(server, client)
    flow = scene.flow(ENDS[4][1])
    connections.put("", BIT, [(flow, True)])
    assert not says(client, server) and not says(server, client)
    connections.put("", BIT, [(flow, False)])
    assert says(server, client) and says(client, server)


def test_it_is_found_where_it_goes_to(scene: Scene) -> None:
    """By the address that is behind the published one."""
    client, server = scene.tcp(4, ("10.9.0.9", 8080))
    flow = scene.flow(ENDS[4][1])
    assert (flow.dport, flow.sport, flow.dst) == (8080, 80, ip_address("10.9.0.9").packed)
    assert connections.find({"": {flow.dst}}) == {"": []}
    connections.put("", BIT, [(flow, True)])
    assert not says(client, server)


def test_what_is_closed_is_told_apart_where_it_has_a_mark(scene: Scene) -> None:
    client, server = scene.tcp(4)
    assert not scene.flow(ENDS[4][0]).over
    client.close()
    server.close()
    until(lambda: scene.flow(ENDS[4][0]).over, 5, "the connection to be over")


def test_what_has_no_ports(scene: Scene) -> None:
    for fam in (4, 6):
        scene.left.sh(f"ping -c5 -i0.3 {ENDS[fam][1]}")
        assert scene.flow(ENDS[fam][0]).icmp == ((8, 0) if fam == 4 else (128, 0))


def test_what_is_gone_is_no_matter(scene: Scene, netns: Home) -> None:
    scene.tcp(4)
    flow = scene.flow(ENDS[4][0])
    netns.sh("conntrack -F")
    assert connections.put("", BIT, [(flow, True)]) == 0
    assert connections.find({"/run/netns/absent": {flow.src}, "": {flow.src}}) == {"": []}
