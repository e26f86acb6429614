"""Who answers at a service's address: both ends, run as programs inside containers.

calls.py serve NAME             says NAME to whoever connects to port 80, and closes; keeps connections to port 90 and says
                                again what it hears; answers HTTP at port 81: with 200, after SIGUSR1 with 503, after
                                SIGUSR2 with 200
calls.py call ADDRESS PORT RATE connects so many times a second until SIGTERM, then prints an `Outcome` as JSON
"""

from __future__ import annotations

import contextlib
import json
import selectors
import signal
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass, field

ANSWER, HEALTH, KEPT = 80, 81, 90
PATIENCE = 8.0
"""Seconds for an answer: of a busy machine, too."""
MOST = 400
"""Connections at the same time."""
_TOTAL_RETRANS = 100  # offset of tcpi_total_retrans in struct tcp_info, linux/tcp.h
_RESET = struct.pack("ii", 1, 0)  # closing resets: no port is taken for a minute


@dataclass
class Outcome:
    """`made`: answered connections, by who answered. `failed`: when (seconds of the monotonic clock, at its beginning), and
    how. `again`: when those began that were answered, and of which a packet had to be sent again."""

    made: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[float, str]] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def all(self) -> int:
        return sum(self.made.values())


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Server:
    def __init__(self, name: str) -> None:
        self._name, self._status = name.encode(), 200
        self._wait = selectors.DefaultSelector()
        for port in (ANSWER, HEALTH, KEPT):
            sock = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
            sock.setblocking(False)
            self._wait.register(sock, selectors.EVENT_READ, port)
        signal.signal(signal.SIGUSR1, lambda *_: self._say(503))
        signal.signal(signal.SIGUSR2, lambda *_: self._say(200))

    def _say(self, status: int) -> None:
        self._status = status

    def run(self) -> None:
        while True:
            for key, _ in self._wait.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                with contextlib.suppress(OSError):
                    if key.data > 0:
                        self._accept(sock, key.data)
                    else:
                        self._answer(sock, -key.data)

    def _accept(self, listener: socket.socket, port: int) -> None:
        """What is heard by a connection has the port's number with a minus."""
        for _ in range(64):
            connection, _ = listener.accept()
            if port == ANSWER:
                with connection:
                    connection.sendall(self._name)
                continue
            self._wait.register(connection, selectors.EVENT_READ, -port)
            if port == KEPT:
                connection.sendall(self._name + b"\n")

    def _answer(self, connection: socket.socket, port: int) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = connection.recv(4096)
            health = f"HTTP/1.1 {self._status} x\r\nContent-Length: 0\r\n\r\n".encode()
            connection.sendall(health if port == HEALTH and data else data)
        if not data or port == HEALTH:
            self._wait.unregister(connection)
            connection.close()


class Caller:
    def __init__(self, address: str, port: int, rate: float) -> None:
        self._where, self._rate = (address, port), rate
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._wait = selectors.DefaultSelector()
        self._open: dict[socket.socket, float] = {}
        self.outcome, self.ended = Outcome(), False

    def run(self) -> None:
        began, made = time.monotonic(), 0
        while self._open or not self.ended:
            due = 0 if self.ended else int((time.monotonic() - began) * self._rate) - made
            made += max(0, due)  # what cannot be begun in time is left out
            for _ in range(min(due, MOST - len(self._open))):
                self._begin()
            for key, _ in self._wait.select(0.005):
                assert isinstance(key.fileobj, socket.socket)
                self._hear(key.fileobj)
            self._give_up()
        self.outcome.seconds = time.monotonic() - began

    def _begin(self) -> None:
        sock = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._open[sock] = time.monotonic()
        try:
            sock.connect(self._where)
        except BlockingIOError:
            self._wait.register(sock, selectors.EVENT_READ)
        except OSError as error:
            self._end(sock, str(error))

    def _hear(self, sock: socket.socket) -> None:
        try:
            said = sock.recv(64).decode()
        except BlockingIOError:
            return
        except OSError as error:
            self._end(sock, str(error))
            return
        if said:
            made = self.outcome.made
            made[said] = made.get(said, 0) + 1
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TOTAL_RETRANS + 4)[_TOTAL_RETRANS]:
                self.outcome.again.append(self._open[sock])
        self._end(sock, "" if said else "closed without an answer")

    def _give_up(self) -> None:
        late = time.monotonic() - PATIENCE
        for sock in [sock for sock, began in self._open.items() if began < late]:
            self._end(sock, "no answer")

    def _end(self, sock: socket.socket, why: str) -> None:
        began = self._open.pop(sock)
        if why:
            self.outcome.failed.append((began, why))
        with contextlib.suppress(KeyError):
            self._wait.unregister(sock)
        sock.close()


def main(words: list[str]) -> None:
    if words[0] == "serve":
        server = Server(words[1])
        say("listening")
        server.run()
    caller = Caller(words[1], int(words[2]), float(words[3]))
    signal.signal(signal.SIGTERM, lambda *_: setattr(caller, "ended", True))
    say("calling")
    caller.run()
    say(json.dumps(asdict(caller.outcome)))


if __name__ == "__main__":
    main(sys.argv[1:])
