"""A host with Docker's own networks and no agent, and faults in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.docker import DOCKER, IMAGE, Engine
from weft.lab.host import Host
from weft.lab.lab import WEFT

SERVER = ("httpd", "-f", "-p", "80", "-h", "/")


@dataclass
class Plain:
    host: Host
    engine: Engine

    @classmethod
    def on(cls, host: Host, folder: Path) -> Plain:
        return cls(host, Engine(host, folder))

    def run(self, name: str, *options: str) -> None:
        """A container with a web server."""
        self.engine.docker("run", "-d", "--name", name, *options, IMAGE, *SERVER)

    def sh(self, script: str) -> str:
        """What it printed; fails with its complaint."""
        done = self.host.run(["sh", "-ec", script], timeout=60)
        assert done.returncode == 0, f"{script}: {done.stderr or done.stdout}"
        return done.stdout.strip()

    def inside(self, name: str) -> str:
        """A shell's beginning of a command in a container's network, with the host's own programs."""
        pid = self.engine.docker("inspect", "-f", "{{.State.Pid}}", name)
        return f"nsenter -t {pid} -n"

    def veth(self, name: str, interface: str = "eth0") -> str:
        """The host's end of a container's link."""
        index = self.sh(f"{DOCKER} exec {name} cat /sys/class/net/{interface}/iflink")
        links = json.loads(self.sh("ip -j link"))
        return str(next(link["ifname"] for link in links if link["ifindex"] == int(index)))

    def address(self, name: str, network: str = "bridge") -> str:
        return str(self.engine.on(name, network)["IPAddress"])

    def bridge(self, network: str) -> str:
        return (
            "docker0"
            if network == "bridge"
            else "br-" + self.engine.docker("network", "inspect", "-f", "{{.Id}}", network)[:12]
        )

    def pings(self, name: str, address: str) -> bool:
        return self.engine.pings(name, address, seconds=1)

    def fetches(self, name: str, url: str) -> bool:
        argv = [DOCKER, "exec", name, "wget", "-qO", "/dev/null", "-T", "2", url]
        return self.host.run(argv, timeout=30).returncode == 0

    def weft(self, *words: str) -> tuple[int, str, str]:
        done = self.host.run([*WEFT, *words], timeout=60)
        return done.returncode, done.stdout, done.stderr

    def trace(self, *words: str) -> dict[str, Any]:
        status, out, err = self.weft("trace", *words, "-o", "json")
        assert out, (status, err)
        found: dict[str, Any] = json.loads(out)
        return found


@dataclass(frozen=True)
class Fault:
    """`inject`, `undo`: scripts for the first host. `trace`: what is asked. `kinds`: words of the catalogue that are right.
    `works`: whether real packets get through. `lies`: a part of the text that says where."""

    name: str
    inject: str
    trace: tuple[str, ...]
    kinds: tuple[str, ...]
    works: Callable[[], bool]
    undo: str = ""
    says: str = ""
    more: dict[str, str] = field(default_factory=dict)


def ending(found: dict[str, Any]) -> dict[str, Any]:
    """Of the way there if it ends on the way, else of the way back."""
    there: dict[str, Any] = found["there"]["outcome"]
    if there["ending"] in ("delivered", "left") and found.get("back"):
        return dict(found["back"]["outcome"])
    return there
