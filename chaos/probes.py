"""A steady stream of pings between containers that nobody touches, with an account of each one.

All run in one thread of this process: a raw ICMP socket stays in the network namespace it was opened in (and keeps that
namespace alive), so no program runs in the containers. A ping counts as lost when no answer has come after `PATIENCE`.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from weft.base.net import IPAddress
from weft.kernel.plumbing import netns

INTERVAL = 0.1
PATIENCE = 1.5
_KEPT = 6000  # pings of each probe: ten minutes
_ECHO, _ECHO6, _REPLY, _REPLY6 = 8, 128, 0, 129  # RFC 792, RFC 4443 4


def open_socket(namespace: str, family: int) -> socket.socket:
    """A raw ICMP socket in the namespace at this path."""

    def make() -> socket.socket:
        if family == 4:
            return socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMP)
        return socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6)

    made = netns.call(namespace, make)
    made.setblocking(False)
    return made


def send(sock: socket.socket, address: IPAddress, ident: int, number: int) -> bool:
    """Whether the kernel took it."""
    body = struct.pack("!BBHHH", _ECHO if address.version == 4 else _ECHO6, 0, 0, ident, number) + b"weft chaos"
    if address.version == 4:  # the kernel fills in the checksum of ICMPv6 only
        body = body[:2] + struct.pack("!H", _checksum(body)) + body[4:]
    try:
        sock.sendto(body, (str(address), 0))
    except OSError:
        return False
    return True


def replies(sock: socket.socket, family: int) -> Iterable[tuple[int, int]]:
    """(identifier, sequence number) of the answers that have come."""
    while True:
        try:
            packet = sock.recv(2048)
        except OSError:
            return
        packet = packet[(packet[0] & 15) * 4 :] if family == 4 else packet
        kind, _, _, ident, number = struct.unpack_from("!BBHHH", packet)
        if kind == (_REPLY if family == 4 else _REPLY6):
            yield ident, number


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


@dataclass
class Ping:
    """`sent` and `answered` (0: not yet): by time.monotonic."""

    sent: float
    answered: float = 0.0


@dataclass
class Probe:
    """`wanted`: it is to be answered; otherwise nobody may. `hosts`: those it begins and ends at. `driver`: of the
    network of its target."""

    name: str
    sock: socket.socket
    address: IPAddress
    hosts: frozenset[str]
    driver: str
    wanted: bool
    ident: int
    pings: dict[int, Ping] = field(default_factory=dict)
    count: int = 0

    def send(self) -> None:
        self.count += 1
        self.pings[self.count] = Ping(time.monotonic())
        self.pings.pop(self.count - _KEPT, None)
        send(self.sock, self.address, self.ident, self.count & 0xFFFF)

    def receive(self) -> None:
        now = time.monotonic()
        for ident, number in replies(self.sock, self.address.version):
            at = self.count - ((self.count - number) & 0xFFFF)
            if ident == self.ident and at in self.pings:
                self.pings[at].answered = self.pings[at].answered or now

    def between(self, start: float, end: float) -> list[Ping]:
        return [p for p in list(self.pings.values()) if start <= p.sent <= end]

    def unanswered(self, start: float, end: float) -> list[float]:
        """When those were sent to which no answer came."""
        return [p.sent for p in self.between(start, end) if not p.answered]

    def answered(self, start: float, end: float) -> list[float]:
        """When those were sent to which one came."""
        return [p.sent for p in self.between(start, end) if p.answered]

    def flows(self, since: float) -> bool:
        """Whether the last few pings after `since` were all answered."""
        now = time.monotonic()
        last = self.between(max(since, now - 5 * INTERVAL), now - INTERVAL)
        return len(last) >= 3 and all(p.answered for p in last)


class Prober:
    """Sends for all probes until it is closed."""

    def __init__(self, probes: list[Probe]) -> None:
        self.probes = probes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        poll, by_fd = select.poll(), {probe.sock.fileno(): probe for probe in self.probes}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        due = time.monotonic()
        while not self._stop.is_set():
            wait = due - time.monotonic()
            if wait <= 0:
                for probe in self.probes:
                    probe.send()
                due = time.monotonic() + INTERVAL
            for fd, _ in poll.poll(max(wait, 0.001) * 1000):
                by_fd[fd].receive()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for probe in self.probes:
            probe.sock.close()
