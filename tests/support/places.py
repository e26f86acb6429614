"""A lab's host as engines with CNI want it: /etc, /opt and some of /var/lib of its own, and control groups that go with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from weft.api import types as t
from weft.client import Client
from weft.cni import launcher
from weft.lab.host import Host

_CGROUPS = Path("/sys/fs/cgroup")
RUNC = next((path for path in ("/usr/sbin/runc", "/usr/bin/runc") if Path(path).exists()), "/usr/sbin/runc")
"""As packages have it, Debian's first."""
CAPABILITIES = ("ips", "mac", "dns", "aliases", "portMappings", "ipRanges")
_OWN = r"""
set -e
mkdir -p "$1"/etc "$1"/opt/cni/bin
cp -a /etc/. "$1"/etc
for folder in $(find /opt -mindepth 1 -maxdepth 1 -type d ! -name cni); do
  mkdir "$1$folder"
  mount --rbind "$folder" "$1$folder"
done
mount --bind "$1"/etc /etc
mount --rbind "$1"/opt /opt
for folder in /var/lib/cni /var/lib/containers; do
  mkdir -p "$1$folder" "$folder"
  mount --bind "$1$folder" "$folder"
done
mkdir -p /etc/cni/net.d /etc/containers
rm -f /etc/cni/net.d/*
"""


@dataclass
class Place:
    """An engine on a host. `folder`: of its files, outside of the lab."""

    IMAGE: ClassVar[str] = "docker.io/library/busybox:latest"

    host: Host
    folder: Path

    def give_own(self) -> None:
        """From here on the host has its own of these, in `folder`: a copy of the machine's /etc without networks of CNI,
        the machine's /opt with nothing but our plugin in /opt/cni, empty /var/lib/cni and /var/lib/containers. The machine's
        stay as they are."""
        self.folder.mkdir(parents=True)
        self.host.run(["bash", "-c", _OWN, "own", str(self.folder)], check=True, timeout=60)
        launcher.install(self.folder / "opt/cni/bin")

    def network(self, name: str, driver: str, subnet: str) -> None:
        """A configuration as the documentation has it."""
        plugin = {"type": "weft-cni", "driver": driver, "subnet": subnet}
        plugin |= {"capabilities": dict.fromkeys(CAPABILITIES, True)}
        whole = {"cniVersion": "1.0.0", "name": name, "plugins": [plugin]}
        self._file(name).write_text(json.dumps(whole))

    def forget(self, name: str) -> None:
        self._file(name).unlink()

    def _file(self, name: str) -> Path:
        return self.folder / f"etc/cni/net.d/10-{name}.conflist"

    def inside(self, name: str, *argv: str) -> list[str]:
        """The engine's command that runs another in a container."""
        raise NotImplementedError

    def pings(self, name: str, address: str, *, seconds: int = 2) -> bool:
        argv = self.inside(name, "ping", "-c", "1", "-W", str(seconds), address)
        return self.host.run(argv, timeout=30).returncode == 0

    def fetched(self, name: str, address: str) -> str:
        """What a web server at `address` says to a container; "" where none answers."""
        return self.host.run(self.inside(name, "wget", "-qO-", f"http://{address}/"), timeout=30).stdout.strip()

    # Weft and the kernel.

    @property
    def client(self) -> Client:
        return Client(str(self.host.socket), timeout=30)

    def held(self) -> list[t.EndpointInfo]:
        """The engine's endpoints on this host, as Weft knows them."""
        return [e for e in self.client.endpoints() if e.node == self.host.name and e.owner.startswith("cni/")]

    def left(self) -> str:
        """What is there of containers: endpoints, and ends of a veth but the uplink; "" for nothing."""
        links = json.loads(self.host.run(["ip", "-j", "link", "show", "type", "veth"], check=True).stdout or "[]")
        devices = [link["ifname"] for link in links if link["ifname"] != "eth0"]
        owners = [e.owner for e in self.held()]
        return f"{owners} {devices}" if owners or devices else ""

    @property
    def cgroup(self) -> str:
        return cgroup(self.folder, self.host)


def serving(said: str) -> tuple[str, ...]:
    """A web server on port 80, as a container's command."""
    return "sh", "-c", f"mkdir -p /www; echo {said} >/www/index.html; exec httpd -f -p 80 -h /www"


def cgroup(folder: Path, host: Host) -> str:
    """A name for the control group of an engine's containers."""
    return f"/weft-{folder.parent.parent.name}-{folder.parent.name}-{host.name}"


def remove_cgroup(name: str) -> None:
    """With those in it, in all hierarchies; their processes have ended."""
    for top in (_CGROUPS, *(p for p in _CGROUPS.iterdir() if p.is_dir())):
        parent = top / name.lstrip("/")
        for path in sorted((p for p in parent.rglob("*") if p.is_dir()), reverse=True):
            path.rmdir()
        if parent.exists():
            parent.rmdir()
