"""The CNI plugin run as a container engine does: the executable, the environment, stdin."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.reach import client
from weft.api import types as t
from weft.lab import Lab
from weft.lab.inside import Inside, InsideProcess

HOST = "node-1"
LATEST = "1.1.0"
SUBNETS = ("10.50.0.0/16", "fd50::/48")
Object = dict[str, Any]


@dataclass(frozen=True)
class Ran:
    status: int
    text: str
    err: str = ""

    @property
    def out(self) -> Object:
        found: Object = json.loads(self.text)
        return found

    @property
    def code(self) -> int:
        """Of the error that it must be. Section 2, "Errors": exit status not 0, an error result; nothing else besides."""
        assert self.status == 1, self
        assert self.err == "", self
        assert set(self.out) <= {"cniVersion", "code", "msg", "details"}, self
        assert self.out["msg"], self
        return int(self.out["code"])

    @property
    def msg(self) -> str:
        return f"{self.out['msg']} {self.out.get('details', '')}"

    def well(self) -> Ran:
        assert (self.status, self.err) == (0, ""), self
        return self


def config(**more: object) -> Object:
    return {"cniVersion": LATEST, "name": "net", "type": "weft-cni", "network": "blue", **more}


@dataclass(frozen=True)
class Engine:
    """In a host of a lab. `network`: what containers are attached to, unless told otherwise."""

    lab: Lab
    executable: Path

    @property
    def host(self) -> Inside:
        return self.lab.host(HOST)

    @property
    def socket(self) -> str:
        return str(self.lab.host(HOST).socket)

    # Containers.

    def container(self, name: str) -> str:
        """A new one; its namespace's path."""
        self.sh(f"ip netns add {name}")
        return f"/run/netns/{name}"

    def remove(self, name: str) -> None:
        self.sh(f"ip netns del {name}")

    def sh(self, script: str) -> str:
        return self.host.run(["bash", "-c", script], check=True, timeout=30).stdout

    def links(self, name: str = "") -> set[str]:
        """The devices in a container, or on the host, but for those of the host as such."""
        shown = json.loads(self.sh(f"ip -j {f'-n {name}' if name else ''} link show"))
        return {link["ifname"] for link in shown} - {"lo"}

    def veths(self) -> set[str]:
        return {link["ifname"] for link in json.loads(self.sh("ip -j link show type veth"))} - {"eth0"}

    def addresses(self, name: str, ifname: str = "eth0") -> set[str]:
        shown = json.loads(self.sh(f"ip -j -n {name} address show dev {ifname}"))[0]["addr_info"]
        return {f"{a['local']}/{a['prefixlen']}" for a in shown if a["scope"] == "global"}

    def endpoints(self) -> tuple[t.EndpointInfo, ...]:
        return client(self.lab, HOST).endpoints()

    # The plugin.

    def command(self, command: str, name: str = "c1", ifname: str = "eth0", **more: str | None) -> list[str]:
        """`more`: environment; None as value leaves a variable out."""
        values: dict[str, str | None] = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": name,
            "CNI_NETNS": f"/run/netns/{name}",
            "CNI_IFNAME": ifname,
            "CNI_PATH": str(self.executable.parent),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            **more,
        }
        return ["env", "-i", *(f"{k}={v}" for k, v in values.items() if v is not None), str(self.executable)]

    def __call__(
        self, command: str, stdin: Object | str | None = None, name: str = "c1", ifname: str = "eth0", **more: Any
    ) -> Ran:
        text = stdin if isinstance(stdin, str) else json.dumps(config() if stdin is None else stdin)
        done = self.host.run(self.command(command, name, ifname, **more), input=text, timeout=60)
        return Ran(done.returncode, done.stdout, done.stderr)

    def start(self, command: str, stdin: Object, name: str, **more: Any) -> InsideProcess:
        """Under way; it has got its configuration."""
        process = self.host.popen(self.command(command, name, **more), stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(json.dumps(stdin))
        process.stdin.close()
        process.stdin = None
        return process
