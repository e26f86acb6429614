"""Debian's containerd in a lab's hosts, its containers in Weft's networks by `ctr run --cni`."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.places import RUNC, Place
from support.waiting import until
from weft.lab.process import Process

CONTAINERD, CTR = "/usr/bin/containerd", "/usr/bin/ctr"
READY = 30.0
_CONFIG = """\
version = 2
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "/run/containerd/containerd.sock"
"""


def needed() -> None:
    """Skips where Debian's package containerd, what it runs containers with, or an image to run is missing."""
    for path in (CONTAINERD, CTR, RUNC, "/usr/bin/busybox"):
        if not Path(path).exists():
            pytest.skip(f"needs {path}: Debian's packages containerd, runc and busybox-static")
    if os.geteuid() != 0:
        pytest.skip("needs root")


@dataclass
class Containerd(Place):
    daemon: Process | None = None
    _execs: Iterator[int] = field(default_factory=itertools.count)

    def start(self, archive: Path) -> None:
        """containerd, ready to answer, with an image."""
        self.give_own()
        file = self.folder / "containerd.toml"
        file.write_text(_CONFIG.format(folder=self.folder))
        self.daemon = self.host.detach([CONTAINERD, "--config", str(file)], self.folder / "containerd.log")
        until(self._answers, READY, self.tail)
        self.ctr("image", "import", "--snapshotter", "native", str(archive))

    def _answers(self) -> bool:
        assert self.daemon is not None and self.daemon.alive, self.tail()
        return self.host.run([CTR, "version"]).returncode == 0

    def end(self) -> None:
        assert self.daemon is not None and self.daemon.signal(signal.SIGTERM)
        assert self.daemon.wait(READY), self.tail()

    def tail(self) -> str:
        log = self.folder / "containerd.log"
        return "\n".join(log.read_text().splitlines()[-15:]) if log.exists() else ""

    def ctr(self, *words: str) -> str:
        """What it printed. Fails with its complaint."""
        result = self.host.run([CTR, *words], timeout=60)
        assert result.returncode == 0, f"ctr {' '.join(words)}: {result.stderr}\n{self.tail()}"
        return result.stdout.strip()

    def started(self, name: str, *words: str) -> list[str]:
        """`ctr run` up to the image."""
        own = ["--cni", "--snapshotter", "native", "--runc-binary", RUNC, "--cgroup", f"{self.cgroup}/{name}"]
        return ["run", *own, *words, self.IMAGE, name]

    def run(self, name: str, *command: str) -> None:
        self.ctr(*self.started(name, "-d"), *command)

    def remove(self, *names: str) -> None:
        """As it has to be with a container that is detached: there is no CNI DEL then."""
        for name in names:
            self.ctr("task", "rm", "-f", name)
            self.ctr("container", "rm", name)

    def names(self) -> list[str]:
        return self.ctr("container", "ls", "-q").split()

    def inside(self, name: str, *argv: str) -> list[str]:
        return [CTR, "task", "exec", "--exec-id", f"exec-{next(self._execs)}", name, *argv]
