"""Datagrams between containers of a lab, both ends in this process, each with the time at which it was sent: what came to be
forbidden is not to arrive when it was sent later."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

from weft.bpf.layout import KEY4, KEY6
from weft.kernel.plumbing import netns

PAUSE = 0.002
"""Seconds between two datagrams of a flow."""
_SAID = struct.Struct("=dQ")


@dataclass
class End:
    """`heard`: when each of what arrived was sent, by the monotonic clock; `numbers`: those of them; `foreign`: how much
    else arrived."""

    socket: socket.socket
    sent: int = 0
    heard: list[float] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)
    foreign: int = 0
    peer: tuple[object, ...] | None = None

    def say(self, to: tuple[object, ...]) -> None:
        with suppress(OSError):  # refused by rules, with an ICMP message or without
            self.socket.sendto(_SAID.pack(time.monotonic(), self.sent), to)
            self.sent += 1

    def listen(self) -> None:
        with suppress(OSError):
            while True:
                octets, self.peer = self.socket.recvfrom(100)
                if len(octets) != _SAID.size:
                    self.foreign += 1
                    continue
                at, number = _SAID.unpack(octets)
                self.heard.append(at)
                self.numbers.add(number)

    def after(self, moment: float) -> list[float]:
        """Seconds by which what arrived was sent after it."""
        return [at - moment for at in self.heard if at > moment]


def end(ns: str, address: str, port: int = 0) -> End:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = netns.call(ns, lambda: socket.socket(family, socket.SOCK_DGRAM))
    made.bind((address, port))
    made.setblocking(False)
    return End(made)


@dataclass
class Flow:
    """Both ends talk all the time, with the same addresses and ports."""

    name: str
    client: End
    server: End

    def step(self) -> None:
        self.client.say(self.server.socket.getsockname())
        self.server.listen()
        if self.server.peer:
            self.server.say(self.client.socket.getsockname())
        self.client.listen()

    def close(self) -> None:
        self.client.socket.close()
        self.server.socket.close()

    @property
    def keys(self) -> list[bytes]:
        """As the programs' maps call it, in both directions."""
        ends = [each.socket.getsockname()[:2] for each in (self.client, self.server)]
        family = self.client.socket.family
        shape = KEY6 if family == socket.AF_INET6 else KEY4
        packed = [(socket.inet_pton(family, address), port) for address, port in ends]
        return [shape.pack(a, b, one, two, socket.IPPROTO_UDP) for (a, one), (b, two) in itertools.permutations(packed)]

    @property
    def lost(self) -> int:
        """Of both directions, up to what arrived last."""
        ends = (self.client, self.server)
        return sum(max(each.numbers, default=-1) + 1 - len(each.numbers) for each in ends)


class Talking:
    """These flows talk meanwhile."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        self.flows = flows
        self._ended = threading.Event()

    def __enter__(self) -> Talking:
        self._thread = threading.Thread(target=self._run, name="talking")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for flow in self.flows:
            flow.close()

    def _run(self) -> None:
        while not self._ended.wait(PAUSE):
            for flow in self.flows:
                flow.step()


class Strangers:
    """Single datagrams meanwhile, each from a port of its own: each is a new connection."""

    def __init__(self, ns: str, source: str, server: End) -> None:
        self.server, self._ns, self._source = server, ns, source
        self._ended = threading.Event()

    def __enter__(self) -> Strangers:
        self._thread = threading.Thread(target=lambda: netns.call(self._ns, self._run), name="strangers")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.server.socket.close()

    def _run(self) -> None:
        while not self._ended.wait(PAUSE):
            with closing(socket.socket(self.server.socket.family, socket.SOCK_DGRAM)) as made:
                made.bind((self._source, 0))
                End(made).say(self.server.socket.getsockname())
            self.server.listen()
