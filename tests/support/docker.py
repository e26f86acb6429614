"""Debian's Docker in a lab's hosts: one dockerd in each, in the host's own namespaces, with nothing of the machine's."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.places import cgroup, remove_cgroup
from support.waiting import until
from weft.api import types as t
from weft.client import Client
from weft.lab.host import Host
from weft.lab.lab import WEFT
from weft.lab.process import Process

DOCKER = "/usr/bin/docker"
DOCKERD = next((path for path in ("/usr/sbin/dockerd", "/usr/bin/dockerd") if Path(path).exists()), "/usr/sbin/dockerd")
"""As packages have them, Debian's first; whatever else is on the PATH."""
IMAGE = "busybox"
READY = 60.0
"""Seconds for a dockerd to answer; where a plugin is missing it waits 15 s for it."""
LOOKS = "3"
"""Seconds between two of the plugin's looks at what Docker has. What a container lacks in two of them is taken for gone: on a
busy machine Docker needs more than a second from making an endpoint to showing it."""


def needed() -> None:
    """Skips where Debian's package docker.io, or an image to run, is missing."""
    for path in (DOCKER, DOCKERD, "/usr/bin/busybox"):
        if not Path(path).exists():
            pytest.skip(f"needs {path}: Debian's packages docker.io and busybox-static")
    if os.geteuid() != 0:
        pytest.skip("needs root")


@dataclass
class Engine:
    """dockerd and `weft docker run` on one host. `folder`: of this engine's files, outside of the lab."""

    host: Host
    folder: Path
    live_restore: bool = False
    daemon: Process | None = None
    plugin: Process | None = None

    # Processes.

    def start(self) -> None:
        """dockerd, ready to answer."""
        assert self.daemon is None
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "data-root": str(self.folder / "data"),
            "exec-root": "/run/docker",
            "hosts": ["unix:///run/docker.sock"],
            "pidfile": "/run/docker.pid",
            "storage-driver": "vfs",
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "cgroup-parent": self.cgroup,
            "deprecated-key-path": str(self.folder / "key.json"),
            "live-restore": self.live_restore,
        }
        file = self.folder / "daemon.json"
        file.write_text(json.dumps(settings))
        self.boot()()

    def boot(self) -> Callable[[], None]:
        """dockerd, as configured before. Wait for it by calling what is returned."""
        argv = [DOCKERD, "--config-file", str(self.folder / "daemon.json")]
        self.daemon = self.host.detach(argv, self.folder / "dockerd.log")
        return lambda: until(self._answers, READY, self.tail)

    def _answers(self) -> bool:
        assert self.daemon is not None and self.daemon.alive, self.tail()
        return self.host.run([DOCKER, "version"]).returncode == 0

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.daemon is not None and self.daemon.signal(how)
        assert self.daemon.wait(READY), self.tail()
        self.daemon = None

    def start_plugin(self, *words: str) -> None:
        assert self.plugin is None
        self.plugin = self.host.detach(
            [*WEFT, "docker", "run", "--interval", LOOKS, *words], self.folder / "plugin.log"
        )
        path = "/run/docker/plugins/weft.sock"
        until(lambda: self.host.run(["test", "-S", path]).returncode == 0, 20, self.tail)

    def end_plugin(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.plugin is not None and self.plugin.signal(how)
        assert self.plugin.wait(20), self.tail()
        self.plugin = None

    def mend(self) -> None:
        """What a failed test may have left: processes that do not run."""
        if self.plugin is None or not self.plugin.alive:
            self.plugin = None
            self.start_plugin()
        if self.daemon is None or not self.daemon.alive:
            self.daemon = None
            self.start()

    def tail(self) -> str:
        logs = [self.folder / f"{name}.log" for name in ("dockerd", "plugin")]
        return "\n".join(line for log in logs if log.exists() for line in log.read_text().splitlines()[-15:])

    @property
    def cgroup(self) -> str:
        return cgroup(self.folder, self.host)

    def clean(self) -> None:
        """What dockerd leaves outside of the lab; its processes have ended with that."""
        remove_cgroup(self.cgroup)

    # Docker.

    def docker(self, *words: str, timeout: float = 90) -> str:
        """What it printed. Fails with its complaint."""
        result = self.host.run([DOCKER, *words], timeout=timeout)
        assert result.returncode == 0, f"docker {' '.join(words)}: {result.stderr}\n{self.tail()}"
        return result.stdout.strip()

    def refused(self, *words: str) -> str:
        """Its complaint."""
        result = self.host.run([DOCKER, *words], timeout=90)
        assert result.returncode != 0, f"docker {' '.join(words)}: {result.stdout}"
        return result.stderr.strip()

    def run(self, name: str, *words: str, network: str = "blue") -> None:
        """A container that does nothing."""
        self.docker("run", "-d", "--name", name, "--network", network, *words, IMAGE, "sleep", "1000")

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker("inspect", name))[0]
        return found

    def on(self, name: str, network: str = "blue") -> dict[str, Any]:
        """What Docker says of a container's interface in a network."""
        found: dict[str, Any] = self.inspect(name)["NetworkSettings"]["Networks"][network]
        return found

    def pings(self, name: str, address: str, *, seconds: int = 2) -> bool:
        argv = [DOCKER, "exec", name, "ping", "-c", "1", "-W", str(seconds), address]
        return self.host.run(argv, timeout=30).returncode == 0

    # Weft and the kernel.

    @property
    def client(self) -> Client:
        return Client(str(self.host.socket), timeout=30)

    def held(self) -> list[t.EndpointInfo]:
        """Docker's endpoints on this host, as Weft knows them."""
        return [e for e in self.client.endpoints() if e.node == self.host.name and e.owner.startswith("docker/")]

    def devices(self) -> list[str]:
        """The host's devices that stand for a container: ends of a veth, handed over or not, but the uplink."""
        found = json.loads(self.host.run(["ip", "-j", "link", "show", "type", "veth"], check=True).stdout or "[]")
        return sorted(d["ifname"] for d in found if d["ifname"] != "eth0")
