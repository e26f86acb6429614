"""Services in a lab: many connections to one, and who took them; connections that are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from support.answering import running
from weft.lab.inside import Inside

_COUNT = """
import collections, json, socket, sys
address, port, count, protocol = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
answers, failed = collections.Counter(), collections.Counter()
for _ in range(count):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as sock:
        sock.settimeout(5)
        try:
            sock.connect((address, port))
            if protocol == "udp":
                sock.send(b"?")
            name, _, client = sock.recv(100).decode().split()
            answers[name + " " + client] += 1
        except OSError as error:
            failed[type(error).__name__] += 1
print(json.dumps([answers, failed]))
"""


class Spread(NamedTuple):
    """`by`: how many connections each member took. `seen`: whom they saw. `failed`: by what kind of error."""

    by: Counter[str]
    seen: set[str]
    failed: dict[str, int]


def spread(inside: Inside, address: str, port: int, count: int, protocol: str = "tcp") -> Spread:
    """So many connections, one after the other."""
    words = [sys.executable, "-SIc", _COUNT, address, str(port), str(count), protocol]
    answers, failed = json.loads(inside.run(words, check=True, timeout=120).stdout)
    by: Counter[str] = Counter()
    for answer, number in answers.items():
        by[answer.split()[0]] += number
    return Spread(by, {answer.split()[1] for answer in answers}, failed)


def is_even(by: Counter[str], members: int) -> bool:
    """Within four standard deviations of a binomial distribution, for each member."""
    total = sum(by.values())
    sigma = (total * (1 / members) * (1 - 1 / members)) ** 0.5
    return len(by) == members and all(abs(number - total / members) <= 4 * sigma for number in by.values())


_LINE = """
import socket, sys
address, port, protocol = sys.argv[1], int(sys.argv[2]), sys.argv[3]
kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
sock.settimeout(3)
sock.connect((address, port))
for _ in sys.stdin:
    try:
        sock.send(b"?")
        print(sock.recv(100).decode().split()[0] or "closed", flush=True)
    except (OSError, IndexError) as error:
        print(type(error).__name__, flush=True)
"""

_ECHO = """
import selectors, socket, sys
name, port = sys.argv[1], int(sys.argv[2])
loop = selectors.DefaultSelector()
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    sock = socket.socket(socket.AF_INET6, kind)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", port))
    if kind == socket.SOCK_STREAM:
        sock.listen(16)
    loop.register(sock, selectors.EVENT_READ, kind == socket.SOCK_STREAM)
print("ready", flush=True)
while True:
    for key, _ in loop.select():
        sock = key.fileobj
        if key.data:
            loop.register(sock.accept()[0], selectors.EVENT_READ, False)
            continue
        try:
            heard, peer = sock.recvfrom(100)
            if not heard:
                raise OSError
            sock.sendto(name.encode(), peer) if peer else sock.send(name.encode())
        except OSError:
            loop.unregister(sock)
            sock.close()
"""
"""Answers whatever comes by a connection that is kept, or by UDP, with its name."""


@contextmanager
def echoing(inside: Inside, name: str, port: int) -> Iterator[None]:
    with running(inside, _ECHO, name, str(port)) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield


class Line:
    """A connection that is kept, or packets from one UDP port to one `echoing` server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def asked(self) -> str:
        """Who answers; or the kind of failure."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextmanager
def line(inside: Inside, address: str, port: int, protocol: str = "tcp") -> Iterator[Line]:
    words = [sys.executable, "-SIc", _LINE, address, str(port), protocol]
    with inside.popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Line(process)
        finally:
            process.terminate()
