"""Two hosts wired by hand, with containers behind veths, the programs at the devices, and rules that mark what they allow.

    a, b on host 1, c on host 2        `routed`: /32 and /128 behind each veth; `bridged`: one subnet, a bridge and VXLAN.

All neighbours are permanent, so no ARP or ND has to pass where rules let nothing pass.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal

from support.fast_path import Loaded, loaded
from support.namespaces import Home as Home_
from support.namespaces import Namespace
from weft.bpf.layout import ANY_FLOW, BRIDGED, FLOWS, ONE_FLOW, Home

Kind = Literal["routed", "bridged"]
GATEWAY = {4: "169.254.1.1", 6: "fe80::1"}
GATEWAY_MAC = "02:00:00:00:0e:01"
_UPLINK = {1: "02:00:00:00:0f:01", 2: "02:00:00:00:0f:02"}
_BITS = {"routed": ONE_FLOW, "bridged": ONE_FLOW | BRIDGED}


@dataclass
class Container:
    name: str
    host: int
    number: int
    ns: Namespace

    @property
    def mac(self) -> str:
        return f"02:00:00:00:00:{self.number:02x}"

    def address(self, family: int) -> str:
        return f"10.1.0.{self.number}" if family == 4 else f"fd00:1::{self.number}"


@dataclass
class Host:
    number: int
    ns: Namespace
    programs: Loaded
    generation: int = 1
    pairs: bool = False
    indexes: dict[str, int] = field(default_factory=dict)

    def entries(self, family: int) -> int:
        return len(self.programs.flows(family))

    def next_generation(self) -> None:
        self.generation += 1
        self.programs.control(self.generation, self.pairs)

    def index(self, device: str) -> int:
        with self.ns.entered():
            return socket.if_nametoindex(device)


@dataclass
class Lab:
    kind: Kind
    hosts: dict[int, Host]
    containers: dict[str, Container]
    pairs: bool = False

    @contextmanager
    def bypassed(self) -> Iterator[None]:
        """Rules mark all packets meanwhile, for all that have the same addresses."""
        self._decide(pairs=True)
        try:
            yield
        finally:
            self._decide(pairs=False)

    def _decide(self, *, pairs: bool) -> None:
        self.pairs = pairs
        for host in self.hosts.values():
            host.pairs = pairs
            _rules(self, host)
        self.next_generation()

    def family(self) -> str:
        return "inet" if self.kind == "routed" else "bridge"

    @contextmanager
    def denied(self) -> Iterator[None]:
        """Rules let nothing pass meanwhile, and nobody tells the programs of it."""
        for host in self.hosts.values():
            host.ns.sh(f"nft insert rule {self.family()} test forward drop")
        try:
            yield
        finally:
            self._decide(pairs=self.pairs)

    def next_generation(self) -> None:
        for host in self.hosts.values():
            host.next_generation()

    def entries(self, family: int) -> dict[int, int]:
        return {number: host.entries(family) for number, host in self.hosts.items()}

    def repeated(self) -> int:
        """Packets that went the short way, on both hosts."""
        return sum(host.programs.count(slot)[0] for host in self.hosts.values() for slot in (0, 1))


@contextmanager
def lab(netns: Home_, kind: Kind, mtu: int = 1500) -> Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        hosts = {n: Host(n, netns.new(), stack.enter_context(loaded())) for n in (1, 2)}
        placed = (("a", 1), ("b", 1), ("c", 2))
        containers = {name: Container(name, host, number, netns.new()) for number, (name, host) in enumerate(placed, 2)}
        found = Lab(kind, hosts, containers)
        _underlay(found, mtu)
        for host in hosts.values():
            if kind == "bridged":
                _bridge(found, host)
            for container in containers.values():
                _container(found, host, container)
            _rules(found, host)
            _programs(found, host)
        yield found


def _ip(ns: Namespace, *lines: str, tool: str = "ip") -> None:
    ns.run(tool, "-batch", "-", stdin="".join(f"{line}\n" for line in lines))


def _underlay(lab: Lab, mtu: int) -> None:
    one, two = (host.ns for host in lab.hosts.values())
    peer = f"peer name wire mtu {mtu} netns {two.path} address {_UPLINK[2]}"
    one.sh(f"ip link add name wire mtu {mtu} address {_UPLINK[1]} type veth {peer}")
    for number, host in lab.hosts.items():
        other = 3 - number
        _ip(
            host.ns,
            "link set dev wire up",
            f"addr add 192.0.2.{number}/24 dev wire",
            f"addr add fd00:99::{number}/64 dev wire nodad",
            f"neigh replace 192.0.2.{other} dev wire lladdr {_UPLINK[other]} nud permanent",
            f"neigh replace fd00:99::{other} dev wire lladdr {_UPLINK[other]} nud permanent",
        )
        host.ns.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")


def _bridge(lab: Lab, host: Host) -> None:
    _ip(
        host.ns,
        "link add name br type bridge mcast_snooping 0",
        "link set dev br up",
        f"link add name vx mtu 1450 type vxlan id 7 local 192.0.2.{host.number} dstport 4789 nolearning",
        "link set dev vx master br",
        "link set dev vx up",
    )
    for container in lab.containers.values():
        if container.host != host.number:
            _ip(
                host.ns,
                f"fdb add {container.mac} dev vx dst 192.0.2.{container.host} self permanent",
                f"fdb add {container.mac} dev vx master static",
                tool="bridge",
            )


def _container(lab: Lab, host: Host, container: Container) -> None:
    name, mac = container.name, container.mac
    if container.host != host.number:
        if lab.kind == "routed":
            _ip(
                host.ns,
                f"route add {container.address(4)} via 192.0.2.{container.host}",
                f"route add {container.address(6)} via fd00:99::{container.host}",
            )
        return
    peer = f"peer name eth0 netns {container.ns.path} address {mac}"
    host.ns.sh(f"ip link add name {name} address {GATEWAY_MAC} type veth {peer}")
    if lab.kind == "bridged":
        _port(lab, host, container)
    else:
        _behind(host, container)


def _port(lab: Lab, host: Host, container: Container) -> None:
    _ip(host.ns, f"link set dev {container.name} mtu 1450 master br", f"link set dev {container.name} up")
    _ip(
        container.ns,
        f"addr add {container.address(4)}/24 dev eth0",
        f"addr add {container.address(6)}/64 dev eth0 nodad",
        "link set dev eth0 mtu 1450 up",
        *(
            f"neigh replace {other.address(family)} dev eth0 lladdr {other.mac} nud permanent"
            for other in lab.containers.values()
            for family in FLOWS
            if other is not container
        ),
    )


def _behind(host: Host, container: Container) -> None:
    name, v4, v6 = container.name, container.address(4), container.address(6)
    _ip(
        host.ns,
        f"link set dev {name} up",
        f"addr add {GATEWAY[6]}/64 dev {name} nodad",
        f"route add {v4} dev {name}",
        f"route add {v6} dev {name}",
        *(f"neigh replace {address} dev {name} lladdr {container.mac} nud permanent" for address in (v4, v6)),
    )
    _ip(
        container.ns,
        f"addr add {v4}/32 dev eth0",
        f"addr add {v6}/128 dev eth0 nodad",
        "link set dev eth0 up",
        *(f"neigh replace {gateway} dev eth0 lladdr {GATEWAY_MAC} nud permanent" for gateway in GATEWAY.values()),
        f"route add default via {GATEWAY[4]} dev eth0 onlink",
        f"route add ::/0 via {GATEWAY[6]} dev eth0 onlink",
    )


def _rules(lab: Lab, host: Host) -> None:
    priority = 0 if lab.kind == "routed" else 300
    said = "ct state established " if lab.kind == "routed" else "ether type { ip, ip6 } "
    said, bits = ("", _BITS[lab.kind] | ANY_FLOW) if lab.pairs else (said, _BITS[lab.kind])
    host.ns.run(
        *("nft", "-f", "-"),
        stdin=f"table {lab.family()} test\ndelete table {lab.family()} test\n"
        f"table {lab.family()} test {{\nchain forward {{\ntype filter hook forward priority {priority}\n"
        f"{said}meta mark set meta mark | {bits:#x}\n}}\n}}\n",
    )
    if lab.kind == "routed":
        host.ns.sh("sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1")


def _programs(lab: Lab, host: Host) -> None:
    host.programs.control(host.generation)
    here = [container for container in lab.containers.values() if container.host == host.number]
    devices = [*(container.name for container in here), "wire" if lab.kind == "routed" else "vx"]
    host.indexes = {device: host.index(device) for device in devices}
    with host.ns.entered():
        for index in host.indexes.values():
            host.programs.attach(index)
    for container in here:
        for family in FLOWS:
            address = ip_address(container.address(family))
            host.programs.home(address, Home(host.indexes[container.name], host.number - 1))


class Flow:
    """A datagram socket, or an open TCP connection, between two containers, both ends in this process. Its addresses are those
    of the sockets."""

    def __init__(self, client: Container, server: Container, family: int, kind: socket.SocketKind) -> None:
        af = socket.AF_INET if family == 4 else socket.AF_INET6
        with server.ns.entered():
            listening = socket.socket(af, kind)
        with client.ns.entered():
            self.client = socket.socket(af, kind)
        if kind == socket.SOCK_STREAM:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one of before may be in TIME-WAIT
        listening.bind((server.address(family), 7000))
        self.client.bind((client.address(family), 0))
        self.client.settimeout(5)
        if kind == socket.SOCK_STREAM:
            listening.listen()
            self.client.connect(listening.getsockname())
            self.server, _ = listening.accept()
            listening.close()
            self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.server = listening
            self.client.connect(self.server.getsockname())
            self.server.connect(self.client.getsockname())
        self.patience = 0.3
        self._number = 0

    @property
    def ports(self) -> tuple[int, int]:
        return self.client.getsockname()[1], self.server.getsockname()[1]

    def close(self) -> None:
        self.client.close()
        self.server.close()

    def exchange(self) -> bool:
        """A message gets there, and one comes back."""
        return self.send(self.client, self.server) and self.send(self.server, self.client)

    def send(self, source: socket.socket, to: socket.socket) -> bool:
        self._number += 1
        message = self._number.to_bytes(4, "big")
        to.settimeout(self.patience)
        try:
            source.send(message)
            while (found := to.recv(4)) != message:
                if not found:
                    return False
        except OSError:
            return False
        return True


@contextmanager
def flow(lab: Lab, names: str, family: int, kind: socket.SocketKind) -> Iterator[Flow]:
    """`names`: of two containers."""
    client, server = (lab.containers[name] for name in names)
    found = Flow(client, server, family, kind)
    try:
        yield found
    finally:
        found.close()
