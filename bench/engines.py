"""Docker in a lab's hosts: a dockerd in each, in the host's own namespaces, with nothing of the machine's."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from weft.base.errors import Failed, Unsupported
from weft.lab import Host, Lab
from weft.lab.inside import Inside
from weft.lab.lab import WEFT
from weft.lab.process import Process

IMAGE = "busybox"
PROGRAMS = {"dockerd": "docker.io", "docker": "docker.io", "busybox": "busybox-static"}
"""With the Debian packages that have them."""
_READY = 60.0
_CGROUPS = Path("/sys/fs/cgroup")
_PLUGIN = "/run/docker/plugins/weft.sock"


@dataclass
class Engine:
    """dockerd on a host, and `weft docker run` where it is asked for. `folder`: of its files, outside of the lab."""

    host: Host
    folder: Path
    processes: list[Process] = field(default_factory=list)

    def start(self, image: Path) -> None:
        self.folder.mkdir(parents=True)
        settings = {
            "data-root": str(self.folder / "data"),
            "exec-root": "/run/docker",
            "hosts": ["unix:///run/docker.sock"],
            "pidfile": "/run/docker.pid",
            "storage-driver": "vfs",
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "cgroup-parent": self._cgroup,
            "deprecated-key-path": str(self.folder / "key.json"),
        }
        (self.folder / "daemon.json").write_text(json.dumps(settings))
        self._run("dockerd", "--config-file", str(self.folder / "daemon.json"))
        self._await(["docker", "version"])
        self.docker("import", str(image), IMAGE)

    def start_plugin(self) -> None:
        self._run(*WEFT, "docker", "run")
        self._await(["test", "-S", _PLUGIN])

    def _run(self, *argv: str) -> None:
        self.processes.append(self.host.detach(argv, self.folder / "log"))

    def _await(self, probe: Sequence[str]) -> None:
        """Until it succeeds. Raises Failed."""
        deadline, never = time.monotonic() + _READY, threading.Event()
        while self.host.run(probe).returncode:
            if time.monotonic() > deadline or not self.processes[-1].alive:
                lines = (self.folder / "log").read_text(errors="replace").strip().splitlines()
                raise Failed(f"{self.host.name}: {' '.join(probe)}: it does not come up: {' | '.join(lines[-3:])}")
            never.wait(0.05)

    def docker(self, *words: str) -> str:
        """What it said. Raises Failed."""
        return self.host.must(f"docker {words[0]}", ["docker", *words]).strip()

    def run(self, name: str, network: str) -> float:
        """A container that does nothing: the seconds until it runs."""
        start = time.perf_counter()
        self.docker("run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "100000")
        return time.perf_counter() - start

    def container(self, name: str, network: str) -> tuple[Inside, str]:
        """Its network namespace with the host's programs, and its address."""
        form = f"{{{{.NetworkSettings.SandboxKey}}}} {{{{(index .NetworkSettings.Networks {json.dumps(network)}).IPAddress}}}}"
        path, address = self.docker("inspect", "-f", form, name).split()
        within = ("nsenter", f"--net={path}")
        return Inside(
            f"{self.host.name}/{name}", self.host.holder, self.host.init, self.host.directory, within
        ), address

    @property
    def _cgroup(self) -> str:
        return f"/weft-{self.folder.parent.name}-{self.host.name}"

    def stop(self) -> None:
        """With its containers, as far as it still answers."""
        names = self.host.run(["docker", "ps", "-aq"]).stdout.split()
        if names:
            self.host.run(["docker", "rm", "-f", *names])
        for process in reversed(self.processes):
            process.signal(signal.SIGTERM)
            process.wait(_READY)

    def clean(self) -> None:
        """What dockerd leaves outside of the lab. Its processes have ended."""
        for top in (_CGROUPS, *(p for p in _CGROUPS.iterdir() if p.is_dir())):
            parent = top / self._cgroup.lstrip("/")
            for path in sorted((p for p in parent.rglob("*") if p.is_dir()), reverse=True):
                path.rmdir()
            if parent.exists():
                parent.rmdir()


@contextmanager
def engines(lab: Lab, names: Sequence[str], folder: Path) -> Iterator[dict[str, Engine]]:
    """On each of these hosts. Raises Unsupported where a program is missing, Failed."""
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            raise Unsupported(f"{program} is not installed: `apt install {package}`")
    image, made = _image(folder), {name: Engine(lab.host(name), folder / name) for name in names}
    try:
        for engine in made.values():
            engine.start(image)
        yield made
    finally:
        for engine in made.values():
            engine.stop()
        lab.down()
        for engine in made.values():
            engine.clean()


def _image(folder: Path) -> Path:
    """A root file system with busybox, as a tar file."""
    root = folder / "root"
    for name in ("bin", "proc", "sys", "dev", "etc", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), root / "bin/busybox")
    (root / "bin/sleep").symlink_to("busybox")
    subprocess.run(["tar", "-C", str(root), "-cf", str(folder / "image.tar"), "."], check=True)
    return folder / "image.tar"


def swarm(manager: Engine, worker: Engine, addresses: tuple[str, str]) -> None:
    """Both in one, of which the overlay networks are."""
    manager.docker("swarm", "init", "--advertise-addr", addresses[0])
    token = manager.docker("swarm", "join-token", "-q", "worker")
    worker.docker("swarm", "join", "--token", token, "--advertise-addr", addresses[1], f"{addresses[0]}:2377")
