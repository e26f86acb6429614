"""Connections between containers of a lab, both ends in this process: held open, or made as fast as it goes."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from support.waiting import until
from weft.kernel.plumbing import netns

ONCE, NEVER, HELD = (80,), (81,), (90, 91)
"""Ports: whose connections are answered and closed, that nobody is to reach, whose connections are kept."""
_RESET = struct.pack("ii", 1, 0)  # closing resets: no port is taken for a minute


class Server:
    """Answers in one container on all of these ports, in a thread of its own."""

    def __init__(self, ns: str) -> None:
        self.answered, self.wrong = 0, 0
        self._held: dict[int, socket.socket] = {}
        self._ended = False
        self._wait = selectors.DefaultSelector()
        for port in (*ONCE, *NEVER, *HELD):
            listener = netns.call(
                ns,
                lambda port=port: socket.create_server(  # type: ignore[misc]
                    ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512
                ),
            )
            listener.setblocking(False)
            self._wait.register(listener, selectors.EVENT_READ, port)
        self._thread = threading.Thread(target=self._run, name="server")
        self._thread.start()

    def close(self) -> None:
        self._ended = True
        self._thread.join()
        for key in list(self._wait.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._wait.close()
        for held in self._held.values():
            held.close()

    def held(self, client: socket.socket) -> socket.socket:
        """The other end of a connection that is kept."""
        port = client.getsockname()[1]
        until(lambda: port in self._held, 5, f"a connection from port {port}")
        return self._held.pop(port)

    def held_only(self) -> socket.socket:
        """The other end of the one connection that is kept, whatever port it seems to come from."""
        until(lambda: self._held, 5, "a connection")
        return self._held.popitem()[1]

    def _run(self) -> None:
        while not self._ended:
            for key, _ in self._wait.select(0.1):
                try:
                    connection, peer = key.fileobj.accept()  # type: ignore[union-attr]
                except OSError:
                    continue
                if key.data in HELD:
                    self._held[peer[1]] = connection
                    continue
                self.wrong += key.data in NEVER
                self.answered += key.data in ONCE
                with connection:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
                    try:
                        connection.sendall(b"!")
                    except OSError:
                        continue


@dataclass
class Path:
    """From one namespace to an address of a server, which may be one that leads there. `offset`: of its ports, there.
    `masqueraded`: the server sees another port than the client has."""

    name: str
    source: str
    server: Server
    address: str
    offset: int = 0
    masqueraded: bool = False

    def connect(self, port: int, seconds: float = 5) -> socket.socket:
        """In the calling thread's namespace."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        made = socket.socket(family)
        made.settimeout(seconds)
        try:
            made.connect((self.address, port + self.offset))
        except OSError:
            made.close()
            raise
        return made

    def held(self, port: int) -> Held:
        client = netns.call(self.source, lambda: self.connect(port))
        server = self.server.held_only() if self.masqueraded else self.server.held(client)
        return Held(self.name, client, server)


@dataclass
class Held:
    """An open connection."""

    name: str
    client: socket.socket
    server: socket.socket

    def close(self) -> None:
        self.client.close()
        self.server.close()

    def passes(self, *, server_first: bool = False, seconds: float = 0.4) -> bool:
        """Whether what one end says is heard by the other, and the answer by the first."""
        ends = (self.server, self.client) if server_first else (self.client, self.server)
        return self._says(*ends, seconds) and self._says(*reversed(ends), seconds)

    @staticmethod
    def _says(one: socket.socket, other: socket.socket, seconds: float) -> bool:
        text = str(time.monotonic_ns()).encode()
        other.settimeout(seconds)
        try:
            one.sendall(text)
            while heard := other.recv(4096):
                if heard.endswith(text):
                    return True
        except OSError:
            pass
        return False


@dataclass
class Flood:
    """Connections one after the other, until it is told to end. `failed`: each with what became of it."""

    path: Path
    port: int
    seconds: float
    made: int = 0
    failed: list[str] = field(default_factory=list)
    _ended: bool = False

    def __enter__(self) -> Flood:
        self._thread = threading.Thread(target=lambda: netns.call(self.path.source, self._run), name="flood")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()

    def _run(self) -> None:
        while not self._ended:
            try:
                with self.path.connect(self.port, self.seconds) as made:
                    heard = made.recv(1)
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                if heard != b"!":
                    self.failed.append(f"{self.path.name}: heard {heard!r}")
                else:
                    self.made += 1
            except OSError as error:
                self.failed.append(f"{self.path.name}: {error or type(error).__name__}")


def each(held: list[Held], condition: Callable[[Held], bool]) -> list[str]:
    """The names of those of which it does not hold; asked all at once."""
    results: dict[int, bool] = {}

    def ask(number: int) -> None:
        results[number] = condition(held[number])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(held))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [held[number].name for number, holds in results.items() if not holds]
