"""A host that routes between two containers, and rules on the host: who sends a packet for real, and who sees it come in.

    left ── to-left  host  to-right ── right

The last rule of each one's input writes down what comes there and throws it away: so nothing answers by itself, and what is
written down has been through all of the kernel's rules. All of it is done by one processor, which works off what veths hand
over in order: what has been sent before something else is there before it.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import msgspec

from support.namespaces import Home, Namespace, entered
from weft.filters.model import Tuple
from weft.filters.octets import packet
from weft.kernel.host.nflog import Ear, Heard

GROUP = 77
WITNESS = f"""
table inet witness {{
  chain seen {{
    type filter hook input priority 2147483647;
    ip saddr 127.0.0.1 udp dport 9 log group {GROUP} drop
    ip saddr 127.0.0.1 accept
    log group {GROUP} drop
  }}
}}
"""
LEFT = ("10.1.0.2", "10.1.0.3", "fd01::2", "fd01::3")
RIGHT = ("10.2.0.2", "10.2.0.3", "fd02::2", "fd02::3")
HOST = ("10.1.0.1", "10.2.0.1", "fd01::1", "fd02::1")
NOBODY = ("10.9.0.1", "fd09::1")
"""Addresses that a rule may translate."""
_ECHO = (8, 0, 128, 129)
"""ICMP besides is the kernel's own."""
ROUNDS = 4
"""More than there are hops on the way: after so many, what was sent has arrived or never will."""


class Sight(msgspec.Struct, frozen=True):
    """Where a packet came to the end of input, and with which addresses. ICMP: no ports."""

    where: str
    protocol: int
    src: str
    dst: str
    sport: int
    dport: int


class Three:
    """`bits`: of prefixes, by family."""

    bits: ClassVar[dict[int, int]] = {4: 24, 6: 64}

    def __init__(self, host: Home) -> None:
        self.host: Namespace = host
        self.spaces: dict[str, Namespace] = {"host": host, "left": host.new(), "right": host.new()}
        self.join()
        for name in self.spaces:
            self.witness(name)
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self._ears = {name: Ear(GROUP, space.path, at_once=1) for name, space in self.spaces.items()}
        self._heard: list[Sight] = []

    def close(self) -> None:
        for ear in self._ears.values():
            ear.close()

    def witness(self, name: str) -> None:
        self.spaces[name].run("nft", "-f", "-", stdin=WITNESS)

    def join(self) -> None:
        for name, dev, far in (("left", "to-left", LEFT), ("right", "to-right", RIGHT)):
            self.connect(name, dev)
            self._routed(name, dev, far)

    def connect(self, name: str, dev: str) -> None:
        self.host.sh(f"ip link add {dev} type veth peer name eth0 netns {self.spaces[name].path}")

    def addresses(self, at: Namespace, dev: str, addresses: Iterable[str]) -> None:
        for address in addresses:
            prefix = f"{address}/{self.bits[6 if ':' in address else 4]}"
            at.run("ip", "address", "add", prefix, "dev", dev, *(["nodad"] if ":" in address else []))
        at.sh(f"ip link set {dev} up")

    def _routed(self, name: str, dev: str, far: tuple[str, ...]) -> None:
        host, space = self.host, self.spaces[name]
        ours = {4: far[0].rsplit(".", 1)[0] + ".1", 6: far[2].rsplit(":", 1)[0] + ":1"}
        here, there = _mac(host, dev), _mac(space, "eth0")
        self.addresses(host, dev, ours.values())
        self.addresses(space, "eth0", far)
        for address in far:
            host.sh(f"ip neigh replace {address} lladdr {there} dev {dev} nud permanent")
        for family, address in ours.items():
            space.sh(f"ip neigh replace {address} lladdr {here} dev eth0 nud permanent")
            space.sh(f"ip -{family} route add default via {address}")

    # -- packets -------------------------------------------------------------------------------------------------------

    def send(self, name: str, what: Tuple, **how: Any) -> None:
        """A packet of a program there. One that the kernel refuses to send is not sent."""
        with _inside(self.spaces[name], what.src.version) as sock:
            try:
                sock.sendto(packet(what, **how), (str(what.dst), 0))
            except OSError:
                return

    def seen(self) -> list[Sight]:
        """What came since the last time."""
        for _ in range(ROUNDS):
            _round(self.spaces["left"])
        for name, ear in self._ears.items():
            with _in(self.spaces[name]), socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.sendto(b"last", ("127.0.0.1", 9))
            self._until_last(name, ear)
        found, self._heard = self._heard, []
        return found

    def _until_last(self, name: str, ear: Ear) -> None:
        while True:
            readable, _, _ = select.select([ear], [], [], 10)
            assert readable, f"the witness in {name} says nothing"
            for heard in ear.read(1000):
                if str(heard.source) == "127.0.0.1":
                    return
                if heard.kind is None or heard.kind in _ECHO:
                    self._heard.append(_sight(name, heard))


class Bridged(Three):
    """The same addresses, in one subnet: the host has a bridge with both of them at its ports, and takes part in it."""

    bits: ClassVar[dict[int, int]] = {4: 8, 6: 8}

    def join(self) -> None:
        host = self.host
        host.sh("ip link add br0 type bridge")
        for name, dev, ours in (("left", "to-left", LEFT), ("right", "to-right", RIGHT)):
            self.connect(name, dev)
            host.sh(f"ip link set {dev} master br0 up")
            self.addresses(self.spaces[name], "eth0", ours)
        self.addresses(host, "br0", HOST)
        macs = dict.fromkeys(HOST, _mac(host, "br0"))
        macs |= dict.fromkeys(LEFT, _mac(self.spaces["left"], "eth0"))
        macs |= dict.fromkeys(RIGHT, _mac(self.spaces["right"], "eth0"))
        for name, space in self.spaces.items():
            dev = "br0" if name == "host" else "eth0"
            mine = _mac(space, dev)
            for address, mac in macs.items():
                if mac != mine:
                    space.sh(f"ip neigh replace {address} lladdr {mac} dev {dev} nud permanent")


def _sight(where: str, heard: Heard) -> Sight:
    ports = heard.sport or 0, heard.dport or 0
    return Sight(where, heard.protocol, str(heard.source), str(heard.target), *ports)


def _mac(space: Namespace, dev: str) -> str:
    return str(space.json("ip", "-j", "link", "show", dev)[0]["address"])


@contextmanager
def _in(space: Namespace) -> Iterator[None]:
    fd = os.open(space.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with entered(fd):
            yield
    finally:
        os.close(fd)


@contextmanager
def _inside(space: Namespace, version: int) -> Iterator[socket.socket]:
    with _in(space):
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with sock:
        yield sock


def _round(space: Namespace) -> None:
    """What the processor had to do before is done when this has come back: the backlog is one."""
    with _in(space), socket.socket(type=socket.SOCK_DGRAM) as ear, socket.socket(type=socket.SOCK_DGRAM) as mouth:
        ear.settimeout(10)
        ear.bind(("127.0.0.1", 0))
        mouth.sendto(b"", ear.getsockname())
        ear.recv(1)


@contextmanager
def one_processor() -> Iterator[None]:
    """The calling thread stays on one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
