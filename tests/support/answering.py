"""Servers in containers and hosts of a lab that answer with their name and whom they see, and those who ask them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from weft.lab.inside import Inside

SERVER = """
import selectors, socket, sys
name, *ports = sys.argv[1:]
loop = selectors.DefaultSelector()
for protocol, number in (word.split("/") for word in ports):
    kind, protocol = {"tcp": (1, 6), "udp": (2, 17), "sctp": (1, 132)}[protocol]
    sock = socket.socket(socket.AF_INET6, kind, protocol)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", int(number)))
    if kind == 1:
        sock.listen(16)
    loop.register(sock, selectors.EVENT_READ)
print("ready", flush=True)
def answer(sock, peer):
    return f"{name} {sock.getsockname()[1]} {peer[0].removeprefix('::ffff:')}".encode()
while True:
    for key, _ in loop.select():
        sock = key.fileobj
        if sock.type == socket.SOCK_DGRAM:
            _, peer = sock.recvfrom(100)
            sock.sendto(answer(sock, peer), peer)
        else:
            accepted, peer = sock.accept()
            with accepted:
                accepted.sendall(answer(sock, peer))
"""
"""Answers with its name, the port it was reached at, and whom it sees."""

CLIENT = """
import json, socket, sys
answers = []
for word in sys.argv[1:]:
    protocol, address, port = word.split(",")
    kind, number = {"tcp": (1, 6), "udp": (2, 17), "sctp": (1, 132)}[protocol]
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind, number)
    sock.settimeout(1)
    try:
        sock.connect((address, int(port)))
        if kind == 2:
            sock.send(b"?")
        answers.append(sock.recv(100).decode().split())
    except OSError as error:
        answers.append(type(error).__name__)
print(json.dumps(answers))
"""


@contextmanager
def running(inside: Inside, script: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    with inside.popen([sys.executable, "-SIc", script, *words], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def serving(inside: Inside, name: str, *ports: str) -> Iterator[None]:
    with running(inside, SERVER, name, *ports) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield


def ask(inside: Inside, *targets: str) -> list[list[str] | str]:
    """What is heard from each PROTOCOL,ADDRESS,PORT: the server's name, its port, whom it saw; or the kind of failure."""
    found: list[list[str] | str] = json.loads(
        inside.run([sys.executable, "-SIc", CLIENT, *targets], check=True, timeout=60).stdout
    )
    return found
