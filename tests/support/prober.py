"""Runs in a pod: answers on six ports, and says which of many others' ports answer. Needs nothing but Python.

prober.py NAMESPACE          first sends itself into the network namespace at this path; "" stays

A line on standard input is a round: {"round": number, "wait": seconds, "targets": [[name, address, protocol, port], …]}.
All are tried at once, and once; after at most `wait` seconds the answer is a line
{"answered": [name, …], "heard": [[address, protocol, port], …]}: whose answer came, and whose packets of this round came
to these ports, answered or not (of UDP and SCTP: TCP's first packet is the kernel's). TCP answers with an octet, UDP with
what it was sent.

SCTP goes without the kernel's: INIT is answered by INIT ACK, both through raw sockets."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import json
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator

PORTS = (80, 81)
CLONE_NEWNET = 0x40000000
SCTP = 132
INIT, INIT_ACK = 1, 2
LINGER = struct.pack("ii", 1, 0)  # closing resets: nothing of a probe stays in any table


def _table() -> Iterator[int]:
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        yield value


_CRC = tuple(_table())


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for octet in data:
        crc = crc >> 8 ^ _CRC[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF


def chunk(kind: int, source: int, target: int, tag: int, own: int) -> bytes:
    """A packet of SCTP with INIT or INIT ACK. `tag`: the other end's, which INIT has not; `own`: which is told."""
    body = struct.pack("!IIHHI", own, 65536, 1, 1, 1)
    cookie = struct.pack("!HH4s", 7, 8, b"weft") if kind == INIT_ACK else b""
    body = struct.pack("!BBH", kind, 0, 4 + len(body) + len(cookie)) + body + cookie
    head = struct.pack("!HHI", source, target, tag)
    return head + struct.pack("<I", crc32c(head + bytes(4) + body)) + body


def parsed(packet: bytes) -> tuple[int, int, int, int]:
    """(kind of the first chunk, source port, destination port, its initiate tag)."""
    source, target, _, _, kind, _, _, own = struct.unpack_from("!HHIIBBHI", packet)
    return kind, source, target, own


class Prober:
    """`answered`: names of this round; `heard`: by round (others may begin one before us), (address, protocol, port)."""

    def __init__(self) -> None:
        self.wait = selectors.DefaultSelector()
        self.round = 0
        self.answered: set[str] = set()
        self.heard: dict[int, set[tuple[str, str, int]]] = {}
        self.pending: dict[socket.socket, str] = {}
        self.associations: dict[tuple[str, int, int], str] = {}
        self.source = itertools.cycle(range(20_000, 60_000))
        for port in PORTS:
            self._listen(socket.SOCK_STREAM, port, self._accept)
            self._listen(socket.SOCK_DGRAM, port, self._echo)
        self.raw = {family: self._raw(family) for family in (socket.AF_INET, socket.AF_INET6)}

    def _listen(self, kind: int, port: int, ready: object) -> None:
        server = socket.socket(socket.AF_INET6, kind)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            server.listen(128)
        server.setblocking(False)
        self.wait.register(server, selectors.EVENT_READ, (ready, port))

    def _raw(self, family: int) -> socket.socket:
        raw = socket.socket(family, socket.SOCK_RAW, SCTP)
        raw.setblocking(False)
        self.wait.register(raw, selectors.EVENT_READ, (self._sctp, 0))
        return raw

    # What others send.

    def _accept(self, server: socket.socket, _: int) -> None:
        with contextlib.suppress(OSError):
            connection, _peer = server.accept()
            with connection:
                connection.send(b"!")

    def _note(self, number: int, address: str, protocol: str, port: int) -> None:
        self.heard.setdefault(number, set()).add((plain(address), protocol, port))

    def _echo(self, server: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError):
            data, peer = server.recvfrom(64)
            self._note(int(data), peer[0], "UDP", port)
            server.sendto(data, peer)

    def _sctp(self, raw: socket.socket, _: int) -> None:
        with contextlib.suppress(OSError, struct.error):
            packet, peer = raw.recvfrom(2048)
            offset = (packet[0] & 15) * 4 if raw.family == socket.AF_INET else 0
            kind, source, target, own = parsed(packet[offset:])
            if kind == INIT and target in PORTS:
                self._note(own, peer[0], "SCTP", target)
                raw.sendto(chunk(INIT_ACK, target, source, own, 1), (peer[0], 0))
            elif kind == INIT_ACK:
                name = self.associations.pop((plain(peer[0]), source, target), None)
                if name is not None:
                    self.answered.add(name)

    # What is tried.

    def attempt(self, number: int, seconds: float, targets: list[tuple[str, str, str, int]]) -> None:
        self.round = number
        self.answered.clear()
        self.heard = {number: self.heard.get(number, set())}
        for target in targets:
            self._try(*target)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._serve(left)
        for sock in list(self.pending):
            self._done(sock)
        self.associations.clear()

    def _try(self, name: str, address: str, protocol: str, port: int) -> None:
        """From a port that was not used for long: what was allowed once is still known to conntrack."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if protocol == "SCTP":
            source = next(self.source)
            self.associations[address, port, source] = name
            with contextlib.suppress(OSError):
                self.raw[family].sendto(chunk(INIT, source, port, 0, self.round), (address, 0))
            return
        kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
        sock = socket.socket(family, kind)
        sock.setblocking(False)
        if protocol == "UDP":
            sock.bind(("", next(self.source)))
        if sock.connect_ex((address, port)) not in (0, errno.EINPROGRESS):
            sock.close()
            return
        if protocol == "UDP":
            sock.send(str(self.round).encode())
        self.pending[sock] = name
        self.wait.register(sock, selectors.EVENT_READ, (self._answer, 0))

    def _answer(self, sock: socket.socket, _: int) -> None:
        name = self.pending[sock]
        with contextlib.suppress(OSError):
            if sock.recv(64):
                self.answered.add(name)
        self._done(sock)

    def _done(self, sock: socket.socket) -> None:
        del self.pending[sock]
        self.wait.unregister(sock)
        if sock.type == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        sock.close()

    def _serve(self, seconds: float | None) -> None:
        for key, _ in self.wait.select(seconds):
            ready, argument = key.data
            ready(key.fileobj, argument)

    def run(self) -> None:
        """Until standard input ends."""
        self.wait.register(sys.stdin, selectors.EVENT_READ, (self._command, 0))
        say({"ready": True})
        while True:
            self._serve(None)

    def _command(self, stdin: object, _: int) -> None:
        line = sys.stdin.readline()
        if not line:
            sys.exit()
        told = json.loads(line)
        self.attempt(told["round"], told["wait"], told["targets"])
        say({"answered": sorted(self.answered), "heard": sorted(self.heard[self.round])})


def plain(address: str) -> str:
    return address.removeprefix("::ffff:").partition("%")[0]


def say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def enter(path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"cannot enter {path}")
    os.close(descriptor)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1]:
        enter(sys.argv[1])
    Prober().run()
