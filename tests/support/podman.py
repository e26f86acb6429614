"""Debian's Podman in a lab's hosts, its containers in Weft's networks by CNI."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.places import RUNC, Place

PODMAN = "/usr/bin/podman"
_NEEDED = (PODMAN, "/usr/bin/conmon", RUNC, "/usr/bin/busybox")
_CONTAINERS = """\
[containers]
http_proxy = false
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
_STORAGE = """\
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
"""


def needed() -> None:
    """Skips where Debian's package podman, what it runs containers with, or an image to run is missing."""
    for path in _NEEDED:
        if not Path(path).exists():
            pytest.skip(f"needs {path}: Debian's packages podman, conmon, runc and busybox-static")
    if os.geteuid() != 0:
        pytest.skip("needs root")


@dataclass
class Podman(Place):
    def start(self, archive: Path) -> None:
        """Configured, and with an image. There is no daemon."""
        self.give_own()
        (self.folder / "etc/containers/containers.conf").write_text(_CONTAINERS)
        (self.folder / "etc/containers/storage.conf").write_text(_STORAGE)
        self.podman("load", "--input", str(archive))

    def podman(self, *words: str) -> str:
        """What it printed. Fails with its complaint."""
        result = self.host.run([PODMAN, *words], timeout=60)
        assert result.returncode == 0, f"podman {' '.join(words)}: {result.stderr}"
        return result.stdout.strip()

    def refused(self, *words: str) -> str:
        """Its complaint."""
        result = self.host.run([PODMAN, *words], timeout=60)
        assert result.returncode != 0, f"podman {' '.join(words)}: {result.stdout}"
        return result.stderr.strip()

    def started(self, name: str, network: str, *words: str) -> list[str]:
        """`podman run` up to the image."""
        own = ["--cgroup-parent", self.cgroup, "--cap-add", "NET_RAW"]  # for ping
        return ["run", "-d", *own, "--name", name, "--network", network, *words]

    def run(self, name: str, *command: str, network: str, options: tuple[str, ...] = ()) -> None:
        self.podman(*self.started(name, network, *options), self.IMAGE, *command)

    def remove(self, *names: str) -> None:
        self.podman("rm", "-f", "-t", "0", *names)

    def names(self) -> list[str]:
        return self.podman("ps", "-aq").split()

    def on(self, name: str, network: str) -> dict[str, Any]:
        """What Podman says of a container's interface in a network."""
        found: dict[str, Any] = json.loads(self.podman("inspect", name))[0]["NetworkSettings"]["Networks"][network]
        return found

    def address(self, name: str, network: str) -> str:
        return str(self.on(name, network)["IPAddress"])

    def inside(self, name: str, *argv: str) -> list[str]:
        return [PODMAN, "exec", name, *argv]
