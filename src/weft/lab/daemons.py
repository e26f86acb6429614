"""Long-lived processes in a lab: the agents, and etcd. Each has a record and a log in the lab's directory."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.base.errors import Failed, Invalid
from weft.lab import mesh, state
from weft.lab.inside import Inside
from weft.lab.process import Process
from weft.lab.topology import ROUTER, Topology

READY_SECONDS = 30.0
STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02
_TAIL_LINES = 5
ETCD_PORT = 2379


@dataclass(frozen=True)
class Daemon(ABC):
    """`argv` runs in `inside`; `directory` holds NAME.json and NAME.log."""

    name: str
    inside: Inside
    directory: Path
    argv: tuple[str, ...]

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def record(self) -> Path:
        return self.directory / f"{self.name}.json"

    def process(self) -> Process | None:
        """The living process; None when it is not running."""
        try:
            process = state.read(self.record, Process)
        except FileNotFoundError:
            return None
        return process if process.alive else None

    def known(self) -> bool:
        """Whether it was ever started."""
        return self.record.exists()

    def start(self) -> None:
        """Does nothing when it is running. Raises Failed. See `wait_ready`."""
        if self.process() is None:
            state.save(self.record, self.inside.detach(self.argv, self.log))

    def end(self, number: signal.Signals) -> bool:
        """Whether it was running. Raises Failed when it does not end in time."""
        process = self.process()
        if process is None or not process.signal(number):
            return False
        if not process.wait(STOP_SECONDS):
            who = f"{self.inside.name}: {self.name} (pid {process.pid})"
            raise Failed(f"{who} has not ended in {STOP_SECONDS:.0f} s: kill it")
        return True

    @abstractmethod
    def answers(self) -> bool:
        """Whether it is ready for its users."""

    def wait_ready(self, seconds: float = READY_SECONDS, ready: Callable[[], bool] | None = None) -> None:
        """`ready`: more than that it answers. Raises Failed with the end of the log."""
        ready, deadline = ready or self.answers, time.monotonic() + seconds
        while not ready():
            process = self.process()
            if process is None:
                raise Failed(f"{self.inside.name}: {self.name} ended: {self.tail()}")
            if time.monotonic() > deadline:
                raise Failed(f"{self.inside.name}: {self.name} does not answer after {seconds:.0f} s: {self.tail()}")
            process.wait(_POLL_SECONDS)

    def tail(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except FileNotFoundError:
            lines = []
        return " | ".join(lines[-_TAIL_LINES:]) or "it has said nothing"


@dataclass(frozen=True)
class Agent(Daemon):
    socket: Path

    def answers(self) -> bool:
        """Whether it says of itself that it has started, or why it cannot: the store is lost."""
        found = self._states()
        return found is not None and (found[0] != "starting" or found[1] == "lost")

    def connected(self) -> bool:
        """Whether it has started, and its store answers."""
        found = self._states()
        return found is not None and found[0] != "starting" and found[1] == "connected"

    def _states(self) -> tuple[str, str] | None:
        """Its own, and its store's; None where it does not answer."""
        connection = _UnixConnection(self.socket)
        try:
            connection.request("GET", "/v1/status", headers={"Host": "weft"})
            reply = connection.getresponse()
            status = json.loads(reply.read() or "{}")
            found = status.get("state", ""), status.get("store", {}).get("state", "")
            return found if reply.status == http.client.OK else None
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()


@dataclass(frozen=True)
class Etcd(Daemon):
    """In the router's namespace, where every node reaches it."""

    def answers(self) -> bool:
        script = f"exec 3<>/dev/tcp/127.0.0.1/{ETCD_PORT} && printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
        return '"health":"true"' in self.inside.run(["timeout", "2", "bash", "-c", script]).stdout


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("weft", timeout=2)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def store_url(kind: str, topology: Topology, directory: Path) -> str:
    """As agents are given it. Raises Invalid."""
    if kind == "sqlite":
        return f"sqlite://{directory}/store/weft.db"
    if kind == "mesh":
        return mesh.url(topology)
    if kind != "etcd":
        raise Invalid(f"unknown store '{kind}' for a lab: choose sqlite, etcd or mesh")
    if not topology.router:
        raise Invalid("a lab with --store etcd needs a router, where etcd runs: add [router] to the topology")
    segment = topology.hosts[0].segment
    addresses = topology.router.get(segment) or next(iter(topology.router.values()))
    address = addresses[0].ip
    return f"etcd://{f'[{address}]' if address.version == 6 else address}:{ETCD_PORT}"


def etcd(router: Inside, directory: Path, url: str) -> Etcd:
    client = url.replace("etcd://", "http://")
    peer = "http://127.0.0.1:2380"
    options = {
        "data-dir": str(directory / "store/etcd"),
        "listen-client-urls": f"http://0.0.0.0:{ETCD_PORT}" if "[" not in url else f"http://[::]:{ETCD_PORT}",
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
    }
    argv: Sequence[str] = ("etcd", *(f"--{name}={value}" for name, value in options.items()))
    return Etcd("etcd", router, directory / "hosts" / ROUTER, tuple(argv))
