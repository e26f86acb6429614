"""A real etcd on loopback, for tests: ended by its pid, or by the kernel if the tests die first."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

READY_TIMEOUT = 20.0
"""Seconds; it takes about half a second on an idle machine."""


class EtcdServer:
    """One member, its data under `directory`. Quick elections make leases of 1 s possible (etcd's least is 1.5
    election timeouts). `tls`: etcd's own flags for the client side, such as --cert-file; they make it https. `address`: where
    clients reach it; `ca`: who signed its certificate, for `ctl`."""

    def __init__(
        self, directory: Path, tls: Sequence[str] = (), address: str = "127.0.0.1", ca: Path | None = None
    ) -> None:
        self._directory = directory
        self._tls, self._ca = tuple(tls), ca
        self._scheme = "https" if tls else "http"
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self._peer_port, self._metrics_port = free_ports(3)
        self.endpoint = f"{address}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "etcd is not running"
        return self._process.pid

    def start(self) -> None:
        """Returns when it serves. Data of an earlier start are there again."""
        if shutil.which("etcd") is None:
            raise RuntimeError("etcd is missing: apt-get install etcd-server etcd-client")
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._wait_ready()

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Harmless if it has stopped."""
        if self._process is not None:
            self._process.send_signal(with_signal)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def ctl(self, *words: str, user: str = "") -> str:
        """etcdctl's answer to `words`; `user`: name:password."""
        login = (f"--user={user}",) if user else ()
        trust = (f"--cacert={self._ca}",) if self._ca else ()
        command = ["etcdctl", f"--endpoints={self._scheme}://{self.endpoint}", *trust, *login, *words]
        done = subprocess.run(
            command, env={"PATH": os.environ["PATH"], "ETCDCTL_API": "3"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def compact(self) -> None:
        """Forget all changes up to now."""
        revision = self.ctl("get", "/", "--limit=1", "--write-out=fields").split('"Revision" : ')[1].split()[0]
        self.ctl("compact", revision)

    def _command(self) -> list[str]:
        client, peer = f"{self._scheme}://{self.endpoint}", f"http://127.0.0.1:{self._peer_port}"
        flags = {
            "name": "one",
            "data-dir": self._directory / "data",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "listen-metrics-urls": f"http://127.0.0.1:{self._metrics_port}",
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"one={peer}",
            "heartbeat-interval": 50,
            "election-timeout": 500,
            "logger": "zap",
            "log-level": "warn",
        }
        words = [f"--{name}={value}" for name, value in flags.items()]
        return ["setpriv", "--pdeathsig", "KILL", "etcd", *words, *self._tls]

    def _wait_ready(self) -> None:
        """It has a leader when it calls itself healthy, on a port without TLS that is there for this."""
        assert self._process is not None
        health = f"http://127.0.0.1:{self._metrics_port}/health"
        deadline = time.monotonic() + READY_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(health, timeout=1) as answer:
                if b'"true"' in answer.read():
                    return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)
        self.stop(signal.SIGKILL)
        raise RuntimeError(f"etcd at {self.endpoint} did not start: {(self._directory / 'log').read_text()[-2000:]}")


def free_ports(count: int) -> list[int]:
    """TCP ports that nobody had on loopback just now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
