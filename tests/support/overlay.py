"""Two hosts wired by hand with ip(8), a container on each, one subnet over both: container, veth, bridge, VXLAN, wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from support.namespaces import Namespace

SUBNET = {4: "10.9.0.{}", 6: "fd00:9::{}"}
VNI, PORT = 9, 4799


class Overlay:
    """`containers` 1 and 2, on `hosts` 1 and 2. A host is a router as well, with the subnet's address
    (100 + N)."""

    def __init__(self) -> None:
        self.hosts = {number: Namespace() for number in (1, 2)}
        self.containers = {number: Namespace() for number in (1, 2)}
        for namespace in self.all():
            namespace.sh("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0")
        self.hosts[1].sh(f"ip link add u0 type veth peer name u0 netns {self.hosts[2].path}")
        for number in (1, 2):
            self._host(number)

    def _host(self, number: int) -> None:
        host, container, other = self.hosts[number], self.containers[number], 3 - number
        for line in (
            f"ip address add 192.168.7.{number}/24 dev u0",
            f"ip address add fd00:7::{number}/64 dev u0 nodad",
            "ip link set u0 up",
            "ip link add br0 type bridge mcast_snooping 0",
            f"ip address add 10.9.0.{100 + number}/24 dev br0",
            f"ip address add fd00:9::{100 + number}/64 dev br0 nodad",
            "ip link set br0 up",
            f"ip link add v0 type veth peer name eth0 netns {container.path}",
            "ip link set v0 master br0 up",
            f"ip link add vx0 type vxlan id {VNI} dstport {PORT} local 192.168.7.{number} remote 192.168.7.{other} dev u0",
            "ip link set vx0 mtu 1450 master br0 up",
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
        ):
            host.sh(line)
        for line in (
            f"ip address add {SUBNET[4].format(number)}/24 dev eth0",
            f"ip address add {SUBNET[6].format(number)}/64 dev eth0 nodad",
            "ip link set eth0 mtu 1450 up",
            f"ip route add default via 10.9.0.{100 + number}",
            f"ip -6 route add default via fd00:9::{100 + number}",
        ):
            container.sh(line)

    def all(self) -> Iterator[Namespace]:
        yield from (*self.hosts.values(), *self.containers.values())

    @property
    def names(self) -> dict[str, str]:
        """By path."""
        named = {self.hosts[n].path: f"host{n}" for n in self.hosts}
        return named | {self.containers[n].path: f"c{n}" for n in self.containers}

    def settle(self) -> None:
        """Neighbours know each other, so that a packet is not preceded by the question."""
        for address in ("10.9.0.2", "10.9.0.101", "fd00:9::2", "fd00:9::101"):
            self.containers[1].sh(f"ping -q -c 1 -W 5 {address}")

    def close(self) -> None:
        for namespace in self.all():
            namespace.close()


@contextmanager
def overlay() -> Iterator[Overlay]:
    made = Overlay()
    try:
        made.settle()
        yield made
    finally:
        made.close()
